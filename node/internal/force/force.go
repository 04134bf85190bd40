// Package force decides what is in force on a node: the channel manifests that devices are served from, and the trust
// documents that allow them.
//
// The life of a manifest: it comes from its publisher, another node, the origin or the store, and always passes
// [Door.Apply]. Apply checks its signatures against the trust document of its org and its order against the manifest in
// force, fetches the bundles that it needs, compares its description of them with the bundles, has the representations
// built that devices will ask for first, makes it durable, brings it into force, and announces it. Until then the
// previous manifest stays in force. Trust documents pass [Door.ApplyTrust], each as the successor of the one in force.
// Manifests that a new one no longer allows lapse: publishers still see them, devices are not served from them.
//
// The invariant: everything in [State] is durable and signed by keys that the trust document in force allows, and no
// channel goes back in order.
package force

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"brink/channel"
	"brink/digest"
	"brink/store"
)

// Config is what a [Door] works with. All fields are required unless they say otherwise.
type Config struct {
	State    *State
	Store    *store.Store
	Accounts *Accounts

	Fetcher   Fetcher
	Preparer  Preparer
	Origin    Origin    // nil: there is none
	Announcer Announcer // nil: there is nobody to announce to

	Logger *slog.Logger
	Now    func() time.Time
}

// Fetcher fetches bundles into the store.
type Fetcher interface {
	// Fetch returns nil once the bundle is in the store. It may wait for other nodes and the origin, until ctx ends. If
	// node is not empty, the node of that name is known to have the bundle. An update is not urgent: a release is in
	// force meanwhile.
	Fetch(ctx context.Context, id digest.Digest, node string, update bool) error
}

// Preparer builds the representations of releases.
type Preparer interface {
	// Prepare builds the representations that devices will ask for first. It returns when they are built, after a bounded
	// time, or when ctx ends. The other representations are built in the background.
	Prepare(ctx context.Context, m *channel.Manifest, from Source)
	// Enqueue has all representations that devices will ask for built in the background. It does not block.
	Enqueue(m *channel.Manifest)
}

// Origin is the bucket behind the node.
type Origin interface {
	// WriteThrough makes a manifest and its bundles durable there. An error means that the manifest must not come into
	// force. It may wait for the origin, until ctx ends.
	WriteThrough(ctx context.Context, m *channel.Manifest) error
}

// Announcer announces what is in force here to other nodes. It does not wait for them.
type Announcer interface {
	AnnounceManifest(m *channel.Manifest)
	AnnounceTrust(trust *channel.Trust)
}

// Door brings manifests and trust documents into force; nothing else does. Use [NewDoor].
type Door struct {
	Config

	locks         keyedLocks // by channel
	trustLock     sync.Mutex // serialises ApplyTrust
	equivocations atomic.Int64
}

// NewDoor returns the door of a state. Only what [State.AddTrust] has added is in force yet: call [Door.RestoreTrust]
// and [Door.RestoreManifests].
func NewDoor(config Config) *Door { return &Door{Config: config} }

// Equivocations returns how many manifests had the sequence of a different one in force.
func (d *Door) Equivocations() int64 { return d.equivocations.Load() }

// keyedLocks is a lock for each key. The zero value is ready.
type keyedLocks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed on release
}

// acquire acquires the lock of key, or returns the cause of the end of ctx.
func (t *keyedLocks) acquire(ctx context.Context, key string) error {
	for {
		t.mu.Lock()
		released, busy := t.held[key]
		if !busy {
			if t.held == nil {
				t.held = map[string]chan struct{}{}
			}
			t.held[key] = make(chan struct{})
			t.mu.Unlock()
			return nil
		}
		t.mu.Unlock()
		select {
		case <-released:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// release releases the lock of key.
func (t *keyedLocks) release(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.held[key])
	delete(t.held, key)
}
