// Package mirror synchronises a node with the origin.
//
// The life of a release: one that is published to the node is written to the origin before it comes into force, or in
// the background while the origin is slow or down. Releases that were published elsewhere are found by polling the
// origin, and brought into force by package force. Anything that the origin lacks is written at the next poll.
//
// The invariant: the origin is trusted no more than another node, and a node with an empty disk can serve everything
// that was written.
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

// DefaultPoll is the average interval at which the origin is polled for manifests. Gossip is faster; polling is for
// releases that gossip did not bring.
const DefaultPoll = 30 * time.Second

// An origin that accepts connections and never answers must not block a channel.
const (
	writeTimeout = 10 * time.Minute // of writing one release
	lateAfter    = 10 * time.Second // how long a publisher waits for it without Config.Ack
)

// Config is what a [Mirror] works with. All fields are required unless they say otherwise.
type Config struct {
	Context context.Context   // of all work in the background
	Work    *background.Group // runs it
	Bucket  *bucket.Bucket
	Store   *store.Store
	Bundles *bundles.Source
	Door    *force.Door
	Ack     bool          // releases come into force only once the origin has them
	Poll    time.Duration // the average interval of polls
	Logger  *slog.Logger
}

// Mirror synchronises a node with the origin. Use [New], then [Mirror.Run].
type Mirror struct {
	Config

	mu    sync.Mutex
	late  map[string]bool    // channels whose manifest is not at the origin yet, by app/channel
	seen  map[string]version // of the manifests at the origin when they were last read
	last  error              // of the last poll
	polls int64              // that ended without an error
}

// New returns a mirror that has not polled yet.
func New(config Config) *Mirror {
	return &Mirror{Config: config, late: map[string]bool{}, seen: map[string]version{}}
}

// version identifies a version of a channel's manifest at the origin.
type version struct {
	tag   string
	order uint64
}

// put writes a release to the origin: its bundles and attachments, and then the manifest. When it returns nil, they are
// durable there, and a node with an empty disk can serve them.
func (o *Mirror) put(ctx context.Context, m *channel.Manifest) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
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
	for id := range m.RequiredBundles() {
		if err := o.putBundle(ctx, id, near); err != nil {
			return fmt.Errorf("origin: bundle %s: %w", id.Short(), err)
		}
	}
	err := o.Bucket.PutManifest(ctx, m)
	if errors.Is(err, bucket.ErrSuperseded) {
		return nil // it was written before, and a later one has replaced it
	}
	if err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	return nil
}

// putTrust writes a trust document to the origin. If the origin cannot verify it without, it writes the versions before
// it first.
func (o *Mirror) putTrust(ctx context.Context, trust *channel.Trust) error {
	err := o.Bucket.PutTrust(ctx, trust.Raw())
	switch channel.CodeOf(err) {
	case channel.CodeTrustVersionNotHigher:
		return nil // it has a later one, which the next poll fetches
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

// WriteThrough implements [force.Origin]. Without Ack, a write that fails is tried again in the background.
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
		o.setLate(key, false)
		return nil
	case errors.Is(err, bucket.ErrConflict):
		// The publisher will request the manifest in force. In the background, because the caller has the channel's lock.
		o.Work.Go(func() {
			if err := o.fetchManifest(o.Context, m.App, m.Channel); err != nil {
				o.Logger.Warn("cannot apply manifest from origin", "app", m.App, "channel", m.Channel, "error", err)
			}
		})
		return serve.Problem(protocol.CodeConflict, "the origin has another manifest of this sequence",
			"publish again to put your release on top of it")
	case o.Ack:
		o.Logger.Error("cannot write release to origin", "app", m.App, "channel", m.Channel, "error", err)
		return serve.Problem(protocol.CodeUnavailable, "cannot write the release to the origin: "+err.Error(),
			"the channel has not moved: publish again when the origin is reachable")
	}
	o.Logger.Warn("cannot write release to origin, trying again later", "app", m.App, "channel", m.Channel,
		"error", err)
	o.setLate(key, true)
	return nil
}

// setLate records whether a channel's manifest still has to be written to the origin.
func (o *Mirror) setLate(key string, late bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if late {
		o.late[key] = true
		return
	}
	delete(o.late, key)
}

// Run polls the origin until ctx ends.
func (o *Mirror) Run(ctx context.Context) {
	for {
		err := o.sync(ctx)
		if ctx.Err() != nil {
			return
		}
		o.mu.Lock()
		before := o.last
		o.last = err
		if err == nil {
			o.polls++
		}
		o.mu.Unlock()
		if err != nil && before == nil {
			o.Logger.Warn("origin cannot be read", "origin", o.Bucket.Name(), "error", err)
		} else if err == nil && before != nil {
			o.Logger.Info("origin can be read again", "origin", o.Bucket.Name())
		}
		poll := o.Poll
		timer := time.NewTimer(poll/2 + rand.N(poll)) // jittered: the nodes of a fleet must not poll all at once
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// sync fetches trust documents and manifests from the origin, and writes releases that it lacks.
func (o *Mirror) sync(ctx context.Context) error {
	catalog, err := o.Bucket.Catalog(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, org := range catalog.Orgs {
		if err := o.fetchTrust(ctx, org); err != nil {
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
		if err := o.fetchManifest(ctx, c.App, c.Channel); err != nil {
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
			o.setLate(key, false)
		})
	}
	return errors.Join(errs...)
}

func (o *Mirror) isLate(key string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.late[key]
}

// fetchTrust fetches the trust document of an org and brings it into force, if it is newer.
func (o *Mirror) fetchTrust(ctx context.Context, org string) error {
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

// fetchManifest fetches the manifest of a channel, if it has changed since it was last read, and brings it into force.
func (o *Mirror) fetchManifest(ctx context.Context, app, name string) error {
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
	now := version{tag: tag, order: there.Order()}
	o.compare(key, now)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen[key] = now
	return nil
}

// compare marks a channel as late if the origin is behind this node: it may have been down at the time of the publish,
// or the release came from another node that has failed before it wrote it to the origin.
func (o *Mirror) compare(key string, there version) {
	app, name, _ := strings.Cut(key, "/")
	if m := o.Door.State.Manifest(app, name); m != nil && there.order < m.Order() {
		o.setLate(key, true)
	}
}

// Polls returns how often the origin was polled without an error.
func (o *Mirror) Polls() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.polls
}

// Problems returns the reasons why the origin and the node are out of step, for operators.
func (o *Mirror) Problems() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var reasons []string
	if o.last != nil {
		reasons = append(reasons, "origin cannot be read: "+o.last.Error())
	}
	if len(o.late) > 0 {
		reasons = append(reasons, fmt.Sprintf("channels that are not at the origin yet: %d", len(o.late)))
	}
	return reasons
}
