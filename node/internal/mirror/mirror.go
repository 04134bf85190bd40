// Package mirror keeps the origin and a node in step.
//
// The life of a release: what is published at the node is written to the origin before it comes into force, or in the
// background while the origin is slow or down. What is published elsewhere is found by looking at the origin again and
// again, and enters by the door of package force. What the origin lacks, for whatever reason, is written at the next
// look.
//
// The invariant: the origin is believed no more than another node, and a node with an empty disk can serve whatever was
// written.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/internal/background"
	"brink/node/internal/bundles"
	"brink/node/internal/force"
	"brink/node/internal/serve"
	"brink/origin/bucket"
	"brink/protocol"
	"brink/store"
)

// DefaultPoll is how often the origin is looked at for manifests, on average. Gossip is faster; this is the second way.
const DefaultPoll = 30 * time.Second

// Bounds of one write of a release to the origin, and of how long a publisher waits for it where the node acknowledges
// without: an origin that takes connections and never answers must not hold a channel.
const (
	originWait = 10 * time.Minute
	lateAfter  = 10 * time.Second
)

// Config is what a [Mirror] works with. All fields are required unless they say otherwise.
type Config struct {
	Context context.Context   // of all work in the background
	Work    *background.Group // runs it
	Bucket  *bucket.Bucket
	Store   *store.Store
	Bundles *bundles.Source
	Door    *force.Door
	Ack     bool          // nothing comes into force that the origin has not taken
	Poll    time.Duration // how often the origin is looked at, on average
	Logger  *slog.Logger
}

// Mirror keeps the origin and a node in step. Use [New], then [Mirror.Run].
type Mirror struct {
	Config

	mu    sync.Mutex
	late  map[string]bool  // channels whose manifest the origin did not take yet, by app/channel
	seen  map[string]sight // the manifests as they were read last
	last  error            // of the last look at the origin
	looks int64            // at the origin that ended without an error
}

// New returns a mirror that has not looked yet.
func New(config Config) *Mirror {
	return &Mirror{Config: config, late: map[string]bool{}, seen: map[string]sight{}}
}

// sight is what a channel's manifest at the origin was when it was read last.
type sight struct {
	tag   string
	order uint64
}

// put writes a release through to the origin: its bundles and attachments, and then the manifest. What is durable there
// when it returns nil can be served by a node with an empty disk.
func (o *Mirror) put(ctx context.Context, m *channel.Manifest) error {
	ctx, cancel := context.WithTimeout(ctx, originWait)
	defer cancel()
	if trust := o.Door.State.Trust(m.Org); trust != nil {
		if err := o.putTrust(ctx, trust); err != nil {
			return fmt.Errorf("origin: trust document: %w", err)
		}
	}
	var near []digest.Digest
	for release := range m.Releases() {
		near = append(near, release.Bundle)
	}
	for id := range m.Needs() {
		if err := o.putBundle(ctx, id, near); err != nil {
			return fmt.Errorf("origin: bundle %s: %w", id.Short(), err)
		}
	}
	err := o.Bucket.PutManifest(ctx, m)
	if errors.Is(err, bucket.ErrSuperseded) {
		return nil // it was kept, and somebody has gone on from there
	}
	if err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	return nil
}

// putTrust writes a trust document through, and first the versions that led to it if the origin needs them to follow.
func (o *Mirror) putTrust(ctx context.Context, trust *channel.Trust) error {
	err := o.Bucket.PutTrust(ctx, trust.Raw())
	switch channel.CodeOf(err) {
	case channel.CodeTrustVersionNotHigher:
		return nil // it has a later one, which the next look brings here
	case channel.CodeNotEnoughSignatures:
	default:
		return err
	}
	stored := o.Door.StoredVersions(trust.Org())
	for version := uint64(1); version < trust.Version(); version++ {
		raw, err := stored(version)
		if err == nil && raw != nil {
			err = o.Bucket.PutTrustVersion(ctx, raw)
		}
		if err != nil {
			return err
		}
	}
	return o.Bucket.PutTrust(ctx, trust.Raw())
}

func (o *Mirror) putBundle(ctx context.Context, id digest.Digest, near []digest.Digest) error {
	b, err := o.Bundles.Bundle(id)
	if err != nil {
		return err
	}
	intent, err := o.Store.Intent(id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	_, err = o.Bucket.PutBundle(ctx, bucket.Upload{
		Index:  b.Index,
		Intent: intent,
		Near:   near,
		Frame: func(ctx context.Context, c bundle.Chunk) (bundle.Frame, error) {
			frame, err := o.Store.Frame(ctx, c.Digest)
			if errors.Is(err, store.ErrNotFound) {
				if err := o.Bundles.Filler.Fill(ctx, id); err != nil {
					return frame, err
				}
				frame, err = o.Store.Frame(ctx, c.Digest)
			}
			return frame, err
		},
	})
	return err
}

// WriteThrough implements [force.Origin]. When the origin does not take a manifest, it is tried
// again in the background, unless the node is told to acknowledge nothing that the origin lacks.
func (o *Mirror) WriteThrough(ctx context.Context, m *channel.Manifest) error {
	if o.Bucket.ReadOnly() {
		return nil
	}
	if !o.Ack {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lateAfter)
		defer cancel()
	}
	err := o.put(ctx, m)
	key := m.App + "/" + m.Channel
	switch {
	case err == nil:
		o.settle(key, false)
		return nil
	case errors.Is(err, bucket.ErrConflict):
		// The publisher will ask what is in force. Not before this returns: the channel's turn is taken.
		o.Work.Go(func() {
			if err := o.take(o.Context, m.App, m.Channel); err != nil {
				o.Logger.Warn("origin's manifest is not taken", "app", m.App, "channel", m.Channel, "error", err)
			}
		})
		return serve.Problem(protocol.CodeConflict, "the origin has another manifest of this sequence",
			"publish again to put your release on top of it")
	case o.Ack:
		o.Logger.Error("origin does not take a release", "app", m.App, "channel", m.Channel, "error", err)
		return serve.Problem(protocol.CodeUnavailable, "the origin does not take the release: "+err.Error(),
			"nothing has moved here: publish again when the origin is well")
	}
	o.Logger.Warn("origin does not take a release, it is tried again", "app", m.App, "channel", m.Channel,
		"error", err)
	o.settle(key, true)
	return nil
}

func (o *Mirror) settle(key string, late bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if late {
		o.late[key] = true
		return
	}
	delete(o.late, key)
}

// Run looks at the origin again and again until ctx ends.
func (o *Mirror) Run(ctx context.Context) {
	for {
		err := o.look(ctx)
		if ctx.Err() != nil {
			return
		}
		o.mu.Lock()
		before := o.last
		o.last = err
		if err == nil {
			o.looks++
		}
		o.mu.Unlock()
		if err != nil && before == nil {
			o.Logger.Warn("origin cannot be read", "origin", o.Bucket.Name(), "error", err)
		} else if err == nil && before != nil {
			o.Logger.Info("origin can be read again", "origin", o.Bucket.Name())
		}
		poll := o.Poll
		timer := time.NewTimer(poll/2 + rand.N(poll)) // jittered: a fleet does not come all at once
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// look brings in what the origin has and the node has not, and writes what it has not taken yet.
func (o *Mirror) look(ctx context.Context) error {
	catalog, err := o.Bucket.Catalog(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, org := range catalog.Orgs {
		if err := o.takeTrust(ctx, org); err != nil {
			errs = append(errs, err)
		}
	}
	there := map[string]bool{}
	for _, c := range catalog.Channels {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		there[c.App+"/"+c.Channel] = true
		if o.Door.State.Claiming(c.App) == nil {
			continue
		}
		if err := o.take(ctx, c.App, c.Channel); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", c.App, c.Channel, err))
		}
	}
	if !o.Bucket.ReadOnly() {
		o.Door.State.Each(func(m *channel.Manifest) {
			key := m.App + "/" + m.Channel
			if !o.isLate(key) && there[key] || ctx.Err() != nil {
				return
			}
			if err := o.put(ctx, m); err != nil && !errors.Is(err, bucket.ErrConflict) {
				errs = append(errs, err)
				return
			}
			o.settle(key, false)
		})
	}
	return errors.Join(errs...)
}

func (o *Mirror) isLate(key string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.late[key]
}

func (o *Mirror) takeTrust(ctx context.Context, org string) error {
	if o.Door.State.Trust(org) == nil {
		return nil
	}
	raw, err := o.Bucket.Trust(ctx, org)
	if errors.Is(err, bucket.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	there, err := channel.LoadTrust(raw)
	if err != nil {
		return err
	}
	if there.Version() <= o.Door.State.Trust(org).Version() {
		return nil
	}
	fetch := func(version uint64) ([]byte, error) {
		raw, err := o.Bucket.TrustVersion(ctx, org, version)
		if errors.Is(err, bucket.ErrNotFound) {
			return nil, nil
		}
		return raw, err
	}
	if err := o.Door.ApplyTrust(ctx, org, raw, fetch); err != nil {
		return err
	}
	return o.Door.FetchVersions(ctx, org, fetch)
}

// take brings in the manifest of a channel, if it has changed since it was looked at.
func (o *Mirror) take(ctx context.Context, app, name string) error {
	key := app + "/" + name
	o.mu.Lock()
	before := o.seen[key]
	o.mu.Unlock()
	raw, tag, err := o.Bucket.Manifest(ctx, app, name, before.tag)
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		return nil
	case errors.Is(err, bucket.ErrNotModified):
		o.compare(key, before)
		return nil
	case err != nil:
		return err
	}
	if _, err := o.Door.Apply(ctx, raw, app, name, force.Source{Kind: force.Mirrored}); err != nil {
		return err
	}
	there, err := channel.ParseManifest(raw)
	if err != nil {
		return err
	}
	now := sight{tag: tag, order: there.Order()}
	o.compare(key, now)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen[key] = now
	return nil
}

// compare takes note when the origin is behind this node. Whoever published here may have found the origin down; and
// what came from another node may be on no disk but this one when that node is lost.
func (o *Mirror) compare(key string, there sight) {
	app, name, _ := strings.Cut(key, "/")
	if m := o.Door.State.Manifest(app, name); m != nil && there.order < m.Order() {
		o.settle(key, true)
	}
}

// Looks returns how often the origin was looked at without an error.
func (o *Mirror) Looks() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.looks
}

// Problems says what an operator should know of the origin.
func (o *Mirror) Problems() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var reasons []string
	if o.last != nil {
		reasons = append(reasons, "origin cannot be read: "+o.last.Error())
	}
	if len(o.late) > 0 {
		reasons = append(reasons, fmt.Sprintf("%d channels are not at the origin yet", len(o.late)))
	}
	return reasons
}
