package e2e_test

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"

	"brink/digest"
	"brink/protocol"
)

// flood is an answer that does not end.
type flood struct {
	is     func(*http.Request) bool
	status int // 0: 200
	header func(h http.Header, r *http.Request)
	first  func(r *http.Request) []byte // what the body begins with
	block  []byte                       // what comes then, again and again
}

// flooding answers with a flood, and notes how large the folder of the device gets meanwhile.
type flooding struct {
	flood

	device string // its folder
	sent   atomic.Int64
	held   atomic.Int64 // bytes in the folder, at most
}

// enough bytes are as many as a flood sends in one answer at most: a client that takes them all is at fault.
const enough = 256 << 20

func (f *flooding) answer(w http.ResponseWriter, r *http.Request) bool {
	if !f.is(r) {
		return false
	}
	if f.header != nil {
		f.header(w.Header(), r)
	}
	w.WriteHeader(max(f.status, http.StatusOK))
	if f.first != nil {
		_, _ = w.Write(f.first(r)) // the client may have left
	}
	for sent := 0; sent < enough; {
		n, err := w.Write(f.block)
		f.sent.Add(int64(n))
		if sent += n; sent%(1<<20) < n || err != nil {
			f.measure()
		}
		if err != nil {
			break
		}
	}
	return true
}

// measure notes how large the folder is now.
func (f *flooding) measure() {
	size := sizeOf(f.device)
	for held := f.held.Load(); size > held && !f.held.CompareAndSwap(held, size); held = f.held.Load() {
	}
}

// TestHostile_AnswersAreFarLargerThanSigned floods devices. They take no more than the signed release accounts for, and
// have it from another node.
func TestHostile_AnswersAreFarLargerThanSigned(t *testing.T) {
	t.Parallel()
	p, rnd := begin(t), chance(t)
	n := p.serve(t, "data", patient...)
	first := webApp(rnd, 256<<10)
	next := first.with("js/main.js", noise(rnd, 128<<10))
	p.publish(t, n.url, first.write(t, p.file("first")), "1.0.0")
	p.fetch(t, n.url, "device")
	made := p.publish(t, n.url, next.write(t, p.file("next")), "1.1.0")
	archive, _ := get(t, n.url+"/v1/bundles/"+made.Bundle+"/archive")
	honest := checkAnswer(t, n, app, production)

	for name, test := range map[string]struct {
		flood flood
		check string // what the hostile node answers to a check; empty: what the honest one does
	}{
		"check": {flood: flood{
			is: isCheck, first: text(`{"decision":"update","manifest":"`), block: bytes.Repeat([]byte("a"), 64<<10),
		}},
		"check with a length": {flood: flood{
			is: isCheck, header: length(1 << 50), block: bytes.Repeat([]byte(" "), 64<<10),
		}},
		"trust document": {
			flood: flood{is: isTrust, first: text(`{"payload":"`), block: bytes.Repeat([]byte("a"), 64<<10)},
			check: with(t, honest, "trust", 99),
		},
		"archive":               {flood: flood{is: isArchive, block: []byte(noise(rnd, 64<<10))}},
		"archive and more":      {flood: flood{is: isArchive, first: text(archive), block: make([]byte, 64<<10)}},
		"file without an end":   {flood: flood{is: isArchive, first: text(endless(t)), block: make([]byte, 64<<10)}},
		"archive with a length": {flood: flood{is: isArchive, header: length(1 << 50), block: make([]byte, 64<<10)}},
		"part": {flood: flood{
			is: isArchive, status: http.StatusPartialContent, header: part, block: []byte(noise(rnd, 64<<10)),
		}},
		"part of a large representation": {
			flood: flood{
				is: isArchive, status: http.StatusPartialContent, header: part, block: []byte(noise(rnd, 64<<10)),
			},
			check: with(t, honest, "representation", protocol.Representation{Encoding: "zstd", Size: 1 << 50}),
		},
		"skippable frames": {flood: flood{is: isArchive, header: encoding("zstd"), block: skippable(64 << 10)}},
		"frames of zeros":  {flood: flood{is: isArchive, header: encoding("zstd"), block: zeros(t, 64<<20)}},
		"patch": {flood: flood{
			is: isArchive, header: encoding("dcz"), first: patchHeader, block: skippable(64 << 10),
		}},
	} {
		for _, device := range []string{"new", "old"} {
			t.Run(name+", device is "+device, func(t *testing.T) {
				t.Parallel()
				dir, before := device+" "+name, tree(nil)
				if device == "old" {
					replicate(t, p.file("device"), p.file(dir))
					before = first
				}
				sent := &flooding{flood: test.flood, device: p.file(dir)}
				answers := []owner{sent.answer}
				if test.check != "" {
					answers = append(answers, replay(isCheck, test.check))
				}
				hostile := subvert(t, n, answers...)

				if o := p.fetchFrom(t, dir, hostile.url); o.code == 0 {
					before = next // by another way than the flood, such as without the trust document that did not end
				}
				p.wantRuns(t, dir, before)
				sent.measure()
				args := append(p.fetchArgs(hostile.url, dir), "--node", n.url)
				o := p.measured(t, args...)
				if got := decode[fetched](t, o.stdout); got.Version != "1.1.0" {
					t.Errorf("the device has %+v", got)
				}
				p.wantRuns(t, dir, next)
				if held := sent.held.Load(); held > 2<<20 {
					t.Errorf("the device's folder had %d bytes", held)
				}
				if o.peak > 128<<20 {
					t.Errorf("the device held %d bytes of memory", o.peak)
				}
				t.Logf("sent %d bytes; folder %d, memory %d", sent.sent.Load(), sent.held.Load(), o.peak)
			})
		}
	}
}

func text(s string) func(*http.Request) []byte {
	return func(*http.Request) []byte { return []byte(s) }
}

// with returns the answer to a check with another value of a member.
func with(t *testing.T, answer, name string, value any) string {
	t.Helper()
	members := decode[map[string]json.RawMessage](t, answer)
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	members[name] = raw
	if raw, err = json.Marshal(members); err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// endless is the beginning of an archive whose first file is very large.
func endless(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: theirs, Mode: 0o644, Size: 1 << 50, Format: tar.FormatGNU})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// length, encoding and part make the headers of answers.

func length(n int64) func(http.Header, *http.Request) {
	return func(h http.Header, _ *http.Request) { h.Set("Content-Length", fmt.Sprint(n)) }
}

func encoding(name string) func(http.Header, *http.Request) {
	return func(h http.Header, _ *http.Request) {
		h.Set("Content-Encoding", name)
		h.Set("ETag", `"etag"`)
	}
}

// part promises the range that was asked for and all that might follow.
func part(h http.Header, r *http.Request) {
	from, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
	if from == "" {
		from = "0"
	}
	h.Set("Content-Range", fmt.Sprintf("bytes %s-%d/%d", from, int64(1)<<50-1, int64(1)<<50))
	h.Set("Content-Encoding", "zstd")
	h.Set("ETag", `"etag"`)
}

// skippable is a frame of zstd that decodes to nothing (RFC 8878, section 3.1.2).
func skippable(size int) []byte {
	frame := binary.LittleEndian.AppendUint32(nil, 0x184D2A50)
	frame = binary.LittleEndian.AppendUint32(frame, uint32(size))
	return append(frame, make([]byte, size)...)
}

// zeros is a frame of zstd that decodes to so many bytes.
func zeros(t *testing.T, size int) []byte {
	t.Helper()
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	return encoder.EncodeAll(make([]byte, size), nil)
}

// patchHeader is what a patch begins with that uses the dictionary of the request (RFC 9842, section 5).
func patchHeader(r *http.Request) []byte {
	magic := []byte{0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0}
	sum, err := base64.StdEncoding.DecodeString(strings.Trim(r.Header.Get("Available-Dictionary"), ":"))
	if err != nil || len(sum) != digest.Size {
		sum = make([]byte, digest.Size)
	}
	return append(magic, sum...)
}
