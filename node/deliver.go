package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/valyala/fasthttp"

	"brink/bundle"
	"brink/digest"
	"brink/node/semantics"
	"brink/node/serve"
	"brink/protocol"
	"brink/store"
)

// archive answers GET /v1/bundles/{bundle}/archive.
func (n *Node) archive(r *serve.Request) error {
	id, err := r.Digest()
	if err != nil {
		return err
	}
	b, err := n.known(id)
	if err != nil {
		return err
	}
	s := subject{bundle: id, source: id, size: b.Index.Archive.Size}
	return n.serveBest(
		r,
		serve.Headers{ContentType: protocol.TypeArchive, Vary: semantics.VaryDictionary, Cache: semantics.CacheForever},
		s,
		serve.Representation{
			Digest: id,
			Size:   b.Index.Archive.Size,
			Body:   &plainBody{subject: s, node: n, ix: b.Index},
		},
	)
}

// file answers GET /v1/bundles/{bundle}/files/{path}.
func (n *Node) file(r *serve.Request) error {
	id, err := r.Digest()
	if err != nil {
		return err
	}
	b, err := n.known(id)
	if err != nil {
		return err
	}
	f := b.Index.File(r.Names[1])
	if f == nil {
		return serve.Problem(protocol.CodeUnknownFile, fmt.Sprintf("bundle %s has no file %q", id.Short(), r.Names[1]),
			"its index lists the files: "+protocol.IndexPath(id))
	}
	// Most who ask by the name of a bundle are no browsers: who does not name zstd takes no patches.
	if accept := r.Request.Header.Peek(fasthttp.HeaderAcceptEncoding); len(accept) > 0 && r.Accept().Accepts(semantics.Zstd) {
		offer(r, b.Index, f, true)
	}
	return n.serveFile(r, serve.Headers{Vary: semantics.VaryDictionary, Cache: semantics.CacheForever}, fileOf(id, f))
}

// fileOf returns a file of a bundle as a subject.
func fileOf(id digest.Digest, f *bundle.File) subject {
	return subject{bundle: id, source: f.Digest, size: f.Size, path: f.Path, file: f}
}

// serveFile answers with one file of a bundle.
func (n *Node) serveFile(r *serve.Request, what serve.Headers, s subject) error {
	what.ContentType = serve.ContentType(s.path)
	return n.serveBest(r, what, s, serve.Representation{
		Digest: s.source,
		Size:   s.size,
		Body:   &plainBody{subject: s, node: n},
	})
}

// index answers GET /v1/bundles/{bundle}/index.
func (n *Node) index(r *serve.Request) error {
	id, err := r.Digest()
	if err != nil {
		return err
	}
	object, err := n.store.Index(id)
	if errors.Is(err, store.ErrNotFound) {
		if _, err = n.asked(r, id); err == nil {
			object, err = n.store.Index(id)
		}
		err = missing(id, err)
	}
	if err != nil {
		return err
	}
	return n.sender.Send(
		r,
		serve.Headers{ContentType: "application/json", Vary: semantics.VaryCoding, Cache: semantics.CacheForever},
		serve.Representation{
			Digest:  object.Digest(),
			Size:    object.Size(),
			Body:    &indexBody{derivedBody{node: n, object: object}, id},
			Private: streamMemory,
		},
	)
}

// streamMemory bounds, in bytes, what a reader of the store holds: a frame, and its plain bytes.
const streamMemory = 2 * bundle.MaxChunk

// indexBody is an index that the store holds.
type indexBody struct {
	derivedBody

	bundle digest.Digest
}

// Stream implements [serve.Body].
func (b *indexBody) Stream() (io.ReadSeekCloser, error) {
	return &indexStream{in: b.object.Reader(), node: b.node, bundle: b.bundle}, nil
}

// indexStream reads an index. One that turns out to be lost or damaged is had from memory, or fetched again, while
// whoever wants it waits.
type indexStream struct {
	in     io.ReadSeekCloser
	node   *Node
	bundle digest.Digest
	offset int64
	healed bool
}

// Close implements [io.Closer].
func (s *indexStream) Close() error { return s.in.Close() }

// Seek implements [io.Seeker]. It reads what is at the offset, so that an error is known before the answer begins.
func (s *indexStream) Seek(offset int64, whence int) (int64, error) {
	var err error
	if s.offset, err = s.in.Seek(offset, whence); err != nil {
		return s.offset, err
	}
	begin := s.offset
	if _, err := s.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		return begin, err
	}
	s.offset, err = s.in.Seek(begin, io.SeekStart)
	return s.offset, err
}

// Read implements [io.Reader].
func (s *indexStream) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	if n == 0 && errors.Is(err, store.ErrNotFound) && !s.healed {
		s.healed = true
		if err := s.heal(); err != nil {
			return 0, err
		}
		n, err = s.in.Read(p)
	}
	s.offset += int64(n)
	return n, err
}

func (s *indexStream) heal() error {
	b, err := s.node.known(s.bundle)
	if err != nil {
		return err
	}
	again := bytes.NewReader(b.Index.Encode()) // the same bytes: an index has one form
	if _, err := again.Seek(s.offset, io.SeekStart); err != nil {
		return err
	}
	err = s.in.Close()
	s.in = serve.NopCloser{Reader: again}
	return err
}

// chunk answers GET /v1/chunks/{digest}. A chunk that is stored as zstd is sent as it is to who takes that.
func (n *Node) chunk(r *serve.Request) error {
	id, err := r.Digest()
	if err != nil {
		return err
	}
	frame, err := n.store.Frame(n.ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return serve.Problem(protocol.CodeUnknownChunk, fmt.Sprintf("chunk %s is not here", id.Short()), "")
	}
	if err != nil {
		return err
	}
	accept := r.Accept()
	rep := serve.Representation{Digest: id}
	if frame.Encoding == bundle.Zstd {
		coding, ok := accept.Choose(semantics.Zstd, semantics.Identity)
		if !ok {
			return errNotAcceptable
		}
		rep.Coding = coding
	}
	raw := frame.Data
	if rep.Coding == semantics.Zstd {
		rep.Digest = digest.Sum(raw)
	} else if raw, err = n.codec.Plain(frame); err != nil {
		return err
	}
	rep.Size, rep.Body, rep.Private = int64(len(raw)), serve.Memory(raw), int64(len(raw))
	return n.sender.Send(
		r,
		serve.Headers{ContentType: "application/octet-stream", Vary: semantics.VaryCoding, Cache: semantics.CacheForever},
		rep,
	)
}

var errNotAcceptable = serve.Problem(protocol.CodeNotAcceptable, "none of the encodings that there are is accepted",
	"accept identity, or zstd")

// batch answers POST /v1/chunks: many chunks in one stream, those that are not here marked as absent.
func (n *Node) batch(r *serve.Request) error {
	var in protocol.Batch
	if err := r.ReadJSON(protocol.MaxBatch*(digest.TextSize+3)+1024, &in); err != nil {
		return err
	}
	if len(in.Chunks) > protocol.MaxBatch {
		return serve.Problem(protocol.CodeTooLarge, fmt.Sprintf("%d chunks in one batch", len(in.Chunks)),
			fmt.Sprintf("ask for %d at most", protocol.MaxBatch))
	}
	r.SetContentType(protocol.TypeChunks)
	r.Response.Header.Set(fasthttp.HeaderCacheControl, semantics.CacheNever)
	reader, writer := io.Pipe()
	// The reader is closed whatever happens, and the writer then fails.
	if err := n.sender.Stream(r, reader, -1, streamMemory); err != nil {
		return err
	}
	n.work.Go(func() {
		_ = writer.CloseWithError(n.guard(func() error { return n.writeBatch(writer, in.Chunks) })) // always nil
	})
	return nil
}

func (n *Node) writeBatch(w io.Writer, chunks []digest.Digest) error {
	stream := bundle.NewStreamWriter(w)
	reader := n.store.Reader()
	defer reader.Close()
	for _, d := range chunks {
		frame, err := reader.Frame(n.ctx, d)
		switch {
		case errors.Is(err, store.ErrNotFound):
			frame = bundle.Frame{Digest: d, Encoding: bundle.Absent}
		case err != nil:
			return err
		}
		if err := stream.Write(frame); err != nil {
			return err
		}
	}
	return stream.Close()
}
