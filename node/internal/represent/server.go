// Package represent chooses, builds and caches representations: archives and files of bundles as zstd, gzip and brotli,
// and patches from a release that devices have to the next.
//
// The life of one representation: before a release comes into force, [Builder.Prepare] builds those that devices will
// ask for first. The others are built in the background, as is one that a request would have preferred. In a fleet each
// is built once: [Server.GetDerived] sends it to other nodes, and waits until it is built. What comes from another node
// is decoded and compared before it is stored. For a request, [Server.Send] chooses the one that the client prefers
// among those that exist, from memory ([Hot]) or the store.
//
// The invariant: no request waits for an encoder, and every representation decodes to the plain bytes of its subject.
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

// encodings are the codings that each subject is encoded with.
//
//nolint:gochecknoglobals // a table that is never changed
var encodings = []semantics.Coding{semantics.Zstd, semantics.Gzip, semantics.Brotli}

// headerDictionary is the field that announces the dictionary of a client (RFC 9842, section 2.2).
const headerDictionary = "Available-Dictionary"

// ErrNotAcceptable is the problem for a client that accepts none of the encodings that exist.
var ErrNotAcceptable = serve.Problem(protocol.CodeNotAcceptable, "none of the encodings that exist is accepted",
	"accept identity, or zstd")

// Server chooses representations for requests, and sends them.
type Server struct {
	*Builder

	Sender *serve.Sender
	// Metrics, if it is not nil, counts requests for archives and files with a known dictionary, and whether there was a
	// patch.
	Metrics interface{ PatchAsked(found bool) }
}

// Send answers with the representation of a subject that the client prefers. If the store finds it missing or damaged,
// it drops it, and Send sends the next best.
func (s *Server) Send(r *serve.Request, headers serve.Headers, of Subject, identity serve.Representation) error {
	var err error
	for range len(encodings) + 2 { // each encoding may fail once, and so may a patch
		var rep serve.Representation
		if rep, err = s.choose(r, of, identity); err != nil {
			return err
		}
		err = s.Sender.Send(r, headers, rep)
		if rep.Coding == semantics.Identity || !errors.Is(err, store.ErrNotFound) {
			return err
		}
		s.Logger.Warn("representation is damaged, sending another one", "bundle", of.Bundle.Short(),
			"coding", rep.Coding.String(), "error", err)
		r.Response.Header.Del(fasthttp.HeaderContentEncoding)
	}
	return err
}

// SendFile is Send for a file of a bundle. The name of the file determines its content type.
func (s *Server) SendFile(r *serve.Request, headers serve.Headers, of Subject) error {
	headers.ContentType = serve.ContentType(of.Path)
	return s.Send(r, headers, of, s.Identity(of, nil))
}

// choose returns the representation of a subject that the client prefers among those that exist: a patch first, then
// the smallest. One that it would prefer and that does not exist is built in the background, for the next request.
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

// Patch returns the patch to a subject from the dictionary with that name, if it exists.
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

// dictionary returns the dictionary with that name, if patches to the subject may use it. For the archive of a release,
// that is any archive that channels of the same app serve or have served; for a file, any earlier version of it.
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

// Before yields the bundles of the last PatchReleases other releases of a channel, without those that are not here.
// Their files are dictionaries. The number is small because a request with any dictionary causes each index to be read
// that is not in memory.
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
			if old, err := b.Store.Bundle(release.Bundle); err == nil && !yield(old) { // an error: it was evicted
				return
			}
		}
	}
}

// Derived finds a representation in the store. If it is not there, Derived queues it to be built in the background.
func (b *Builder) Derived(d Derivation) (serve.Representation, bool) {
	object, err := b.Store.Derived(d.Key())
	if err != nil {
		if !errors.Is(err, store.ErrNotFound) {
			b.Logger.Error("cannot read representation", "bundle", d.Bundle.Short(),
				"coding", d.Coding.String(), "error", err)
		}
		b.Add(d, Asked)
		return serve.Representation{}, false
	}
	if object.Size() == 0 {
		return serve.Representation{}, false // it was built and found not to be worth it
	}
	rep := b.Object(object)
	rep.Coding = d.Coding
	return rep, true
}
