// Package deliver answers requests for bundles: their archives, files, indexes and chunks.
//
// The life of one request: the bundle is found in the store, or fetched; package represent chooses the representation,
// and package serve sends it. An index is streamed from the store. Chunks are sent as they are stored, to clients that
// accept their encoding.
//
// The invariant: the bytes of an answer, or what they decode to, have the requested digest.
package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/valyala/fasthttp"

	"brink/bundle"
	"brink/digest"
	"brink/node/internal/background"
	"brink/node/internal/bundles"
	"brink/node/internal/represent"
	"brink/node/internal/semantics"
	"brink/node/internal/serve"
	"brink/origin"
	"brink/protocol"
	"brink/store"
)

// Config is what [Handlers] work with. All fields are required.
type Config struct {
	Context context.Context   // of work that outlives a handler
	Work    *background.Group // runs it
	Store   *store.Store
	Bundles *bundles.Source
	Server  *represent.Server
	InFleet func(*serve.Request) bool // whether a request is signed by the fleet
}

// Handlers answer requests.
type Handlers struct {
	Config

	codec *bundle.Codec
}

// New returns handlers.
func New(config Config) *Handlers { return &Handlers{Config: config, codec: bundle.NewCodec()} }

// GetArchive answers GET /v1/bundles/{bundle}/archive.
func (h *Handlers) GetArchive(r *serve.Request) error {
	id, err := r.Digest()
	if err != nil {
		return err
	}
	b, err := h.Bundles.Bundle(id)
	if err != nil {
		return err
	}
	of := represent.Subject{Bundle: id, Source: id, Size: b.Index.Archive.Size}
	return h.Server.Send(
		r,
		serve.Headers{ContentType: protocol.TypeArchive, Vary: semantics.VaryDictionary, Cache: semantics.CacheForever},
		of,
		h.Server.Identity(of, b.Index),
	)
}

// GetFile answers GET /v1/bundles/{bundle}/files/{path}.
func (h *Handlers) GetFile(r *serve.Request) error {
	id, err := r.Digest()
	if err != nil {
		return err
	}
	b, err := h.Bundles.Bundle(id)
	if err != nil {
		return err
	}
	f := b.Index.File(r.Names[1])
	if f == nil {
		return serve.Problem(protocol.CodeUnknownFile, fmt.Sprintf("bundle %s has no file %q", id.Short(), r.Names[1]),
			"its index lists the files: "+protocol.IndexPath(id))
	}
	// Most clients of this path are not browsers. Those that do not accept zstd do not accept patches either.
	named := len(r.Request.Header.Peek(fasthttp.HeaderAcceptEncoding)) > 0
	if named && r.Accept().Accepts(semantics.Zstd) {
		OfferDictionary(r, b.Index, f, true)
	}
	headers := serve.Headers{Vary: semantics.VaryDictionary, Cache: semantics.CacheForever}
	return h.Server.SendFile(r, headers, represent.FileOf(id, f))
}

// GetIndex answers GET /v1/bundles/{bundle}/index.
func (h *Handlers) GetIndex(r *serve.Request) error {
	id, err := r.Digest()
	if err != nil {
		return err
	}
	object, err := h.Store.Index(id)
	if errors.Is(err, store.ErrNotFound) {
		hops := origin.ParseHops(string(r.Request.Header.Peek(origin.HopsField)))
		if _, err = h.Bundles.BundleForPeer(id, hops, func() bool { return h.InFleet(r) }); err == nil {
			object, err = h.Store.Index(id)
		}
		err = bundles.AsUnknown(id, err)
	}
	if err != nil {
		return err
	}
	return h.Server.Sender.Send(
		r,
		serve.Headers{ContentType: "application/json", Vary: semantics.VaryCoding, Cache: semantics.CacheForever},
		serve.Representation{
			Digest:  object.Digest(),
			Size:    object.Size(),
			Body:    &indexBody{Body: h.Server.Object(object).Body, object: object, bundles: h.Bundles, id: id},
			Private: serve.StreamMemory,
		},
	)
}

// indexBody is the body of a stored index.
type indexBody struct {
	serve.Body

	object  *store.Object
	bundles *bundles.Source
	id      digest.Digest
}

// Stream implements [serve.Body].
func (b *indexBody) Stream() (io.ReadSeekCloser, error) {
	return &indexStream{in: b.object.Reader(), bundles: b.bundles, id: b.id}, nil
}

// indexStream reads an index. If it is lost or damaged, it is encoded again from memory, or fetched, while the client
// waits.
type indexStream struct {
	in      io.ReadSeekCloser
	bundles *bundles.Source
	id      digest.Digest
	offset  int64
	healed  bool
}

// Close implements [io.Closer].
func (s *indexStream) Close() error { return s.in.Close() }

// Seek implements [io.Seeker]. It reads at the offset, so that an error occurs before the answer starts.
func (s *indexStream) Seek(offset int64, whence int) (int64, error) {
	var err error
	if s.offset, err = s.in.Seek(offset, whence); err != nil {
		return s.offset, err
	}
	start := s.offset
	if _, err := s.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		return start, err
	}
	s.offset, err = s.in.Seek(start, io.SeekStart)
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
	b, err := s.bundles.Bundle(s.id)
	if err != nil {
		return err
	}
	again := bytes.NewReader(b.Index.Encode()) // the same bytes: the encoding is canonical
	if _, err := again.Seek(s.offset, io.SeekStart); err != nil {
		return err
	}
	err = s.in.Close()
	s.in = serve.NopCloser{Reader: again}
	return err
}

// GetChunk answers GET /v1/chunks/{digest}. A chunk that is stored as zstd is sent unchanged to clients that accept
// zstd.
func (h *Handlers) GetChunk(r *serve.Request) error {
	id, err := r.Digest()
	if err != nil {
		return err
	}
	frame, err := h.Store.Frame(h.Context, id)
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
			return represent.ErrNotAcceptable
		}
		rep.Coding = coding
	}
	raw := frame.Data
	if rep.Coding == semantics.Zstd {
		rep.Digest = digest.Sum(raw)
	} else if raw, err = h.codec.Plain(frame); err != nil {
		return err
	}
	rep.Size, rep.Body, rep.Private = int64(len(raw)), serve.Memory(raw), int64(len(raw))
	return h.Server.Sender.Send(
		r,
		serve.Headers{ContentType: "application/octet-stream", Vary: semantics.VaryCoding, Cache: semantics.CacheForever},
		rep,
	)
}

// PostChunks answers POST /v1/chunks with many chunks in one stream, in which missing ones are marked as absent.
func (h *Handlers) PostChunks(r *serve.Request) error {
	var in protocol.Batch
	if err := r.ReadJSON(protocol.MaxBatch*(digest.TextSize+3)+1024, &in); err != nil {
		return err
	}
	if len(in.Chunks) > protocol.MaxBatch {
		return serve.Problem(protocol.CodeTooLarge, fmt.Sprintf("%d chunks in one batch", len(in.Chunks)),
			fmt.Sprintf("request at most %d", protocol.MaxBatch))
	}
	r.SetContentType(protocol.TypeChunks)
	r.Response.Header.Set(fasthttp.HeaderCacheControl, semantics.CacheNever)
	reader, writer := io.Pipe()
	// The reader is always closed in the end, and the writer then fails.
	if err := h.Server.Sender.Stream(r, reader, -1, serve.StreamMemory); err != nil {
		return err
	}
	h.Work.Go(func() {
		_ = writer.CloseWithError(h.Work.Guard(func() error { return h.writeBatch(writer, in.Chunks) })) // always nil
	})
	return nil
}

func (h *Handlers) writeBatch(w io.Writer, chunks []digest.Digest) error {
	stream := bundle.NewStreamWriter(w)
	reader := h.Store.Reader()
	defer reader.Close()
	for _, d := range chunks {
		frame, err := reader.Frame(h.Context, d)
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
