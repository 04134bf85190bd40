package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/klauspost/compress/zstd"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// rounds is how often the node is asked what it lacks. One is the rule; more are needed when chunks that it had went
// while others were sent, or the connection broke.
const rounds = 3

// intentLife is how long an intent opens uploads, on any node of the fleet. One is signed for each time that a node is
// asked; an upload that was opened goes on. What is overheard is worth nothing later.
const intentLife = time.Hour

// maxAnswer bounds, in bytes, an answer that is about one thing.
const maxAnswer = 64 << 10

// upload makes the bundle complete on the node.
func (s *session) upload(ctx context.Context, r Request, ix *bundle.Index, files fs.FS) error {
	raw := ix.Encode()
	if s.config.Origin != nil {
		intent, err := s.intent(r, ix, raw)
		if err != nil {
			return err
		}
		return s.uploadTo(ctx, r, ix, intent, files)
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	encoded := encoder.EncodeAll(raw, nil)
	codec := bundle.NewCodec()
	var failures []error
	for range rounds {
		intent, err := s.intent(r, ix, raw)
		if err != nil {
			return err
		}
		complete, err := s.round(ctx, r, ix, files, codec, protocol.Offer(intent, encoded))
		if complete || ctx.Err() != nil || isRefusal(err) {
			return err
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// intent signs that the bundle with this index is wanted in the store.
func (s *session) intent(r Request, ix *bundle.Index, raw []byte) ([]byte, error) {
	now := s.config.Now().UTC()
	intent, err := channel.SignIntent(&channel.Intent{
		Org:       s.trust.Org(),
		App:       r.App,
		Version:   r.Version,
		Bundle:    ix.Bundle(),
		Index:     digest.Sum(raw),
		IndexSize: int64(len(raw)),
		Size:      ix.Archive.Size,
		Files:     len(ix.Files),
		Issued:    now,
		Expires:   now.Add(intentLife),
	}, s.config.Keys...)
	if err != nil {
		return nil, err
	}
	_, err = s.trust.VerifyIntent(intent, now) // said here, it costs no upload
	return intent, err
}

// isRefusal reports whether trying again would give the same answer.
func isRefusal(err error) bool {
	answer, ok := errors.AsType[*protocol.Problem](err)
	return ok && answer.Final()
}

// round asks once what is missing and sends it.
func (s *session) round(
	ctx context.Context,
	r Request,
	ix *bundle.Index,
	files fs.FS,
	codec *bundle.Codec,
	body []byte,
) (complete bool, err error) {
	answer, err := s.offer(ctx, r, body)
	if err != nil || answer.Complete {
		return err == nil, err
	}
	if r.DryRun {
		s.result.ChunksSent = len(answer.Missing)
		return true, nil
	}
	return s.send(ctx, ix, files, codec, answer)
}

// offer posts intent and index, and returns what the node lacks.
func (s *session) offer(ctx context.Context, r Request, body []byte) (protocol.Demand, error) {
	path := protocol.BundlesPath(r.App)
	if r.DryRun {
		path += "?dry_run=true"
	}
	req, err := s.request(ctx, http.MethodPost, path, body)
	if err != nil {
		return protocol.Demand{}, err
	}
	req.Header.Set("Content-Type", protocol.TypeOffer)
	var answer protocol.Demand
	limit := maxAnswer + int64(s.result.Chunks)*80 // a digest in quotes, and a comma
	raw, err := s.do(req, limit)
	return answer, decode(raw, err, &answer)
}

// send streams the missing chunks; the node answers when it has checked the bundle as a whole.
func (s *session) send(
	ctx context.Context,
	ix *bundle.Index,
	files fs.FS,
	codec *bundle.Codec,
	answer protocol.Demand,
) (complete bool, err error) {
	if err := protocol.CheckUpload(answer.Upload); err != nil {
		return false, fmt.Errorf("the node's answer: %w", err)
	}
	sizes := make(map[digest.Digest]int64, s.result.Chunks)
	var total, done int64
	for c := range ix.Chunks() {
		sizes[c.Digest] = c.Size
	}
	if len(answer.Missing) > len(sizes) {
		return false, fmt.Errorf("the node asks for %d chunks of %d", len(answer.Missing), len(sizes))
	}
	for _, d := range answer.Missing {
		size, known := sizes[d]
		if !known {
			return false, fmt.Errorf("the node asks for chunk %s, which is not of this bundle", d)
		}
		total += size
	}
	chunks := bundle.NewFolderChunks(files, ix)
	reader, writer := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		counted := &countingWriter{w: writer, n: &s.result.BytesSent}
		stream := bundle.NewStreamWriter(counted)
		for _, d := range answer.Missing {
			plain, err := chunks.Chunk(ctx, bundle.Chunk{Digest: d, Size: sizes[d]})
			if err == nil {
				err = stream.Write(codec.Frame(plain))
			}
			if err != nil {
				_ = writer.CloseWithError(err) // always nil
				return
			}
			s.result.ChunksSent++
			done += int64(len(plain))
			s.config.Progress(Event{Stage: Sending, Done: done, Total: total})
		}
		_ = writer.CloseWithError(stream.Close())
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.config.Node+answer.Upload, reader)
	if err == nil {
		req.Header.Set("Content-Type", protocol.TypeChunks)
		_, err = s.do(req, maxAnswer)
	}
	// The node may have answered before it read everything: then nobody reads the pipe any more.
	_ = reader.CloseWithError(errors.New("the node has answered already"))
	<-written
	return err == nil, err
}

type countingWriter struct {
	w io.Writer
	n *int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	*c.n += int64(n)
	return n, err
}
