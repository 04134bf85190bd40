package serve

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/valyala/fasthttp"

	"brink/bench/cost"
	"brink/protocol"
)

// incomingOf returns what reads raw as a body on a budget.
func incomingOf(t testing.TB, source io.Reader, b *Budget) *Incoming {
	t.Helper()
	var ctx fasthttp.RequestCtx
	ctx.Init(&fasthttp.Request{}, nil, nil)
	r := NewRequest(&ctx, b)
	t.Cleanup(r.Release)
	return &Incoming{Request: r, Source: source, Free: FreeBody}
}

func TestIncoming_ReadsUpToItsLimit(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 4096, 4097, 100_000} {
		for _, limit := range []int64{0, 1, 4096, 99_999, 100_000, 1 << 20} {
			for name, wrap := range map[string]func(io.Reader) io.Reader{
				"": func(r io.Reader) io.Reader { return r }, " bytewise": iotest.OneByteReader, " with EOF": iotest.DataErrReader,
			} {
				want := bytes.Repeat([]byte("x"), size)
				b := NewBudget(1 << 20)
				got, err := incomingOf(t, wrap(bytes.NewReader(want)), b).Read(nil, limit)
				if err != nil || int64(size) <= limit && !bytes.Equal(got, want) || int64(len(got)) > limit+1 {
					t.Errorf("%d bytes%s with a limit of %d: %d came, %v", size, name, limit, len(got), err)
				}
				if held, _ := b.Stats(); int64(cap(got)) > FreeBody && held < int64(cap(got)) || held > limit+1 {
					t.Errorf("%d bytes are borrowed for %d", held, cap(got))
				}
			}
		}
	}
}

func TestIncoming_StopsWithoutRoom(t *testing.T) {
	endless := endlessReader{}
	if _, err := incomingOf(t, endless, NewBudget(10_000)).Read(nil, 1<<40); protocol.CodeOf(err) != protocol.CodeBusy {
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
		cost.Check(t, len(raw), func() {
			in := incomingOf(t, bytes.NewReader(raw), NewBudget(64<<20))
			got, err := in.Read(nil, limit)
			if err == nil && int64(len(got)) <= limit && !bytes.Equal(got, raw) {
				t.Errorf("%d bytes were read as %d", len(raw), len(got))
			}
		})
	})
}
