package represent

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"brink/digest"
	"brink/node/internal/semantics"
	"brink/node/internal/serve"
	"brink/origin"
	"brink/protocol"
	"brink/store"
)

// GetDerived answers GET /v1/fleet/derived?source=&kind=&base= with a representation, byte for byte as it is stored.
// The caller has checked that another node asks. The status is 204 if the representation is not worth building, 404 if
// it is not here, and 503 if it is being built. With bundle, path, base_bundle and base_path it is built if this node
// is the owner.
func (s *Server) GetDerived(r *serve.Request) error {
	key, err := derivedKey(r.QueryArgs())
	if err != nil {
		return err
	}
	object, err := s.Store.Derived(key)
	if errors.Is(err, store.ErrNotFound) {
		object, err = s.buildForPeer(r.QueryArgs(), key)
	}
	if err != nil {
		return err
	}
	if object.Size() == 0 {
		r.SetStatusCode(http.StatusNoContent)
		return nil
	}
	err = s.Sender.Send(
		r,
		serve.Headers{ContentType: "application/octet-stream", Vary: semantics.VaryCoding, Cache: semantics.CacheNever},
		s.Object(object),
	)
	if errors.Is(err, store.ErrNotFound) {
		return errNoDerived // it is damaged
	}
	return err
}

var errNoDerived = serve.Problem(protocol.CodeNotFound, "the representation is not here", "")

// derivedKey parses the key of the representation that another node asks for.
func derivedKey(q *fasthttp.Args) (key store.DerivedKey, err error) {
	source, wrongSource := digest.Parse(string(q.Peek("source")))
	base, wrongBase := digest.Parse(string(q.Peek("base")))
	key = store.DerivedKey{Source: source, Kind: string(q.Peek("kind")), Base: base}
	coding, ok := codingOf(key.Kind)
	switch {
	case wrongSource != nil || wrongBase != nil:
		err = errors.Join(wrongSource, wrongBase)
	case !ok:
		err = fmt.Errorf("unknown kind %q", key.Kind)
	case (coding == semantics.DCZ) == base.IsZero():
		err = errors.New("base is required for a patch, and not allowed for other kinds")
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

// buildForPeer waits up to buildWait for a build in progress, and starts one if this node owns the plain bytes and the
// request says how.
func (b *Builder) buildForPeer(q *fasthttp.Args, key store.DerivedKey) (*store.Object, error) {
	b.mu.Lock()
	running := b.running[key]
	var built <-chan struct{}
	if running != nil && !running.sharing {
		built = running.ready
	}
	b.mu.Unlock()
	if built == nil { // waiting for a build that itself waits for other nodes could deadlock
		if origin.OwnersFirst(b.Fleet.Self(), b.Fleet.Others(), key.Source) > 0 {
			return nil, errNoDerived
		}
		d, err := b.derivation(q, key)
		if err != nil {
			return nil, err
		}
		if name := string(q.Peek("holder")); name != "" && b.share.holder(d.Bundle) == (holder{}) {
			b.share.recordHolder(d.Bundle, holder{node: name})
		}
		p := Planned
		if q.GetBool("asked") {
			p = Asked
		}
		built = b.Add(d, p)
	}
	late := time.NewTimer(buildWait)
	defer late.Stop()
	select {
	case <-built:
	case <-late.C:
		return nil, serve.Problem(protocol.CodeUnavailable, "the representation is being built", "ask again")
	case <-b.Context.Done():
		return nil, errNoDerived
	}
	object, err := b.Store.Derived(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNoDerived
	}
	return object, err
}

// derivation returns how to build a representation that another node asks for. The bundles have to be here: without
// them this node cannot check what the other node says of them.
func (b *Builder) derivation(q *fasthttp.Args, key store.DerivedKey) (Derivation, error) {
	s, err := b.named(key.Source, string(q.Peek("bundle")), string(q.Peek("path")))
	if err != nil {
		return Derivation{}, err
	}
	coding, _ := codingOf(key.Kind)
	if coding != semantics.DCZ {
		return Derivation{Subject: s.Subject, Coding: coding}, nil
	}
	base, err := b.named(key.Base, string(q.Peek("base_bundle")), string(q.Peek("base_path")))
	if err != nil {
		return Derivation{}, err
	}
	d, possible := base.PatchFor(s.Subject)
	if !possible {
		return Derivation{}, errNoDerived
	}
	return d, nil
}

// named returns the archive of a bundle, or its file at path unless that is empty, if its digest is source.
func (b *Builder) named(source digest.Digest, id, path string) (Dictionary, error) {
	which, err := digest.Parse(id)
	if err != nil {
		return Dictionary{}, errNoDerived // the node that asks does not consider this one the owner
	}
	of, err := b.Store.Bundle(which)
	if errors.Is(err, store.ErrNotFound) {
		return Dictionary{}, errNoDerived
	}
	if err != nil {
		return Dictionary{}, err
	}
	found := Dictionary{
		Subject: Subject{Bundle: which, Source: which, Size: of.Index.Archive.Size}, Name: of.SHA256,
	}
	if path != "" {
		f := of.Index.File(path)
		if f == nil {
			return Dictionary{}, errNoDerived
		}
		found = Dictionary{Subject: FileOf(which, f), Name: f.SHA256}
	}
	if found.Source != source {
		return Dictionary{}, errNoDerived
	}
	return found, nil
}
