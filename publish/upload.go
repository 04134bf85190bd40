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

// rounds is the maximum number of attempts. One is usually enough; more are needed if the node has evicted chunks
// during the upload, or the connection broke.
const rounds = 3

// intentLife is how long an intent permits starting an upload, on any node of the fleet. Each attempt signs a new one;
// an upload that was started may continue. An intercepted intent is useless after that.
const intentLife = time.Hour

// maxAnswer limits a short answer, in bytes.
const maxAnswer = 64 << 10

// upload uploads the missing chunks of the bundle to the node.
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

// intent returns a signed intent to upload the bundle with this index.
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
	_, err = s.trust.VerifyIntent(intent, now) // to find errors before the upload
	return intent, err
}

// isRefusal reports whether another attempt would get the same answer.
func isRefusal(err error) bool {
	answer, ok := errors.AsType[*protocol.Problem](err)
	return ok && answer.Final()
}

// round performs one attempt: it offers the bundle and sends the missing chunks.
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

// offer posts intent and index, and returns which chunks the node lacks.
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

// send streams the missing chunks. The node answers after it has verified the whole bundle.
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
		return false, fmt.Errorf("the node requests %d chunks, the bundle has %d", len(answer.Missing), len(sizes))
	}
	for _, d := range answer.Missing {
		size, known := sizes[d]
		if !known {
			return false, fmt.Errorf("the node requests chunk %s, which is not part of the bundle", d)
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
	// If the node answers before it has read everything, nothing reads the pipe any more.
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
