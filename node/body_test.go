package node

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/valyala/fasthttp"

	"brink/protocol"
)

// incomingOf returns what reads raw as a body on a budget.
func incomingOf(t testing.TB, source io.Reader, b *budget) *incoming {
	t.Helper()
	var ctx fasthttp.RequestCtx
	ctx.Init(&fasthttp.Request{}, nil, nil)
	r := &request{RequestCtx: &ctx, bodies: b}
	t.Cleanup(r.release)
	return &incoming{request: r, source: source, budget: b, free: freeBody}
}

func TestIncoming_ReadsUpToItsLimit(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 4096, 4097, 100_000} {
		for _, limit := range []int64{0, 1, 4096, 99_999, 100_000, 1 << 20} {
			for name, wrap := range map[string]func(io.Reader) io.Reader{
				"": func(r io.Reader) io.Reader { return r }, " bytewise": iotest.OneByteReader, " with EOF": iotest.DataErrReader,
			} {
				want := bytes.Repeat([]byte("x"), size)
				b := newBudget(1 << 20)
				got, err := incomingOf(t, wrap(bytes.NewReader(want)), b).read(nil, limit)
				if err != nil || int64(size) <= limit && !bytes.Equal(got, want) || int64(len(got)) > limit+1 {
					t.Errorf("%d bytes%s with a limit of %d: %d came, %v", size, name, limit, len(got), err)
				}
				if held, _ := b.stats(); int64(cap(got)) > freeBody && held < int64(cap(got)) || held > limit+1 {
					t.Errorf("%d bytes are borrowed for %d", held, cap(got))
				}
			}
		}
	}
}

func TestIncoming_StopsWithoutRoom(t *testing.T) {
	endless := endlessReader{}
	if _, err := incomingOf(t, endless, newBudget(10_000)).read(nil, 1<<40); protocol.CodeOf(err) != protocol.CodeBusy {
		t.Errorf("a body beyond the budget: %v", err)
	}
}

type endlessReader struct{}

func (endlessReader) Read(p []byte) (int, error) { return len(p), nil }

func FuzzIncoming(f *testing.F) {
	f.Add([]byte("{}"), int64(16))
	f.Add(bytes.Repeat([]byte("x"), 100_000), int64(1<<20))
	f.Fuzz(func(t *testing.T, raw []byte, limit int64) {
		if limit < 0 || limit > 1<<40 {
			return
		}
		in := incomingOf(t, bytes.NewReader(raw), newBudget(maxBodies))
		cost := allocated(func() {
			got, err := in.read(nil, limit)
			if err == nil && int64(len(got)) <= limit && !bytes.Equal(got, raw) {
				t.Errorf("%d bytes were read as %d", len(raw), len(got))
			}
		})
		if cost > 16*int64(len(raw))+1<<20 {
			t.Errorf("%d bytes allocated for %d", cost, len(raw))
		}
	})
}

// No path decodes a body before it knows who sends it.
func TestNode_TakesNoEncodedBodies(t *testing.T) {
	f := start(t)
	f.publish("1.0.0")
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	body := encoder.EncodeAll([]byte(`{"channel":"production"}`), nil)
	for _, test := range []struct{ method, path string }{
		{http.MethodPost, protocol.CheckPath(testApp)},
		{http.MethodPost, "/v1/chunks"},
		{http.MethodPost, protocol.BundlesPath(testApp)},
		{http.MethodPut, protocol.ChannelPath(testApp, "production")},
		{http.MethodPut, protocol.TrustPath("acme")},
		{http.MethodPost, "/capgo/updates"},
		{http.MethodPost, "/capgo/stats"},
		{http.MethodPost, "/appflow/apps/" + testApp + "/channels/check-device"},
	} {
		for _, coding := range []string{"zstd", "gzip", "br", "x"} {
			resp, raw := f.do(test.method, test.path, bytes.NewReader(body), "Content-Encoding", coding)
			if resp.StatusCode != http.StatusUnsupportedMediaType {
				t.Errorf("%s %s in %s: %d %s", test.method, test.path, coding, resp.StatusCode, raw)
			}
		}
	}
}

// Bodies that never end hold no more than there is for them, and nobody else is refused for them.
func TestNode_SlowBodiesKeepNobodyOut(t *testing.T) {
	f := start(t)
	f.bodies.mu.Lock()
	f.bodies.size = 1 << 20
	f.bodies.mu.Unlock()
	const slow = 40
	for range slow {
		f.hold(http.MethodPut, protocol.ChannelPath(testApp, "production"), strings.Repeat("x", 100_000))
	}
	eventually(t, "the budget is used up", func() bool {
		held, _ := f.bodies.stats()
		return held > 900_000
	})
	manifest := strings.Repeat(" ", 100_000) // as large as theirs: it is refused for what it is, not for want of room
	resp, raw := f.do(http.MethodPut, protocol.ChannelPath(testApp, "production"), strings.NewReader(manifest),
		"If-None-Match", "*")
	wantProblem(t, resp, raw, 400, protocol.CodeMalformed)
	f.publish("1.0.0")
	if held, _ := f.bodies.stats(); held > 1<<20 {
		t.Errorf("%d bytes are held", held)
	}
}
