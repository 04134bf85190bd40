// Package represent chooses, builds and keeps representations: archives and files of bundles as zstd, gzip and brotli,
// and patches from what a device has to what it is to have.
//
// The life of one representation: before a release comes into force, [Builder.Prepare] builds what devices will ask for
// first; the rest is built behind it, and what a request would have preferred, for the next one. In a fleet each is
// built once: [Server.Lend] waits for it on behalf of other nodes, and what comes from another node is decoded and
// compared before it is stored. For a request, [Server.Send] picks the one that the client prefers among those that
// exist, from memory ([Hot]) or the store.
//
// The invariant: nothing is encoded on the path of a request, and every representation decodes to the bytes that it
// stands for.
package represent

import (
	"errors"
	"iter"

	"github.com/valyala/fasthttp"

	"brink/channel"
	"brink/digest"
	"brink/node/internal/hashed"
	"brink/node/internal/semantics"
	"brink/node/internal/serve"
	"brink/protocol"
	"brink/store"
)

// Smallest is the size in bytes below which encoding something is not worth a second representation: it fits a few
// packets as it is.
const Smallest = 1 << 10

// encodings are what is built of each subject.
//
//nolint:gochecknoglobals // a table that is never changed
var encodings = []semantics.Coding{semantics.Zstd, semantics.Gzip, semantics.Brotli}

// headerDictionary names the field by which a client offers a dictionary (RFC 9842, section 2.2).
const headerDictionary = "Available-Dictionary"

// ErrNotAcceptable is the problem of a client that accepts none of the encodings that exist.
var ErrNotAcceptable = serve.Problem(protocol.CodeNotAcceptable, "none of the encodings that exist is accepted",
	"accept identity, or zstd")

// Server chooses representations for requests, and sends them.
type Server struct {
	*Builder

	Sender *serve.Sender
	// Metrics, if it is not nil, is told of each archive and file that is asked for with a known dictionary, and whether
	// there was a patch.
	Metrics interface{ PatchAsked(found bool) }
}

// Send answers with the representation of a subject that the client prefers. One that turns out to be missing or
// damaged is dropped by the store, and the next best is sent instead.
func (s *Server) Send(r *serve.Request, headers serve.Headers, of Subject, identity serve.Representation) error {
	var err error
	for range len(encodings) + 2 { // each may fail once, and a patch
		var rep serve.Representation
		if rep, err = s.choose(r, of, identity); err != nil {
			return err
		}
		err = s.Sender.Send(r, headers, rep)
		if rep.Coding == semantics.Identity || !errors.Is(err, store.ErrNotFound) {
			return err
		}
		s.Logger.Warn("representation is damaged, sending another", "bundle", of.Bundle.Short(),
			"coding", rep.Coding.String(), "error", err)
		r.Response.Header.Del(fasthttp.HeaderContentEncoding)
	}
	return err
}

// SendFile is Send for a file of a bundle, whose type goes by its name.
func (s *Server) SendFile(r *serve.Request, headers serve.Headers, of Subject) error {
	headers.ContentType = serve.ContentType(of.Path)
	return s.Send(r, headers, of, s.Identity(of, nil))
}

// choose returns the representation of a subject that the client prefers among those that exist: a patch before all
// others, then the smallest. What it would prefer to that is built in the background, for the next one who asks.
func (s *Server) choose(r *serve.Request, of Subject, identity serve.Representation) (serve.Representation, error) {
	accept := r.Accept()
	if of.Size >= Smallest && accept.Accepts(semantics.DCZ) {
		if name, err := digest.ParseField(string(r.Request.Header.Peek(headerDictionary))); err == nil {
			if rep, ok := s.Patch(of, name); ok {
				return rep, nil
			}
		}
	}
	best, acceptable := identity, accept.Accepts(semantics.Identity)
	if of.Size >= Smallest {
		for _, coding := range encodings {
			if !accept.Prefers(coding, best.Coding) {
				continue
			}
			rep, ok := s.Derived(Derivation{Subject: of, Coding: coding})
			if ok && (rep.Size < best.Size || !accept.Prefers(best.Coding, coding)) {
				best, acceptable = rep, true
			}
		}
	}
	if !acceptable {
		return serve.Representation{}, ErrNotAcceptable
	}
	return best, nil
}

// Patch returns the patch to a subject from the dictionary with the name, if it exists.
func (s *Server) Patch(to Subject, name digest.SHA256) (serve.Representation, bool) {
	base, known := s.dictionary(to, name)
	if !known {
		return serve.Representation{}, false
	}
	d, possible := base.PatchFor(to)
	if !possible {
		return serve.Representation{}, false
	}
	rep, ok := s.Derived(d)
	if s.Metrics != nil {
		s.Metrics.PatchAsked(ok)
	}
	return rep, ok
}

// dictionary returns what has the name, if it is something that patches to a subject are made against: for an archive
// that an app gives to its devices, any that channels of the same app serve or have served; for a file, earlier
// versions of it.
func (s *Server) dictionary(to Subject, name digest.SHA256) (Dictionary, bool) {
	if to.IsArchive() {
		id, size, known := s.State.Base(to.Bundle, name)
		return Dictionary{Subject: Subject{Bundle: id, Source: id, Size: size}, Name: name}, known
	}
	for _, m := range s.State.Serving(to.Bundle) {
		for old := range s.Before(m, to.Bundle) {
			for i := range old.Index.Files {
				if f := &old.Index.Files[i]; f.SHA256 == name && hashed.Same(f.Path, to.Path) {
					return Dictionary{Subject: FileOf(old.ID, f), Name: name}, true
				}
			}
		}
	}
	return Dictionary{}, false
}

// Before yields the bundles of the last other releases of a channel, as far as they are here: those whose files are
// dictionaries. There are few of them because each index that is not in memory has to be read, for whatever a stranger
// names as the dictionary that it has.
func (b *Builder) Before(m *channel.Manifest, id digest.Digest) iter.Seq[*store.Bundle] {
	return func(yield func(*store.Bundle) bool) {
		left := b.PatchReleases
		for release := range m.Releases() {
			if release.Bundle == id {
				continue
			}
			if left--; left < 0 {
				return
			}
			if old, err := b.Store.Bundle(release.Bundle); err == nil && !yield(old) { // else it was evicted
				return
			}
		}
	}
}

// Derived returns a representation that is in the store. When it is not, it is built in the background.
func (b *Builder) Derived(d Derivation) (serve.Representation, bool) {
	object, err := b.Store.Derived(d.Key())
	if err != nil {
		if !errors.Is(err, store.ErrNotFound) {
			b.Logger.Error("representation cannot be read", "bundle", d.Bundle.Short(),
				"coding", d.Coding.String(), "error", err)
		}
		b.Add(d, Asked)
		return serve.Representation{}, false
	}
	if object.Size() == 0 {
		return serve.Representation{}, false // it was built, and was not worth it
	}
	rep := b.Object(object)
	rep.Coding = d.Coding
	return rep, true
}
