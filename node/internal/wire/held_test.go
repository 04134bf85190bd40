package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"testing"

	"github.com/valyala/fasthttp"
)

func hold(t testing.TB, data []byte) *Held {
	t.Helper()
	h, err := NewHeld(bytes.NewReader(data), int64(len(data)))
	if errors.Is(err, ErrNotHeld) && runtime.GOOS != "linux" {
		t.Skip("skipped: only Linux sends without copying")
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func heldNoise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

// serveHeld runs fasthttp on a Listener; a request's query is the span to send.
func serveHeld(t testing.TB, h *Held) string {
	t.Helper()
	under, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := New(under, Config{Unsent: 128 << 10})
	if err != nil {
		t.Fatal(err)
	}
	s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		start, length := ctx.QueryArgs().GetUintOrZero("start"), ctx.QueryArgs().GetUintOrZero("length")
		ctx.Response.ImmediateHeaderFlush = true
		ctx.SetBodyStream(h.Reader(ctx.Conn(), int64(start), int64(length)), length)
	}}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(), <-served); err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func TestHeld_ArrivesByteForByte(t *testing.T) {
	data := heldNoise(3 << 20)
	addr := serveHeld(t, hold(t, data))
	spans := [][2]int{
		{
			0,
			len(data),
		}, {0, 1}, {0, 4096}, {1, 100}, {4000, 5000}, {4096, 70_000}, {len(data) - 1, 1}, {len(data), 0}, {1 << 20, 2 << 20},
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// All requests are sent before the first answer is read: an answer must not overtake the one before it.
	var requests bytes.Buffer
	for _, s := range spans {
		fmt.Fprintf(&requests, "GET /?start=%d&length=%d HTTP/1.1\r\nHost: a\r\n\r\n", s[0], s[1])
	}
	if _, err := conn.Write(requests.Bytes()); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	for _, s := range spans {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("span %v: %v", s, err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(got, data[s[0]:s[0]+s[1]]) {
			t.Fatalf("span %v: %d bytes, %v, or others than were held", s, len(got), err)
		}
	}
}

func TestHeld_ReadsLikeAnyReaderElsewhere(t *testing.T) {
	data := heldNoise(100_000)
	got, err := io.ReadAll(hold(t, data).Reader(nil, 10, 90_000))
	if err != nil || !bytes.Equal(got, data[10:90_010]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestHeld_IsAllOrNothing(t *testing.T) {
	hold(t, nil) // skips where nothing is held
	failed := errors.New("lost")
	for name, from := range map[string]io.WriterTo{
		"short":  bytes.NewReader(heldNoise(99)),
		"long":   bytes.NewReader(heldNoise(101)),
		"failed": failing{failed},
	} {
		h, err := NewHeld(from, 100)
		if err == nil || h != nil || errors.Is(err, ErrNotHeld) {
			t.Errorf("%s: NewHeld = %v, %v, want the error of what was to be held", name, h, err)
		}
		if name == "failed" && !errors.Is(err, failed) {
			t.Errorf("NewHeld = %v, want what the source says", err)
		}
	}
}

type failing struct{ err error }

func (f failing) WriteTo(io.Writer) (int64, error) { return 0, f.err }

func TestHeld_ClosesAPeerThatReadsNothing(t *testing.T) {
	data := heldNoise(32 << 20) // more than any socket takes
	h := hold(t, data)
	under, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := New(under, Config{Stall: 40e6, Grace: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err := net.Dial("tcp", under.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n, err := c.(*Conn).ReadFrom(&io.LimitedReader{R: h.Reader(c, 0, h.Size()), N: h.Size()})
	if !errors.Is(err, ErrStalled) || n == h.Size() {
		t.Errorf("%d bytes sent, %v, want ErrStalled", n, err)
	}
	if got := ln.Stats().Stalled; got != 1 {
		t.Errorf("%d connections counted as stalled", got)
	}
}

// wrapped embeds a HeldReader, and must not be read.
type wrapped struct {
	HeldReader

	t *testing.T
}

func (w *wrapped) Read([]byte) (int, error) {
	w.t.Error("it is copied")
	return 0, io.EOF
}

func TestHeld_SendsTypesThatEmbedAReader(t *testing.T) {
	data := heldNoise(100_000)
	h := hold(t, data)
	under, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := New(under, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err := net.Dial("tcp", under.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		r := &wrapped{*h.Reader(c, 10, 90_000), t}
		_, err := c.(*Conn).ReadFrom(&io.LimitedReader{R: r, N: 90_000})
		sent <- errors.Join(err, c.Close())
	}()
	got, err := io.ReadAll(peer)
	if err := errors.Join(err, <-sent); err != nil || !bytes.Equal(got, data[10:90_010]) {
		t.Errorf("%d bytes arrived, %v", len(got), err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if n, err := h.Reader(nil, 0, 1).Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes are read of what is closed", n)
	}
}
