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
	Expect digest.Digest // Published: the manifest that it replaces; zero: none
	Node   string        // Gossiped: the node that has it
}

// Kind is a kind of source.
type Kind int

// The kinds of sources.
const (
	Published Kind = iota // its publisher sent it to this node
	Gossiped              // another node has it
	Mirrored              // the origin has it
	Stored                // it was in force before this node started, or before the trust document of its org was replaced
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

// follows reports whether the manifest was in force elsewhere before.
func (s Source) follows() bool { return s.Kind == Gossiped || s.Kind == Mirrored }

// Apply brings a signed manifest of a channel into force, and returns it. If there is no error, that manifest or a
// newer one is in force; otherwise nothing has changed. Apply may wait for other nodes and the origin, until ctx ends;
// other channels do not wait for it.
//
// A published manifest must replace the one that its publisher expects, and this node must have its bundles. One from
// another node or the origin must be newer, and its bundles are fetched. A stored one was in force before, and must
// still be allowed.
func (d *Door) Apply(ctx context.Context, raw []byte, app, name string, from Source) (*channel.Manifest, error) {
	m, trust, err := d.verify(raw, app, name, from)
	if err != nil {
		return nil, err
	}
	if done, report, err := d.checkOrder(m, from); done || err != nil {
		report()
		return m, err
	}
	if from.follows() {
		update := d.State.Manifest(app, name) != nil
		for id := range m.RequiredBundles() {
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
	if from.Kind == Stored { // devices had it before, so missing representations are built afterwards
		d.Preparer.Enqueue(m)
	}
	return m, nil
}

// replace brings a manifest into force instead of the current one. trust is the document that it was verified with.
// Replacements of a channel are serialised, so that each is checked against the manifest that it replaces.
func (d *Door) replace(ctx context.Context, m *channel.Manifest, trust *channel.Trust, from Source) error {
	key := m.App + "/" + m.Channel
	if err := d.locks.acquire(ctx, key); err != nil {
		return err
	}
	defer d.locks.release(key)
	// Everything that was checked without the lock may have changed.
	if d.State.Trust(m.Org) != trust {
		if _, _, err := d.verify(m.Raw(), m.App, m.Channel, from); err != nil {
			return err
		}
	}
	done, report, err := d.checkOrder(m, from)
	report()
	if done || err != nil {
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

// verify verifies a manifest against its org's trust document, which it returns too, and checks that it is of the app
// and channel. A stored one is verified as of the time when it was issued: each check of a device finds out whether it
// has expired since.
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

// checkOrder returns an error if a manifest may not replace the one in force. It returns done if there is nothing to
// do, because that manifest or a newer one is in force. report logs what an operator should know of the order; it is
// called once for each manifest, which is checked twice.
func (d *Door) checkOrder(m *channel.Manifest, from Source) (done bool, report func(), err error) {
	current, lapsed := d.State.Current(m.App, m.Channel)
	nothing := func() {}
	switch {
	case current == nil || from.Kind == Stored:
		return false, nothing, nil
	case from.follows():
		return d.overtaken(current, lapsed, m)
	case current.Digest() == m.Digest():
		return true, nothing, nil // the same manifest again
	case from.Expect != current.Digest():
		return false, nothing, serve.Problem(
			protocol.CodeConflict,
			fmt.Sprintf("channel %s is at sequence %d, which is not the one that your change replaces", m.Channel,
				current.Sequence),
			"publish again to put your release on top of it",
		)
	}
	return false, nothing, checkFollows(current, lapsed, m)
}

// checkFollows returns nil if m may replace current. If current has lapsed, only its sequence counts, because devices
// have seen it.
func checkFollows(current *channel.Manifest, lapsed bool, m *channel.Manifest) error {
	if !lapsed {
		return channel.Newer(current, m)
	}
	if m.Order() <= current.Order() {
		return &channel.RefusedError{
			Code:   channel.CodeSequenceNotHigher,
			Reason: fmt.Sprintf("devices have seen sequence %d, signed by a key that is no longer allowed", current.Sequence),
			Hint:   "publish with --restart, which continues from that sequence",
		}
	}
	return nil
}

// overtaken reports whether m or a newer manifest is in force. It returns an error if m cannot follow the manifest in
// force.
//
// Two different manifests with one sequence are an equivocation: both are signed. All nodes choose the one whose
// statement has the larger digest, and log it; the next sequence resolves it.
func (d *Door) overtaken(
	current *channel.Manifest, lapsed bool, m *channel.Manifest,
) (done bool, report func(), err error) {
	nothing := func() {}
	if current.Order() == m.Order() && current.Statement() != m.Statement() {
		ours, theirs := current.Statement(), m.Statement()
		return bytes.Compare(theirs[:], ours[:]) <= 0, func() {
			d.equivocations.Add(1)
			d.Logger.Error("two manifests of one sequence are signed: an equivocation", "app", m.App,
				"channel", m.Channel, "sequence", m.Sequence, "in_force", ours.Short(), "other", theirs.Short(),
				"hint", "both sides of a network partition published, or the key was stolen: publish again, which ends it")
		}, nil
	}
	if m.Order() <= current.Order() && !lapsed {
		return true, nothing, nil
	}
	err = checkFollows(current, lapsed, m)
	if refused, ok := errors.AsType[*channel.RefusedError](err); ok {
		switch refused.Code {
		case channel.CodeSequenceNotHigher:
			return true, nothing, nil
		case channel.CodeDowngrade:
			// It was published on the other side of a network partition. All nodes have to converge on the higher sequence;
			// devices with a higher version refuse it by themselves.
			return false, func() {
				d.Logger.Warn("the fleet has a higher sequence with a lower version: devices above it wait for a higher version",
					"app", m.App, "channel", m.Channel, "sequence", m.Sequence, "version", m.Release.Version,
					"hint", "publish a higher version")
			}, nil
		}
	}
	return false, nothing, err
}

// RestoreManifests brings the stored manifests into force, except those that the trust documents no longer allow, which
// it logs. Each takes a processor some tenths of a millisecond, for signatures and JSON, so all processors share the
// work. Their order does not matter, because each is of another channel.
func (d *Door) RestoreManifests(ctx context.Context) error {
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

// restore brings one stored manifest into force, or logs why not.
func (d *Door) restore(ctx context.Context, log *slog.Logger, app, name string, raw []byte, err error) {
	if err != nil {
		log.Error("channel left out: cannot read its manifest", "error", err)
		return
	}
	if _, err := d.Apply(ctx, raw, app, name, Source{Kind: Stored}); err != nil {
		log.Error("channel left out: its manifest is no longer allowed", "error", err,
			"hint", "publish to it with --restart")
		if lapsed, err := channel.ParseManifest(raw); err == nil {
			d.State.lapse(lapsed)
		}
	}
}

// Reapply brings into force the stored manifests of an org that its trust document allows, and marks the others as
// lapsed. The caller must have replaced the trust document.
func (d *Door) Reapply(ctx context.Context, org string) error {
	if err := d.reapplyStored(ctx, org); err != nil {
		return err
	}
	// A manifest that came into force meanwhile may have been verified before the trust document was replaced. From here
	// on, replace notices that.
	var list []*channel.Manifest
	d.State.Each(func(m *channel.Manifest) {
		if m.Org == org {
			list = append(list, m)
		}
	})
	for _, m := range list {
		if err := d.recheckCurrent(ctx, m.App, m.Channel); err != nil {
			return err
		}
	}
	return nil
}

// recheckCurrent marks the manifest in force of a channel as lapsed if the trust document does not allow it.
func (d *Door) recheckCurrent(ctx context.Context, app, name string) error {
	key := app + "/" + name
	if err := d.locks.acquire(ctx, key); err != nil {
		return err
	}
	defer d.locks.release(key)
	current := d.State.Manifest(app, name)
	if current == nil {
		return nil
	}
	if _, _, err := d.verifyStored(current.Raw()); err != nil {
		d.lapse(current, err)
	}
	return nil
}

// lapse marks a manifest that the trust document no longer allows as lapsed.
func (d *Door) lapse(m *channel.Manifest, why error) {
	d.Logger.Warn("channel left out: the new trust document does not allow it", "app", m.App, "channel", m.Channel,
		"error", why)
	d.State.lapse(m)
}

func (d *Door) reapplyStored(ctx context.Context, org string) error {
	return d.Store.Manifests(func(app, name string, raw []byte, err error) bool {
		stored, parsing := channel.ParseManifest(raw)
		if err != nil || parsing != nil || stored.Org != org {
			return true
		}
		if _, err := d.Apply(ctx, raw, app, name, Source{Kind: Stored}); err != nil {
			if current := d.State.Manifest(app, name); current == nil || current.Order() <= stored.Order() {
				d.lapse(stored, err)
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
	// It is refused; now find the error to return.
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

// claims returns the org and the time of issue that a manifest states. It verifies nothing, so that a manifest is
// verified only once, against the trust document of that org. The values are zero if it cannot be parsed.
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
