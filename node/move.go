package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"brink/channel"
	"brink/digest"
	"brink/node/serve"
	"brink/protocol"
)

// move answers PUT /v1/apps/{app}/channels/{channel}: a signed manifest takes the place of the one that the request
// names, or of none.
//
// When it answers with success the manifest is durable. It comes into force here after the representations that
// devices will ask for first were made, or the time for that is over.
func (n *Node) move(r *serve.Request) error {
	raw, err := r.ReadBody(channel.MaxManifest)
	if err != nil {
		return err
	}
	expect, err := expected(r)
	if err != nil {
		return err
	}
	want, err := n.wanted(r)
	if err != nil {
		return err
	}
	m, lapsed := n.channels.held(r.Names[0], r.Names[1])
	// Anybody may send the manifest in force once more, because the answer to its publisher may have been lost.
	if m == nil || lapsed || m.Digest() != digest.Sum(raw) {
		if m, err = n.verify(raw, r.Names[0], r.Names[1]); err != nil {
			return err
		}
		if err := n.moveTo(m, expect); err != nil {
			return err
		}
	}
	return r.WriteJSON(fasthttp.StatusOK, moved(m, n.replicate(m, want)))
}

// moveTo brings a manifest into force in the place of the one that is expected. It is done one after the other, until
// each is in force: whoever comes next meets what is, and not what is about to be.
func (n *Node) moveTo(m *channel.Manifest, expect digest.Digest) error {
	key := m.App + "/" + m.Channel
	n.moves.enter(key)
	defer n.moves.leave(key)
	current, lapsed := n.channels.held(m.App, m.Channel)
	if current != nil {
		if current.Digest() == m.Digest() {
			return nil // the same once more
		}
		if expect != current.Digest() {
			return serve.Problem(
				protocol.CodeConflict,
				fmt.Sprintf("channel %s is at sequence %d, and not what your change was made from", m.Channel,
					current.Sequence),
				"publish again to put your release on top of it",
			)
		}
		if err := follows(current, lapsed, m); err != nil {
			return err
		}
	}
	if err := n.compareBundles(m, true); err != nil {
		return err
	}
	if err := n.chargeManifest(m); err != nil {
		return err
	}
	if n.mirror != nil {
		if err := n.mirror.through(n.ctx, m); err != nil {
			return err
		}
	}
	if err := n.store.PutManifest(n.ctx, m.Raw(), m, expect); err != nil {
		return err
	}
	n.config.Logger.Info("channel moved", "app", m.App, "channel", m.Channel, "sequence", m.Sequence,
		"version", m.Release.Version, "bundle", m.Release.Bundle.Short())
	n.activate(n.ctx, m)
	return nil
}

// turns lets one at a time do something with each of many things. The zero value is ready.
type turns struct {
	mu    sync.Mutex
	taken map[string]chan struct{} // closed when the turn ends
}

// enter waits for the turn of key, and takes it.
func (t *turns) enter(key string) {
	for {
		t.mu.Lock()
		before, busy := t.taken[key]
		if !busy {
			if t.taken == nil {
				t.taken = map[string]chan struct{}{}
			}
			t.taken[key] = make(chan struct{})
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		<-before
	}
}

// leave ends the turn of key.
func (t *turns) leave(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.taken[key])
	delete(t.taken, key)
}

// follows returns nil if m may take the place of current. What has lapsed has no say but by its sequence, which devices
// have seen.
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

func moved(m *channel.Manifest, by []protocol.Replica) protocol.Moved {
	return protocol.Moved{App: m.App, Channel: m.Channel, Sequence: m.Sequence, Manifest: m.Digest(), Replicas: by}
}

// expected returns what the request says is in force: the zero digest for nothing.
func expected(r *serve.Request) (digest.Digest, error) {
	match := string(r.Request.Header.Peek(fasthttp.HeaderIfMatch))
	none := string(r.Request.Header.Peek(fasthttp.HeaderIfNoneMatch))
	switch {
	case match == "" && none == "*":
		return digest.Digest{}, nil
	case match != "" && none == "":
		if len(match) == digest.TextSize+2 && match[0] == '"' && match[len(match)-1] == '"' {
			if d, err := digest.Parse(match[1 : len(match)-1]); err == nil {
				return d, nil
			}
		}
		return digest.Digest{}, serve.Problem(protocol.CodeBadRequest,
			"If-Match is not the entity tag of a channel manifest", "")
	}
	return digest.Digest{}, serve.Problem(protocol.CodePrecondition, "say what the manifest is to replace",
		"send If-Match with the entity tag of the manifest in force, or If-None-Match: * for a new channel")
}

// verify checks a manifest by its org's trust document, and that it is of the app and channel.
func (n *Node) verify(raw []byte, app, name string) (*channel.Manifest, error) {
	trust, err := n.channels.owner(app)
	if err != nil {
		return nil, err
	}
	m, err := trust.VerifyManifest(raw, n.config.Now())
	if err != nil {
		return nil, err
	}
	return m, m.CheckFor(app, name)
}

// activate brings a manifest into force, after making what devices will ask for first. The last one stays in force
// until then; ctx ends the wait, and not the work.
func (n *Node) activate(ctx context.Context, m *channel.Manifest) {
	defer n.channels.expect(m)()
	n.builder.prepare(ctx, m)
	n.channels.set(m)
	n.announce(m)
}

// restore brings into force what the store holds. What the trust documents no longer allow stays out, and is named.
// Reading one takes a processor some tenths of a millisecond, for its signatures and its JSON, so all of them share in
// it; the order makes no difference, for each is of another channel.
func (n *Node) restore() error {
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
				n.restoreOne(n.config.Logger.With("app", s.app, "channel", s.name), s.raw, s.err)
			}
		})
	}
	err := n.store.Manifests(func(app, name string, raw []byte, err error) bool {
		work <- stored{app, name, raw, err}
		return true
	})
	close(work)
	done.Wait()
	return err
}

// restoreOne brings one channel into force as the store has it, or says why it can not be read.
func (n *Node) restoreOne(log *slog.Logger, raw []byte, err error) {
	if err != nil {
		log.Error("channel left out: its manifest can not be read", "error", err)
		return
	}
	m, err := n.reverify(raw)
	if err != nil {
		log.Error("channel left out: its manifest does not count any more", "error", err,
			"hint", "publish to it with --anew")
		if lapsed, err := channel.ParseManifest(raw); err == nil {
			n.channels.lapse(lapsed)
		}
		return
	}
	n.channels.set(m)
	n.builder.want(m)
}

// reverify checks a manifest that was accepted before, by the trust documents of today and the bundles that are here.
// It does so as of the manifest's own time: whether it has expired since is for each check of a device to say.
func (n *Node) reverify(raw []byte) (*channel.Manifest, error) {
	m, err := n.reverifySigned(raw)
	if err != nil {
		return nil, err
	}
	return m, n.compareBundles(m, false)
}

func (n *Node) reverifySigned(raw []byte) (*channel.Manifest, error) {
	org, issued := claims(raw)
	if trust := n.channels.trusts.get(org); trust != nil {
		if m, err := trust.VerifyManifest(raw, issued); err == nil && m.Issued.Equal(issued) {
			return m, nil
		}
	}
	// From here on it is about what to say of it.
	stored, err := channel.ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	trust := n.channels.trusts.get(stored.Org)
	if trust == nil {
		return nil, fmt.Errorf("no trust document of org %s was given", stored.Org)
	}
	return trust.VerifyManifest(raw, stored.Issued)
}

// claims returns which org a manifest says that it is of, and from when. It believes all and checks nothing, so that a
// manifest is read and checked once, by who says that it is good; of what it can not read, the values are zero.
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
