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

// attempts is how often a download is taken up again before the next node is asked.
const attempts = 3

// partial describes a download that was cut: the bytes of one representation, from its start on.
type partial struct {
	Bundle   digest.Digest `json:"bundle"`
	ETag     string        `json:"etag"` // strong: it names the representation's bytes, on any node
	Encoding string        `json:"encoding"`
	Total    int64         `json:"total"` // bytes of the representation; -1 when not known
	// Dictionary names the archive that a patch is to be applied to; zero for a full archive.
	Dictionary digest.SHA256 `json:"dictionary,omitzero"`
}

const (
	partialInfo = partialDir + "/info.json"
	partialBody = partialDir + "/body"
)

// full fetches the whole archive, going on where a cut download ended.
func (t *transfer) full(ctx context.Context, release *channel.Release, result *Result) error {
	var failures []error
	for range attempts {
		err := t.fullOnce(ctx, release, result)
		if err == nil || ctx.Err() != nil {
			return err
		}
		failures = append(failures, err)
		fresh := !result.Resumed
		refusal, refused := errors.AsType[*protocol.Problem](err)
		switch {
		case refused && refusal.Final(), t.leave(err):
			return err
		case errors.Is(err, ErrDamaged):
			// What was kept may be at fault, not the node: once more, from the start.
			if err := t.client.forget(); err != nil {
				return err
			}
			if fresh && !t.last {
				return err
			}
		}
	}
	return failures[len(failures)-1]
}

// leave reports whether a request that failed with err had better be sent to the next node.
func (t *transfer) leave(err error) bool { return !t.last && errors.Is(err, ErrSlow) }

func (t *transfer) fullOnce(ctx context.Context, release *channel.Release, result *Result) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.node+protocol.ArchivePath(release.Bundle), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "zstd")
	have := t.kept(release)
	if have != nil && have.size > 0 {
		req.Header.Set("Accept-Encoding", have.accept())
		if !have.info.Dictionary.IsZero() {
			req.Header.Set("Available-Dictionary", have.info.Dictionary.Field())
		}
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have.size))
		req.Header.Set("If-Range", have.info.ETag)
	}
	resp, err := t.archive(req, release, result)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusPartialContent:
		if have == nil || !have.continues(resp) {
			return errors.Join(
				fmt.Errorf("a part that was not asked for: %q", resp.Header.Get("Content-Range")),
				t.client.forget(),
			)
		}
		result.Resumed = true
		return t.consume(ctx, release, have, resp, result)
	case http.StatusRequestedRangeNotSatisfiable:
		if have != nil && have.info.Total == have.size {
			result.Resumed = true
			return t.consume(ctx, release, have, nil, result) // it was all there, and only not unpacked
		}
		return errors.Join(errors.New("the part that is kept is not of this archive"), t.client.forget())
	}
	return t.receive(ctx, release, req, resp, result)
}

// receive takes a whole response to req, keeping its bytes in case it is cut.
func (t *transfer) receive(
	ctx context.Context,
	release *channel.Release,
	req *http.Request,
	resp *http.Response,
	result *Result,
) error {
	if most := maxEncoded(release, resp.Header.Get("Content-Encoding")); resp.ContentLength > most {
		return tooLong(most)
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
	have, err := t.client.begin(info)
	if err != nil {
		return err
	}
	result.Resumed = false
	return t.consume(ctx, release, have, resp, result)
}

// consume reads the kept bytes and then those of resp, which it keeps too, through the decoder into a folder.
func (t *transfer) consume(
	ctx context.Context,
	release *channel.Release,
	have *kept,
	resp *http.Response,
	result *Result,
) error {
	file, err := t.client.root.OpenFile(partialBody, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // what it holds only saves bytes
	source := io.Reader(io.NewSectionReader(file, 0, have.size))
	if resp != nil {
		appended := io.NewOffsetWriter(file, have.size)
		most := maxEncoded(release, have.info.Encoding)
		body := &boundedReader{r: t.progress(resp), left: most - have.size, most: most}
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
	return t.client.forget()
}

// minWindow is the window in bytes that every decoder of zstd has to accept (RFC 9659), and the one that nodes use.
const minWindow = 8 << 20

// decode returns the plain bytes of a representation, of which there should be size. Its memory is bounded by that, and
// not by what the frame says.
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
	return nil, fmt.Errorf("content encoding %q was not asked for", info.Encoding)
}

// damagedReader tells an error of the decoder, after which the download starts over, from one of the transfer.
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

// kept is what there is of a download that was cut.
type kept struct {
	info partial
	size int64 // bytes of the body file
}

// accept returns the Accept-Encoding that asks for the same representation again.
func (k *kept) accept() string {
	switch k.info.Encoding {
	case "":
		return "identity"
	case "dcz":
		return "dcz, zstd" // without the patch, a node would send the archive as it is
	}
	return k.info.Encoding
}

// kept returns what is kept of the archive of a release, if it can be gone on with: a patch needs what it was made for.
func (t *transfer) kept(release *channel.Release) *kept {
	have := t.client.partial(release)
	if have == nil || have.info.Dictionary.IsZero() {
		return have
	}
	if t.base.archive == nil || have.info.Dictionary != t.client.state.Current.SHA256 {
		return nil
	}
	return have
}

// continues reports whether resp goes on exactly where the kept bytes end, with the same representation.
func (k *kept) continues(resp *http.Response) bool {
	s, ok := parseSpan(resp.Header.Get("Content-Range"))
	return ok && s.first == k.size && (s.total == -1 || k.info.Total == -1 || s.total == k.info.Total) &&
		resp.Header.Get("ETag") == k.info.ETag && resp.Header.Get("Content-Encoding") == k.info.Encoding
}

// partial returns what is kept of the archive of a release, or nil. What cannot be made sense of counts as nothing: it
// only saves bytes.
func (c *Client) partial(release *channel.Release) *kept {
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
	return &kept{info: info, size: body.Size()}
}

// decodePartial reads the description of a download. It says no to one that cannot be gone on with.
func decodePartial(raw []byte) (partial, bool) {
	var info partial
	if len(raw) > maxState || json.Unmarshal(raw, &info) != nil {
		return partial{}, false
	}
	patch := info.Encoding == "dcz"
	known := patch || info.Encoding == "zstd" || info.Encoding == ""
	return info, known && patch != info.Dictionary.IsZero() && strings.HasPrefix(info.ETag, `"`) && info.Total >= -1
}

// begin starts to keep a download. The info is in place before the first byte of the body, so that bytes never count
// for another representation.
func (c *Client) begin(info partial) (*kept, error) {
	if err := c.forget(); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(info)
	if err != nil {
		return nil, err
	}
	return &kept{info: info}, c.root.WriteFile(partialInfo, raw, 0o644)
}

// forget drops what is kept of a download.
func (c *Client) forget() error {
	return errors.Join(c.root.RemoveAll(partialBody), c.root.RemoveAll(partialInfo))
}

// progress returns the body of resp, reporting how far it has come.
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
