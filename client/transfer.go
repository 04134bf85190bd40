package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// traffic counts the requests and the received bytes of one Update.
type traffic struct{ requests, received atomic.Int64 }

// transfer is one Update from one node.
type transfer struct {
	client  *Client
	node    string
	last    bool // there is no other node to try after this one
	traffic *traffic
	base    base
	answers atomic.Int64  // number of concurrent responses
	wait    time.Duration // for the head of the answer to the check
	inline  []byte        // patch in the answer to the check; nil if there is none
	hint    protocol.Representation
}

// update checks for an update, fetches and applies it.
func (t *transfer) update(ctx context.Context) (Result, error) {
	c := t.client
	// The installed files are read during the check: both take about the same time.
	reading := make(chan base, 1)
	go func() { reading <- c.readBase(ctx) }()
	answer, err := t.check(ctx, c.seenManifest())
	t.base = <-reading
	if err == nil && answer.Manifest == nil && answer.Trust > c.trust.Version() && t.advance(ctx) {
		// The newer document may not allow the manifest that was seen.
		answer, err = t.check(ctx, digest.Digest{})
	}
	if err == nil && answer.Manifest == nil {
		if c.state.Current == nil || t.base.intact {
			upToDate := answer.Decision == channel.UpToDate
			return Result{
				Sequence: c.state.channel().Seen.Sequence, Decision: answer.Decision, Reason: string(answer.Reason),
				UpToDate: upToDate,
			}, nil
		}
		// The installed files are damaged. To repair them, the device needs the manifest.
		answer, err = t.check(ctx, digest.Digest{})
	}
	if err != nil {
		return Result{}, fmt.Errorf("check: %w", err)
	}
	t.inline = answer.Patch
	if answer.Representation != nil {
		t.hint = *answer.Representation
	}
	m, err := t.verify(ctx, &answer)
	if err != nil {
		return Result{}, fmt.Errorf("channel manifest: %w", err)
	}
	next, err := c.state.accept(m, c.trust.Digest(), c.config.Now())
	if err != nil {
		return Result{}, fmt.Errorf("channel manifest: %w", err)
	}
	// From now on nothing older is accepted, neither from the next node, if this one fails, nor after a restart.
	c.state = next
	decision := c.decide(m, t.base.intact)
	result := Result{Sequence: m.Sequence, Decision: decision.Kind, Reason: string(decision.Reason)}
	if decision.Kind == channel.BuiltIn {
		return result, c.switchTo(next.builtIn())
	}
	if decision.Release == nil || c.failed(decision.Release) {
		result.UpToDate = decision.Kind == channel.UpToDate
		if decision.Release != nil {
			result.Decision, result.Reason = channel.None, ReasonRolledBackHere
		}
		return result, c.save(next.completed(next.channel().Seen.Version))
	}
	return t.apply(ctx, decision.Release, next, result)
}

// apply installs a release and makes it the current one; next is the state after the manifest.
func (t *transfer) apply(ctx context.Context, release *channel.Release, next state, result Result) (Result, error) {
	c := t.client
	// The state is saved in parallel to the download, and is durable before the release takes effect.
	wait := c.startSave(next)
	err := t.install(ctx, release, &result)
	if err != nil {
		err = fmt.Errorf("release %s: %w", release.Version, err)
	}
	if err := errors.Join(err, wait()); err != nil {
		return Result{}, err
	}
	if c.state.Confirmed || c.state.Previous == nil {
		next.Previous = c.state.Current
	}
	next.Current = &installed{
		Version: release.Version,
		Bundle:  release.Bundle,
		SHA256:  release.SHA256,
		Size:    release.Size,
		Channel: next.channel().Seen.Channel,
		Epoch:   channel.EpochOf(next.channel().Seen.Sequence),
	}
	if next.Previous != nil && next.Previous.Bundle == next.Current.Bundle {
		next.Previous = nil
	}
	next.Confirmed, next.Failed = c.config.Confirm, nil
	return result, c.switchTo(next.completed(release.Version))
}

// ReasonRolledBackHere is the reason in a Result if the channel has a release for the device, but that was rolled back
// on this device.
const ReasonRolledBackHere = "rolled_back_here"

// failed reports whether release was rolled back on this device.
func (c *Client) failed(release *channel.Release) bool {
	return c.state.Failed != nil && c.state.Failed.Bundle == release.Bundle
}

// seenManifest returns the digest of the manifest that need not be sent again: the last accepted one, if it is valid,
// the trust document is the same, the device runs what it requires, and it was verified recently. Otherwise the device
// would rely on an unsigned answer where it needs a signature.
func (c *Client) seenManifest() digest.Digest {
	now, f := c.config.Now(), c.state.channel()
	age, ok := f.signedAge(now)
	expired := !f.Expires.IsZero() && !now.Before(f.Expires)
	if !ok || age >= c.config.SignedEvery || !f.Completed || f.Trust != c.trust.Digest() || expired ||
		c.trust.CheckExpiry(now) != nil {
		return digest.Digest{}
	}
	return f.Seen.Statement
}

// decide returns what the device has to do. If its files are not intact, it installs the next release if there is one,
// and otherwise the same release again, regardless of the channel's rules. If the manifest no longer has that release,
// the device gets what a new device gets.
func (c *Client) decide(m *channel.Manifest, intact bool) channel.Decision {
	device, now := c.device(), c.config.Now()
	decision := channel.Resolve(m, device, now)
	switch {
	case intact, decision.Release != nil, decision.Kind == channel.BuiltIn, decision.Reason == channel.ReasonExpired,
		c.state.Current == nil:
		return decision
	}
	for release := range m.Releases() {
		if release.Bundle == c.state.Current.Bundle {
			return channel.Decision{Kind: channel.Update, Release: release}
		}
	}
	device.Version, device.Bundle = "", digest.Digest{}
	return channel.Resolve(m, device, now)
}

// device returns the configured device with what it runs now. While nothing is installed, that is its built-in bundle.
func (c *Client) device() channel.Device {
	device := c.config.Device
	device.BuiltIn = c.state.Current == nil
	if current := c.state.Current; current != nil && c.state.channel().Seen.Version != "" {
		device.Version, device.Bundle = current.Version, current.Bundle
	}
	return device
}

// check checks for an update. The answer is not verified. It may omit the manifest if that is the one that was seen.
func (t *transfer) check(ctx context.Context, seen digest.Digest) (answer, error) {
	device := t.client.device()
	request := protocol.CheckRequest{
		Channel: t.client.config.Channel,
		Seen:    seen,
		Device:  protocol.Device(device),
		Parts:   t.client.config.Connections > 1,
	}
	// After a rollback, every answer would contain the patch to the release that was rolled back.
	state := &t.client.state
	if current := state.Current; current != nil && current.Size <= bundle.MaxPatch && state.Failed == nil {
		request.Dictionary, request.Inline = current.SHA256, protocol.MaxInline
	}
	late := fmt.Errorf("%w: no complete answer within %v", ErrSlow, checkWait)
	ctx, cancel := context.WithTimeoutCause(ctx, checkWait, late)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return answer{}, err
	}
	path := t.node + protocol.CheckPath(t.client.config.App)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	start := time.Now()
	resp, err := t.do(req)
	if err != nil {
		return answer{}, err
	}
	t.wait = time.Since(start)
	defer resp.Body.Close()
	return readAnswer(resp.Body, seen)
}

// do sends a request, counts it and the bytes of its response, and returns the response if its status is 200, 206 or
// 416. For any other status it returns a [*protocol.Problem].
func (t *transfer) do(req *http.Request) (*http.Response, error) {
	t.traffic.requests.Add(1)
	resp, err := t.send(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &countedBody{ReadCloser: resp.Body, received: &t.traffic.received}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		if err := protocol.CheckSender(resp); err != nil {
			return nil, errors.Join(err, resp.Body.Close())
		}
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, protocol.ProblemOf(resp)
}

type countedBody struct {
	io.ReadCloser

	received *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.received.Add(int64(n))
	return n, err
}
