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

// traffic counts what one Update costs.
type traffic struct{ requests, received atomic.Int64 }

// transfer is one Update from one node.
type transfer struct {
	client  *Client
	node    string
	last    bool // no other node is asked after this one
	traffic *traffic
	base    base
	answers atomic.Int64  // under way
	wait    time.Duration // for the beginning of the answer to the check
	inline  []byte        // patch that came with the answer to the check; nil if none did
	hint    protocol.Representation
}

// update runs the whole of Update against one node.
func (t *transfer) update(ctx context.Context) (Result, error) {
	c := t.client
	// The installed files are read while the node is asked: both take about as long.
	reading := make(chan base, 1)
	go func() { reading <- c.readBase(ctx) }()
	answer, err := t.check(ctx, c.seen())
	t.base = <-reading
	if err == nil && answer.Manifest == nil && answer.Trust > c.trust.Version() && t.advance(ctx) {
		// By the later document what was seen may count no more.
		answer, err = t.check(ctx, digest.Digest{})
	}
	if err == nil && answer.Manifest == nil {
		if c.state.Current == nil || t.base.sound {
			upToDate := answer.Decision == channel.UpToDate
			return Result{
				Sequence: c.state.channel().Seen.Sequence, Decision: answer.Decision, Reason: string(answer.Reason),
				UpToDate: upToDate,
			}, nil
		}
		// What is installed has to be mended, for which the manifest must say what it was.
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
	// From here on nothing older is accepted: not from the next node, if this one cannot go on, and not after a restart.
	c.state = next
	decision := c.decide(m, t.base.sound)
	result := Result{Sequence: m.Sequence, Decision: decision.Kind, Reason: string(decision.Reason)}
	if decision.Kind == channel.BuiltIn {
		return result, c.switchTo(next.builtIn())
	}
	if decision.Release == nil || c.failed(decision.Release) {
		result.UpToDate = decision.Kind == channel.UpToDate
		if decision.Release != nil {
			result.Decision, result.Reason = channel.None, ReasonRolledBackHere
		}
		return result, c.save(next.settled(next.channel().Seen.Version))
	}
	return t.apply(ctx, decision.Release, next, result)
}

// apply installs a release and makes it the current one; next is the state that the manifest has led to.
func (t *transfer) apply(ctx context.Context, release *channel.Release, next state, result Result) (Result, error) {
	c := t.client
	// The disk is waited for while the node is: nothing that comes takes effect before.
	wait := c.saveAside(next)
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
	return result, c.switchTo(next.settled(release.Version))
}

// ReasonRolledBackHere is the reason in a Result when a device stays although its channel has a release for it: it was
// rolled back on this device.
const ReasonRolledBackHere = "rolled_back_here"

// failed reports whether release was rolled back on this device.
func (c *Client) failed(release *channel.Release) bool {
	return c.state.Failed != nil && c.state.Failed.Bundle == release.Bundle
}

// seen names the manifest that need not be sent again: the one that was accepted last, as long as it is good, the trust
// document is the same, the device has done what it asks for, and it was checked lately. Otherwise an unsigned word
// would stand where a signature should.
func (c *Client) seen() digest.Digest {
	now, f := c.config.Now(), c.state.channel()
	age, ok := f.signedAge(now)
	expired := !f.Expires.IsZero() && !now.Before(f.Expires)
	if !ok || age >= c.config.SignedEvery || !f.Settled || f.Trust != c.trust.Digest() || expired ||
		c.trust.CheckExpiry(now) != nil {
		return digest.Digest{}
	}
	return f.Seen.Statement
}

// decide returns what the device has to do. Files that are not sound, that is not what was installed, are installed
// anew: those of the next release if there is one, and otherwise the same ones, whatever the channel says about who may
// take which step. A release that the manifest does not know any more gives way to what a new device gets.
func (c *Client) decide(m *channel.Manifest, sound bool) channel.Decision {
	device, now := c.device(), c.config.Now()
	decision := channel.Resolve(m, device, now)
	switch {
	case sound, decision.Release != nil, decision.Kind == channel.BuiltIn, decision.Reason == channel.ReasonExpired,
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

// device returns the configured device with what it runs now. While nothing is installed, that is what its native app
// came with.
func (c *Client) device() channel.Device {
	device := c.config.Device
	device.BuiltIn = c.state.Current == nil
	if current := c.state.Current; current != nil && c.state.channel().Seen.Version != "" {
		device.Version, device.Bundle = current.Version, current.Bundle
	}
	return device
}

// check asks the node. What it answers is unchecked. It may leave the manifest out if that is the one that was seen.
func (t *transfer) check(ctx context.Context, seen digest.Digest) (answer, error) {
	device := t.client.device()
	request := protocol.CheckRequest{
		Channel: t.client.config.Channel,
		Seen:    seen,
		Device:  protocol.Device(device),
		Parts:   t.client.config.Connections > 1,
	}
	// A device that has rolled back would get the patch to what it left with every check.
	state := &t.client.state
	if current := state.Current; current != nil && current.Size <= bundle.MaxPatch && state.Failed == nil {
		request.Dictionary, request.Inline = current.SHA256, protocol.MaxInline
	}
	late := fmt.Errorf("%w: no whole answer within %v", ErrSlow, checkWait)
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

// do sends a request and returns the answer when its status is 200, 206 or 416, its body counted; anything else becomes
// a [*protocol.Problem].
func (t *transfer) do(req *http.Request) (*http.Response, error) {
	t.traffic.requests.Add(1)
	resp, err := t.send(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &countedBody{ReadCloser: resp.Body, received: &t.traffic.received}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
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
