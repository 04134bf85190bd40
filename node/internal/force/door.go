package force

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"brink/channel"
	"brink/digest"
	"brink/node/internal/serve"
	"brink/protocol"
)

// Source is where a manifest comes from.
type Source struct {
	Kind   Kind
	Expect digest.Digest // Published: the manifest that it is to replace; zero: none
	Node   string        // Gossiped: the node that has it
}

// Kind is a kind of source.
type Kind int

// The kinds of sources.
const (
	Published Kind = iota // its publisher sent it to this node
	Gossiped              // another node has it
	Mirrored              // the origin has it
	Stored                // it was in force before: the node starts, or the trust document of its org was replaced
)

// String returns the source for log lines.
func (s Source) String() string {
	switch s.Kind {
	case Published:
		return "publisher"
	case Gossiped:
		return s.Node
	case Mirrored:
		return "origin"
	}
	return "store"
}

// follows reports whether others have had the manifest before this node.
func (s Source) follows() bool { return s.Kind == Gossiped || s.Kind == Mirrored }

// Enter brings a signed manifest of a channel into force, and returns it. When it returns no error, that manifest is in
// force, or one that it gives way to; on an error nothing has changed. It may wait for other nodes and the origin,
// until ctx ends; other channels do not wait for it.
//
// From a publisher a manifest has to replace what it says it replaces, and its bundles have to be here. From others it
// has to be newer, and the bundles are fetched. One that was stored was in force before: it has to be allowed still.
func (d *Door) Enter(ctx context.Context, raw []byte, app, name string, from Source) (*channel.Manifest, error) {
	m, trust, err := d.verify(raw, app, name, from)
	if err != nil {
		return nil, err
	}
	if done, err := d.order(m, from); done || err != nil {
		return m, err
	}
	if from.follows() {
		update := d.State.Manifest(app, name) != nil
		for id := range m.Needs() {
			if err := d.Fetcher.Fetch(ctx, id, from.Node, update); err != nil {
				return nil, fmt.Errorf("release %s of %s %s: %w", m.Release.Version, app, name, err)
			}
		}
	}
	if err := compareBundles(d.Store, m, from.Kind != Stored); err != nil {
		return nil, err
	}
	if from.Kind == Published {
		if err := d.Accounts.checkQuota(m); err != nil {
			return nil, err
		}
	}
	if from.Kind != Stored {
		defer d.State.Expect(m)()
		d.Preparer.Prepare(ctx, m, from)
	}
	if err := d.replace(ctx, m, trust, from); err != nil {
		return nil, err
	}
	if from.Kind == Stored { // devices had it before: what it lacks is built behind it
		d.Preparer.Enqueue(m)
	}
	return m, nil
}

// replace puts a manifest that is fit to be in force, by the trust document given, in the place of the one that is. One
// is replaced after the other: the next one meets what is in force, and not what is about to be.
func (d *Door) replace(ctx context.Context, m *channel.Manifest, trust *channel.Trust, from Source) error {
	key := m.App + "/" + m.Channel
	if err := d.turns.enter(ctx, key); err != nil {
		return err
	}
	defer d.turns.leave(key)
	// All that was found before the turn may have changed meanwhile.
	if d.State.Trust(m.Org) != trust {
		if _, _, err := d.verify(m.Raw(), m.App, m.Channel, from); err != nil {
			return err
		}
	}
	if done, err := d.order(m, from); done || err != nil {
		return err
	}
	if from.Kind == Published && d.Origin != nil {
		if err := d.Origin.WriteThrough(ctx, m); err != nil {
			return err
		}
	}
	if from.Kind != Stored {
		expect := from.Expect
		if from.follows() {
			if current, _ := d.State.Current(m.App, m.Channel); current != nil {
				expect = current.Digest()
			}
		}
		if err := d.Store.PutManifest(ctx, m.Raw(), m, expect); err != nil {
			return err
		}
		d.Logger.Info("channel moved", "app", m.App, "channel", m.Channel, "sequence", m.Sequence,
			"version", m.Release.Version, "bundle", m.Release.Bundle.Short(), "from", from.String())
	}
	d.State.set(m)
	if d.Announcer != nil {
		d.Announcer.AnnounceManifest(m)
	}
	return nil
}

// verify checks a manifest by its org's trust document, which it returns, and that it is of the app and channel. One
// that was stored is checked as of its own time: whether it has expired since is for each check of a device to say.
func (d *Door) verify(raw []byte, app, name string, from Source) (*channel.Manifest, *channel.Trust, error) {
	if from.Kind == Stored {
		return d.verifyStored(raw)
	}
	trust, err := d.State.Owner(app)
	if err != nil {
		return nil, nil, err
	}
	m, err := trust.VerifyManifest(raw, d.Now())
	if err != nil {
		return nil, nil, err
	}
	return m, trust, m.CheckFor(app, name)
}

// order returns nil if a manifest may replace the one in force. It reports whether there is nothing to do, because the
// channel is there already, or further.
func (d *Door) order(m *channel.Manifest, from Source) (done bool, err error) {
	current, lapsed := d.State.Current(m.App, m.Channel)
	switch {
	case current == nil || from.Kind == Stored:
		return false, nil
	case from.follows():
		return d.overtaken(current, lapsed, m)
	case current.Digest() == m.Digest():
		return true, nil // the same once more
	case from.Expect != current.Digest():
		return false, serve.Problem(
			protocol.CodeConflict,
			fmt.Sprintf("channel %s is at sequence %d, and not what your change was made from", m.Channel,
				current.Sequence),
			"publish again to put your release on top of it",
		)
	}
	return false, follows(current, lapsed, m)
}

// follows returns nil if m may replace current. What has lapsed counts only by its sequence, which devices have seen.
func follows(current *channel.Manifest, lapsed bool, m *channel.Manifest) error {
	if !lapsed {
		return channel.Newer(current, m)
	}
	if m.Order() <= current.Order() {
		return &channel.RefusedError{
			Code:   channel.CodeSequenceNotHigher,
			Reason: fmt.Sprintf("devices have seen sequence %d, from a key that is not allowed any more", current.Sequence),
			Hint:   "publish with --anew, which goes on from there",
		}
	}
	return nil
}

// overtaken reports whether the channel is where m would take it, or further. An error says that m cannot follow what
// is in force.
//
// Two manifests of one sequence are an equivocation: somebody signed both. All nodes pick the one whose statement has
// the larger digest, and log it; the next sequence ends it.
func (d *Door) overtaken(current *channel.Manifest, lapsed bool, m *channel.Manifest) (bool, error) {
	if current.Order() == m.Order() && current.Statement() != m.Statement() {
		ours, theirs := current.Statement(), m.Statement()
		d.equivocations.Add(1)
		d.Logger.Error("two manifests of one sequence are signed: an equivocation", "app", m.App,
			"channel", m.Channel, "sequence", m.Sequence, "in_force", ours.Short(), "other", theirs.Short(),
			"hint", "it was published on both sides of a cut, or somebody has the key: publish again, which ends it")
		return bytes.Compare(theirs[:], ours[:]) <= 0, nil
	}
	if m.Order() <= current.Order() && !lapsed {
		return true, nil
	}
	err := follows(current, lapsed, m)
	if refused, ok := errors.AsType[*channel.RefusedError](err); ok {
		switch refused.Code {
		case channel.CodeSequenceNotHigher:
			return true, nil
		case channel.CodeDowngrade:
			// It was published on the other side of a cut. All nodes have to end at the higher sequence; devices that are
			// above it stay where they are, which each of them sees to.
			d.Logger.Warn("the fleet has a higher sequence with a lower version: devices above it wait for a higher one",
				"app", m.App, "channel", m.Channel, "sequence", m.Sequence, "version", m.Release.Version,
				"hint", "publish a higher version")
			return false, nil
		}
	}
	return false, err
}

// Restore brings into force what the store holds. What the trust documents no longer allow stays out, and is logged.
// Reading a manifest takes a processor some tenths of a millisecond, for its signatures and its JSON, so all processors
// share the work; the order makes no difference, for each is of another channel.
func (d *Door) Restore(ctx context.Context) error {
	type stored struct {
		app, name string
		raw       []byte
		err       error
	}
	workers := runtime.GOMAXPROCS(0)
	work := make(chan stored, workers)
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for s := range work {
				d.restore(ctx, d.Logger.With("app", s.app, "channel", s.name), s.app, s.name, s.raw, s.err)
			}
		})
	}
	err := d.Store.Manifests(func(app, name string, raw []byte, err error) bool {
		work <- stored{app, name, raw, err}
		return true
	})
	close(work)
	done.Wait()
	return err
}

// restore brings one channel into force as the store has it, or logs why not.
func (d *Door) restore(ctx context.Context, log *slog.Logger, app, name string, raw []byte, err error) {
	if err != nil {
		log.Error("channel left out: its manifest cannot be read", "error", err)
		return
	}
	if _, err := d.Enter(ctx, raw, app, name, Source{Kind: Stored}); err != nil {
		log.Error("channel left out: its manifest is no longer allowed", "error", err,
			"hint", "publish to it with --anew")
		if lapsed, err := channel.ParseManifest(raw); err == nil {
			d.State.lapse(lapsed)
		}
	}
}

// Review brings into force what the store holds of an org's channels and its trust document allows, and takes out the
// rest. Its caller has replaced the trust document before.
func (d *Door) Review(ctx context.Context, org string) error {
	if err := d.reviewStored(ctx, org); err != nil {
		return err
	}
	// What came in while the store was read was verified before the trust document was replaced, or after: whoever has
	// its turn from here on looks again.
	var list []*channel.Manifest
	d.State.Each(func(m *channel.Manifest) {
		if m.Org == org {
			list = append(list, m)
		}
	})
	for _, m := range list {
		if err := d.reviewCurrent(ctx, m.App, m.Channel); err != nil {
			return err
		}
	}
	return nil
}

// reviewCurrent takes out what is in force of a channel, if the trust document does not allow it.
func (d *Door) reviewCurrent(ctx context.Context, app, name string) error {
	key := app + "/" + name
	if err := d.turns.enter(ctx, key); err != nil {
		return err
	}
	defer d.turns.leave(key)
	current := d.State.Manifest(app, name)
	if current == nil {
		return nil
	}
	if _, _, err := d.verifyStored(current.Raw()); err != nil {
		d.takeOut(current, err)
	}
	return nil
}

// takeOut has a manifest lapse that the trust document no longer allows.
func (d *Door) takeOut(m *channel.Manifest, why error) {
	d.Logger.Warn("channel taken out: the new trust document does not allow it", "app", m.App, "channel", m.Channel,
		"error", why)
	d.State.lapse(m)
}

func (d *Door) reviewStored(ctx context.Context, org string) error {
	return d.Store.Manifests(func(app, name string, raw []byte, err error) bool {
		stored, parsing := channel.ParseManifest(raw)
		if err != nil || parsing != nil || stored.Org != org {
			return true
		}
		if _, err := d.Enter(ctx, raw, app, name, Source{Kind: Stored}); err != nil {
			if current := d.State.Manifest(app, name); current == nil || current.Order() <= stored.Order() {
				d.takeOut(stored, err)
			}
		}
		return true
	})
}

func (d *Door) verifyStored(raw []byte) (*channel.Manifest, *channel.Trust, error) {
	org, issued := claims(raw)
	if trust := d.State.Trust(org); trust != nil {
		if m, err := trust.VerifyManifest(raw, issued); err == nil && m.Issued.Equal(issued) {
			return m, trust, nil
		}
	}
	// From here on it is about what to say of it.
	stored, err := channel.ParseManifest(raw)
	if err != nil {
		return nil, nil, err
	}
	trust := d.State.Trust(stored.Org)
	if trust == nil {
		return nil, nil, fmt.Errorf("no trust document of org %s was given", stored.Org)
	}
	m, err := trust.VerifyManifest(raw, stored.Issued)
	return m, trust, err
}

// claims returns which org a manifest says that it is of, and from when. It checks nothing, so that a manifest is read
// and checked once, by the trust document of that org; of what it cannot read, the values are zero.
func claims(raw []byte) (org string, issued time.Time) {
	var envelope struct {
		Payload []byte `json:"payload"`
	}
	var payload struct {
		Org    string    `json:"org"`
		Issued time.Time `json:"issued"`
	}
	if json.Unmarshal(raw, &envelope) != nil || json.Unmarshal(envelope.Payload, &payload) != nil {
		return "", time.Time{}
	}
	return payload.Org, payload.Issued
}
