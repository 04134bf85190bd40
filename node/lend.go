package node

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"brink/digest"
	"brink/node/semantics"
	"brink/node/serve"
	"brink/protocol"
	"brink/store"
)

// fleetDerived answers GET /v1/fleet/derived?source=&kind=&base=: a representation, byte for byte as it is stored, for
// another node. It answers 204 for one that is not worth it, 404 for one that is not here, and 503 for one that is
// being made. With bundle, path, base_bundle and base_path it is made if this node is the owner.
func (n *Node) fleetDerived(r *serve.Request) error {
	if err := n.fromFleet(r, nil); err != nil {
		return err
	}
	key, err := derivedKey(r.QueryArgs())
	if err != nil {
		return err
	}
	object, err := n.store.Derived(key)
	if errors.Is(err, store.ErrNotFound) {
		object, err = n.lend(r.QueryArgs(), key)
	}
	if err != nil {
		return err
	}
	if object.Size() == 0 {
		r.SetStatusCode(http.StatusNoContent)
		return nil
	}
	err = n.sender.Send(
		r,
		serve.Headers{ContentType: "application/octet-stream", Vary: semantics.VaryCoding, Cache: semantics.CacheNever},
		serve.Representation{Digest: object.Digest(), Size: object.Size(), Body: &derivedBody{node: n, object: object}},
	)
	if errors.Is(err, store.ErrNotFound) {
		return errNotLent // it is damaged
	}
	return err
}

var errNotLent = serve.Problem(protocol.CodeNotFound, "the representation is not here", "")

// derivedKey reads what another node asks for.
func derivedKey(q *fasthttp.Args) (key store.DerivedKey, err error) {
	source, wrongSource := digest.Parse(string(q.Peek("source")))
	base, wrongBase := digest.Parse(string(q.Peek("base")))
	key = store.DerivedKey{Source: source, Kind: string(q.Peek("kind")), Base: base}
	coding, ok := codingOf(key.Kind)
	switch {
	case wrongSource != nil || wrongBase != nil:
		err = errors.Join(wrongSource, wrongBase)
	case !ok:
		err = fmt.Errorf("kind %q is not made", key.Kind)
	case (coding == semantics.DCZ) == base.IsZero():
		err = errors.New("a patch has a base, and nothing else has")
	}
	if err != nil {
		return key, serve.Problem(protocol.CodeBadRequest, err.Error(), "")
	}
	return key, nil
}

// codingOf returns the coding of a kind of representation.
func codingOf(kind string) (semantics.Coding, bool) {
	for _, coding := range append([]semantics.Coding{semantics.DCZ}, encodings...) {
		if coding.String() == kind {
			return coding, true
		}
	}
	return semantics.Identity, false
}

// lend waits for a representation that is being made, for so long, and has it made if this node is the owner and was
// told how.
func (n *Node) lend(q *fasthttp.Args, key store.DerivedKey) (*store.Object, error) {
	b := n.builder
	b.mu.Lock()
	running := b.running[key]
	var made <-chan struct{}
	if running != nil && !running.sharing {
		made = running.ready
	}
	b.mu.Unlock()
	if made == nil { // who waits for what others are asked for might wait in a circle
		if self, others := n.members(); n.ownsFirst(self, others, key.Source) > 0 {
			return nil, errNotLent
		}
		d, err := n.toLend(q, key)
		if err != nil {
			return nil, err
		}
		if name := string(q.Peek("holder")); name != "" && b.share.holder(d.bundle) == (holder{}) {
			b.share.note(d.bundle, holder{node: name})
		}
		p := planned
		if q.GetBool("asked") {
			p = asked
		}
		made = b.add(d, p)
	}
	late := time.NewTimer(lendWait)
	defer late.Stop()
	select {
	case <-made:
	case <-late.C:
		return nil, serve.Problem(protocol.CodeUnavailable, "the representation is being made", "ask again")
	case <-n.ctx.Done():
		return nil, errNotLent
	}
	object, err := n.store.Derived(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNotLent
	}
	return object, err
}

// toLend returns how a representation is made that another node asks for. The bundles have to be here: who has none
// does not know what it stands for.
func (n *Node) toLend(q *fasthttp.Args, key store.DerivedKey) (derivation, error) {
	s, err := n.named(key.Source, string(q.Peek("bundle")), string(q.Peek("path")))
	if err != nil {
		return derivation{}, err
	}
	coding, _ := codingOf(key.Kind)
	if coding != semantics.DCZ {
		return derivation{subject: s.subject, coding: coding}, nil
	}
	base, err := n.named(key.Base, string(q.Peek("base_bundle")), string(q.Peek("base_path")))
	if err != nil {
		return derivation{}, err
	}
	d, possible := base.patchFor(s.subject)
	if !possible {
		return derivation{}, errNotLent
	}
	return d, nil
}

// named returns the archive of a bundle, or its file at path unless that is empty, if it is what source says.
func (n *Node) named(source digest.Digest, id, path string) (dictionary, error) {
	which, err := digest.Parse(id)
	if err != nil {
		return dictionary{}, errNotLent // the one who asks does not take this node for the owner
	}
	b, err := n.store.Bundle(which)
	if errors.Is(err, store.ErrNotFound) {
		return dictionary{}, errNotLent
	}
	if err != nil {
		return dictionary{}, err
	}
	found := dictionary{subject: subject{bundle: which, source: which, size: b.Index.Archive.Size}, name: b.SHA256}
	if path != "" {
		f := b.Index.File(path)
		if f == nil {
			return dictionary{}, errNotLent
		}
		found = dictionary{subject: fileOf(which, f), name: f.SHA256}
	}
	if found.source != source {
		return dictionary{}, errNotLent
	}
	return found, nil
}
