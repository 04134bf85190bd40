package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// attempts is how often a download from a node is tried before the next node is used.
const attempts = 3

// partial describes an interrupted download: the first bytes of one representation.
type partial struct {
	Bundle   digest.Digest `json:"bundle"`
	ETag     string        `json:"etag"` // strong: it identifies the representation on all nodes
	Encoding string        `json:"encoding"`
	Total    int64         `json:"total"` // bytes of the representation; -1 if unknown
	// Dictionary names the archive to which a patch applies; zero for a full archive.
	Dictionary digest.SHA256 `json:"dictionary,omitzero"`
}

const (
	partialInfo = partialDir + "/info.json"
	partialBody = partialDir + "/body"
)

// fetchFull fetches the full archive, and resumes an interrupted download of it.
func (t *transfer) fetchFull(ctx context.Context, release *channel.Release, result *Result) error {
	var failures []error
	for range attempts {
		err := t.tryFull(ctx, release, result)
		if err == nil || ctx.Err() != nil {
			return err
		}
		failures = append(failures, err)
		fresh := !result.Resumed
		refusal, refused := errors.AsType[*protocol.Problem](err)
		switch {
		case refused && refusal.Final(), t.tryNext(err):
			return err
		case errors.Is(err, ErrDamaged):
			// The resumed part may be damaged rather than the node's bytes: try again from the start.
			if err := t.client.removePartial(); err != nil {
				return err
			}
			if fresh && !t.last {
				return err
			}
		}
	}
	return failures[len(failures)-1]
}

// tryNext reports whether to try the next node after a request failed with err.
func (t *transfer) tryNext(err error) bool { return !t.last && errors.Is(err, ErrSlow) }

func (t *transfer) tryFull(ctx context.Context, release *channel.Release, result *Result) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.node+protocol.ArchivePath(release.Bundle), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "zstd")
	have := t.resumable(release)
	if have != nil && have.size > 0 {
		req.Header.Set("Accept-Encoding", have.accept())
		if !have.info.Dictionary.IsZero() {
			req.Header.Set("Available-Dictionary", have.info.Dictionary.Field())
		}
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have.size))
		req.Header.Set("If-Range", have.info.ETag)
	}
	resp, err := t.requestArchive(req, release, result)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusPartialContent:
		if have == nil || !have.continues(resp) {
			return errors.Join(
				fmt.Errorf("the node sent a range that was not requested: %q", resp.Header.Get("Content-Range")),
				t.client.removePartial(),
			)
		}
		result.Resumed = true
		return t.consume(ctx, release, have, resp, result)
	case http.StatusRequestedRangeNotSatisfiable:
		if have != nil && have.info.Total == have.size {
			result.Resumed = true
			return t.consume(ctx, release, have, nil, result) // the download was complete, but not unpacked
		}
		return errors.Join(errors.New("the interrupted download is longer than the archive"), t.client.removePartial())
	}
	return t.receive(ctx, release, req, resp, result)
}

// receive receives a complete response to req, and saves its bytes in case it is interrupted.
func (t *transfer) receive(
	ctx context.Context,
	release *channel.Release,
	req *http.Request,
	resp *http.Response,
	result *Result,
) error {
	if limit := maxEncoded(release, resp.Header.Get("Content-Encoding")); resp.ContentLength > limit {
		return tooLong(limit)
	}
	info := partial{
		Bundle:   release.Bundle,
		ETag:     resp.Header.Get("ETag"),
		Encoding: resp.Header.Get("Content-Encoding"),
		Total:    resp.ContentLength,
	}
	if info.Encoding == "dcz" && req.Header.Get("Available-Dictionary") != "" {
		info.Dictionary = t.client.state.Current.SHA256
	}
	have, err := t.client.startPartial(info)
	if err != nil {
		return err
	}
	result.Resumed = false
	return t.consume(ctx, release, have, resp, result)
}

// consume decodes the saved bytes followed by those of resp, which it saves too, and unpacks them into a folder.
func (t *transfer) consume(
	ctx context.Context,
	release *channel.Release,
	have *resumable,
	resp *http.Response,
	result *Result,
) error {
	file, err := t.client.root.OpenFile(partialBody, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // losing the file only costs another download
	source := io.Reader(io.NewSectionReader(file, 0, have.size))
	if resp != nil {
		appended := io.NewOffsetWriter(file, have.size)
		limit := maxEncoded(release, have.info.Encoding)
		body := &boundedReader{r: t.progress(resp), left: limit - have.size, limit: limit}
		source = io.MultiReader(source, io.TeeReader(body, appended))
	}
	plain, err := t.decode(have.info, source, release.Size)
	if err != nil {
		return err
	}
	defer plain.Close()
	if err := t.client.unpack(ctx, release, plain); err != nil {
		return err
	}
	result.Encoding, result.Patched = have.info.Encoding, have.info.Encoding == "dcz"
	if result.Encoding == "" {
		result.Encoding = "identity"
	}
	return t.client.removePartial()
}

// minWindow is the window size in bytes that every zstd decoder must accept (RFC 9659), and the one that nodes use.
const minWindow = 8 << 20

// decode returns a reader for the decoded bytes of a representation, whose expected number is size. Its memory depends
// on size, and not on what the frame header says.
func (t *transfer) decode(info partial, r io.Reader, size int64) (io.ReadCloser, error) {
	switch info.Encoding {
	case "dcz":
		if !info.Dictionary.IsZero() {
			return bundle.DecodePatch(r, t.base.archive, info.Dictionary)
		}
	case "", "identity":
		return io.NopCloser(r), nil
	case "zstd":
		source := &sourceReader{r: r}
		window := max(minWindow, uint64(min(size, bundle.MaxPatch)))
		decoder, err := zstd.NewReader(source, zstd.WithDecoderMaxWindow(window), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return damagedReader{ReadCloser: decoder.IOReadCloser(), source: source}, nil
	}
	return nil, fmt.Errorf("the node sent content encoding %q, which was not requested", info.Encoding)
}

// damagedReader distinguishes errors of the decoder, after which the download starts over, from those of the transfer.
type damagedReader struct {
	io.ReadCloser

	source *sourceReader
}

func (d damagedReader) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && d.source.err == nil {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return n, err
}

// resumable is an interrupted download that can be resumed.
type resumable struct {
	info partial
	size int64 // bytes of the body file
}

// accept returns the Accept-Encoding that requests the same representation again.
func (r *resumable) accept() string {
	switch r.info.Encoding {
	case "":
		return "identity"
	case "dcz":
		return "dcz, zstd" // with dcz alone, a node without the patch would send the archive uncompressed
	}
	return r.info.Encoding
}

// resumable returns the interrupted download of the archive of a release, or nil. A patch is resumable only if its
// dictionary is still installed.
func (t *transfer) resumable(release *channel.Release) *resumable {
	have := t.client.loadPartial(release)
	if have == nil || have.info.Dictionary.IsZero() {
		return have
	}
	if t.base.archive == nil || have.info.Dictionary != t.client.state.Current.SHA256 {
		return nil
	}
	return have
}

// continues reports whether resp continues exactly where the saved bytes end, with the same representation.
func (r *resumable) continues(resp *http.Response) bool {
	s, ok := parseSpan(resp.Header.Get("Content-Range"))
	return ok && s.first == r.size && (s.total == -1 || r.info.Total == -1 || s.total == r.info.Total) &&
		resp.Header.Get("ETag") == r.info.ETag && resp.Header.Get("Content-Encoding") == r.info.Encoding
}

// loadPartial returns the interrupted download of the archive of a release, or nil. It ignores one that is invalid: the
// only cost is another download.
func (c *Client) loadPartial(release *channel.Release) *resumable {
	raw, err := c.root.ReadFile(partialInfo)
	if err != nil {
		return nil
	}
	info, ok := decodePartial(raw)
	if !ok || info.Bundle != release.Bundle {
		return nil
	}
	body, err := c.root.Stat(partialBody)
	if err != nil || body.Size() > maxEncoded(release, info.Encoding) {
		return nil
	}
	return &resumable{info: info, size: body.Size()}
}

// decodePartial decodes the description of a download. It returns false for one that cannot be resumed.
func decodePartial(raw []byte) (partial, bool) {
	var info partial
	if len(raw) > maxState || json.Unmarshal(raw, &info) != nil {
		return partial{}, false
	}
	patch := info.Encoding == "dcz"
	known := patch || info.Encoding == "zstd" || info.Encoding == ""
	return info, known && patch != info.Dictionary.IsZero() && strings.HasPrefix(info.ETag, `"`) && info.Total >= -1
}

// startPartial prepares saving a download. It writes the info before the first byte of the body, so that bytes are
// never attributed to another representation.
func (c *Client) startPartial(info partial) (*resumable, error) {
	if err := c.removePartial(); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(info)
	if err != nil {
		return nil, err
	}
	return &resumable{info: info}, c.root.WriteFile(partialInfo, raw, 0o644)
}

// removePartial removes the saved download.
func (c *Client) removePartial() error {
	return errors.Join(c.root.RemoveAll(partialBody), c.root.RemoveAll(partialInfo))
}

// progress returns the body of resp as a reader that reports progress.
func (t *transfer) progress(resp *http.Response) io.Reader {
	report := t.client.config.Progress
	if report == nil {
		return resp.Body
	}
	return &progressReader{r: resp.Body, total: resp.ContentLength, report: report}
}

type progressReader struct {
	r               io.Reader
	received, total int64
	report          func(received, total int64)
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.received += int64(n)
	p.report(p.received, p.total)
	return n, err
}
