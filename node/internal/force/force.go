// Package force is what is in force on a node: the channel manifests by which devices are answered, and the trust
// documents that allow them.
//
// The life of a manifest: it comes from its publisher, another node, the origin or the store, and enters by one door,
// [Door.Enter]. That checks its signatures by the trust document of its org, orders it against what is in force,
// fetches the bundles that it needs and compares what it says of them with what they are, has the representations built
// that devices will ask for first, makes it durable, switches, and announces it. Until then the one before stays in
// force. Trust documents enter by [Door.Succeed], each as the successor of the one in force. What a new one no longer
// allows lapses: publishers are shown it, devices are not served it.
//
// The invariant: [State] holds only what is signed by keys that the trust document in force allows, in an order that
// never goes back, and is durable.
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

// Fetcher brings bundles into the store.
type Fetcher interface {
	// Fetch returns when the bundle is in the store, or why it is not. It may wait for other nodes and the origin, until
	// ctx ends. The node of that name is known to have the bundle, unless it is empty. An update is not urgent: a
	// release is in force meanwhile.
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
	// WriteThrough makes a manifest and what it needs durable there, or returns why it must not come into force. It may
	// wait for the origin, until ctx ends.
	WriteThrough(ctx context.Context, m *channel.Manifest) error
}

// Announcer tells other nodes what is in force here. It does not wait for them.
type Announcer interface {
	AnnounceManifest(m *channel.Manifest)
	AnnounceTrust(trust *channel.Trust)
}

// Door is where manifests and trust documents come into force. Use [NewDoor].
type Door struct {
	Config

	turns         turns // of channels
	succession    sync.Mutex
	equivocations atomic.Int64
}

// NewDoor returns the door of a state. Nothing is in force yet but what [State.Give] was given: call [Door.Adopt] and
// [Door.Restore].
func NewDoor(config Config) *Door { return &Door{Config: config} }

// Equivocations returns how many manifests came with a sequence that another one has.
func (d *Door) Equivocations() int64 { return d.equivocations.Load() }

// turns lets one at a time do something with each of many things. The zero value is ready.
type turns struct {
	mu    sync.Mutex
	taken map[string]chan struct{} // closed when the turn ends
}

// enter waits for the turn of key, and takes it.
func (t *turns) enter(ctx context.Context, key string) error {
	for {
		t.mu.Lock()
		before, busy := t.taken[key]
		if !busy {
			if t.taken == nil {
				t.taken = map[string]chan struct{}{}
			}
			t.taken[key] = make(chan struct{})
			t.mu.Unlock()
			return nil
		}
		t.mu.Unlock()
		select {
		case <-before:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// leave ends the turn of key.
func (t *turns) leave(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.taken[key])
	delete(t.taken, key)
}
