package node

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/valyala/fasthttp"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/semantics"
	"brink/node/serve"
	"brink/store"
)

// subject is what representations are made of: the archive of a bundle, or one file of it.
type subject struct {
	bundle digest.Digest
	source digest.Digest // of the plain bytes
	size   int64         // of the plain bytes
	path   string        // of the file; empty for the archive
	file   *bundle.File  // nil for the archive
}

// isArchive reports whether the subject is an archive.
func (s subject) isArchive() bool { return s.file == nil }

// smallest is the size in bytes below which encoding something is not worth a second representation: it fits a few
// packets as it is.
const smallest = 1 << 10

// encodings are what is made of each subject.
//
//nolint:gochecknoglobals // a table that is never changed
var encodings = []semantics.Coding{semantics.Zstd, semantics.Gzip, semantics.Brotli}

// serveBest answers with the representation of s that the client likes best. One that turns out to be gone or damaged
// is dropped by the store, and the next best is sent instead.
func (n *Node) serveBest(r *serve.Request, what serve.Headers, s subject, identity serve.Representation) error {
	var err error
	for range len(encodings) + 2 { // each may fail once, and a patch
		var rep serve.Representation
		if rep, err = n.choose(r, s, identity); err != nil {
			return err
		}
		err = n.sender.Send(r, what, rep)
		if rep.Coding == semantics.Identity || !errors.Is(err, store.ErrNotFound) {
			return err
		}
		n.config.Logger.Warn("representation is damaged, sending another", "bundle", s.bundle.Short(),
			"coding", rep.Coding.String(), "error", err)
		r.Response.Header.Del(fasthttp.HeaderContentEncoding)
	}
	return err
}

// choose returns the representation of s that the client likes best among those that are there: a patch before all
// others, then the smallest. What it would have liked better is made in the background, for whoever asks next.
func (n *Node) choose(r *serve.Request, s subject, identity serve.Representation) (serve.Representation, error) {
	accept := r.Accept()
	if s.size >= smallest && accept.Accepts(semantics.DCZ) {
		if name, err := digest.ParseField(string(r.Request.Header.Peek(headerDictionary))); err == nil {
			if rep, ok := n.patch(s, name); ok {
				return rep, nil
			}
		}
	}
	best, acceptable := identity, accept.Accepts(semantics.Identity)
	if s.size >= smallest {
		for _, coding := range encodings {
			if !accept.Prefers(coding, best.Coding) {
				continue
			}
			rep, ok := n.derived(derivation{subject: s, coding: coding})
			if ok && (rep.Size < best.Size || !accept.Prefers(best.Coding, coding)) {
				best, acceptable = rep, true
			}
		}
	}
	if !acceptable {
		return serve.Representation{}, errNotAcceptable
	}
	return best, nil
}

// patch returns the patch to s for who has what the name says, if there is one.
func (n *Node) patch(s subject, name digest.SHA256) (serve.Representation, bool) {
	base, known := n.dictionary(s, name)
	if !known {
		return serve.Representation{}, false
	}
	d, possible := base.patchFor(s)
	if !possible {
		return serve.Representation{}, false
	}
	rep, ok := n.derived(d)
	n.metrics.patch(ok)
	return rep, ok
}

// dictionary returns what has the name, if it is something that patches to s are made against: for an archive that an
// app gives to its devices, any that channels of the same app serve or have served; for a file, what it came out of.
func (n *Node) dictionary(s subject, name digest.SHA256) (dictionary, bool) {
	if s.isArchive() {
		id, size, known := n.channels.base(s.bundle, name)
		return dictionary{subject: subject{bundle: id, source: id, size: size}, name: name}, known
	}
	for _, m := range n.channels.serving(s.bundle) {
		for old := range n.before(m, s.bundle) {
			for i := range old.Index.Files {
				if f := &old.Index.Files[i]; f.SHA256 == name && sameButHash(f.Path, s.path) {
					return dictionary{subject: fileOf(old.ID, f), name: name}, true
				}
			}
		}
	}
	return dictionary{}, false
}

// before yields the bundles of the last other releases of a channel, as far as they are here: those whose files are
// dictionaries. There are few of them because each index that is not in memory has to be read, for whatever a stranger
// names as the dictionary that it has.
func (n *Node) before(m *channel.Manifest, id digest.Digest) iter.Seq[*store.Bundle] {
	return func(yield func(*store.Bundle) bool) {
		left := n.config.PatchReleases
		for release := range m.Releases() {
			if release.Bundle == id {
				continue
			}
			if left--; left < 0 {
				return
			}
			if b, err := n.store.Bundle(release.Bundle); err == nil && !yield(b) { // else it was evicted
				return
			}
		}
	}
}

// headerDictionary names the field by which a client offers a dictionary (RFC 9842, section 2.2).
const headerDictionary = "Available-Dictionary"

// derivation is how one representation is made.
type derivation struct {
	subject

	coding semantics.Coding
	base   dictionary // what a patch is against
}

// dictionary is what a patch can be against: something that devices may have.
type dictionary struct {
	subject

	name digest.SHA256 // of the plain bytes
}

// patchFor returns how the patch from d to s is made, if one can be.
func (d dictionary) patchFor(s subject) (derivation, bool) {
	if d.source == s.source || d.size > bundle.MaxPatch || s.size > bundle.MaxPatch {
		return derivation{}, false
	}
	return derivation{subject: s, coding: semantics.DCZ, base: d}, true
}

func (d derivation) key() store.DerivedKey {
	return store.DerivedKey{Source: d.source, Kind: d.coding.String(), Base: d.base.source}
}

// derived returns a representation that is in the store. When it is not, it is made in the background.
func (n *Node) derived(d derivation) (serve.Representation, bool) {
	object, err := n.store.Derived(d.key())
	if err != nil {
		if !errors.Is(err, store.ErrNotFound) {
			n.config.Logger.Error("representation can not be read", "bundle", d.bundle.Short(),
				"coding", d.coding.String(), "error", err)
		}
		n.builder.add(d, asked)
		return serve.Representation{}, false
	}
	if object.Size() == 0 {
		return serve.Representation{}, false // it was made, and was not worth it
	}
	return serve.Representation{
		Coding: d.coding,
		Digest: object.Digest(),
		Size:   object.Size(),
		Body:   &derivedBody{node: n, object: object},
	}, true
}

// plain returns a reader of the plain bytes of a subject. Close it.
func (n *Node) plain(ctx context.Context, s subject) (contentReader, error) {
	if !s.isArchive() {
		return n.content(ctx, s, nil), nil
	}
	b, err := n.known(s.bundle)
	if err != nil {
		return nil, err
	}
	return n.content(ctx, s, b.Index), nil
}

// readPlain returns the plain bytes of a subject.
func (n *Node) readPlain(ctx context.Context, s subject) ([]byte, error) {
	plain, err := n.plain(ctx, s)
	if err != nil {
		return nil, err
	}
	return serve.ReadAll(plain, s.size)
}

// content returns a reader of the plain bytes of a subject, whose index is only wanted if it is an archive.
func (n *Node) content(ctx context.Context, s subject, ix *bundle.Index) contentReader {
	from := n.chunks(s.bundle)
	if s.isArchive() {
		return content{bundle.NewArchive(ctx, ix, from), from}
	}
	return content{bundle.NewFile(ctx, s.file, from), from}
}

// contentReader is what representations are read by.
type contentReader interface {
	unclosed
	io.Closer
}

// unclosed are the readers of package bundle.
type unclosed interface {
	io.ReadSeeker
	io.WriterTo
}

// content is read from chunks.
type content struct {
	unclosed

	chunks chunks
}

// Close implements [io.Closer].
func (c content) Close() error {
	c.chunks.Close()
	return nil
}

// plainBody is the plain bytes of a subject, made from chunks.
type plainBody struct {
	subject

	node *Node
	ix   *bundle.Index // of the archive; nil for a file
}

// Whole implements [serve.Body].
func (p *plainBody) Whole() (*serve.Whole, error) {
	if found := p.node.hot.find(p.source); found != nil {
		return found, nil
	}
	return p.node.hot.load(p.source, func() (*serve.Whole, error) {
		return p.node.hot.read(p.node.content(p.node.ctx, p.subject, p.ix), p.size)
	})
}

// Stream implements [serve.Body].
func (p *plainBody) Stream() (io.ReadSeekCloser, error) {
	return p.node.content(p.node.ctx, p.subject, p.ix), nil
}

// derivedBody is a representation that the store holds.
type derivedBody struct {
	node   *Node
	object *store.Object
}

// Whole implements [serve.Body].
func (d *derivedBody) Whole() (*serve.Whole, error) {
	name := d.object.Digest()
	if found := d.node.hot.find(name); found != nil {
		return found, nil
	}
	return d.node.hot.load(name, func() (*serve.Whole, error) {
		return d.node.hot.read(d.object.Reader(), d.object.Size())
	})
}

// Stream implements [serve.Body].
func (d *derivedBody) Stream() (io.ReadSeekCloser, error) { return d.object.Reader(), nil }
