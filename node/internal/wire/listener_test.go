package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// listen returns a Listener on the loopback. The test must close its connections.
func listen(t *testing.T, config Config) *Listener {
	t.Helper()
	under, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(under, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		l.CloseConns()
	})
	return l
}

// connect returns both ends of a connection over the loopback.
func connect(t *testing.T, l *Listener) (server *Conn, client *net.TCPConn) {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return s.(*Conn), c.(*net.TCPConn)
}

func TestListener_IdleOverSockets(t *testing.T) {
	l := listen(t, Config{Idle: 20 * time.Millisecond})
	server, client := connect(t, l)
	done := make(chan error, 1)
	go func() {
		_, err := server.Read(make([]byte, 1))
		done <- err
	}()
	if n, err := client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %d bytes and %v, want an orderly end", n, err)
	}
	if err := <-done; !errors.Is(err, ErrIdle) {
		t.Errorf("the server reads %v", err)
	}
}

func TestListener_StallOverSockets(t *testing.T) {
	l := listen(t, Config{Stall: 20 * time.Millisecond})
	server, client := connect(t, l)
	if _, err := server.Write(make([]byte, 64<<20)); !errors.Is(err, ErrStalled) {
		t.Errorf("the server writes with %v", err)
	}
	if _, err := io.Copy(io.Discard, client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client reads %v, want a reset, so that the kernel keeps nothing", err)
	}
	if got, want := l.Stats(), (Stats{Accepted: 1, Stalled: 1}); got != want {
		t.Errorf("counts are %+v, want %+v", got, want)
	}
}

func TestListener_CloseLeavesConnsAndCloseConnsDoesNot(t *testing.T) {
	l := listen(t, Config{})
	var clients []net.Conn
	for range 3 {
		server, client := connect(t, l)
		clients = append(clients, client)
		go func() { _, _ = io.Copy(server, server) }() // until it is closed
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a second Close returned %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept returned %v after Close", err)
	}
	for _, c := range clients {
		send(t, c, 10)
		receive(t, c, 10)
	}
	if got, want := l.Stats(), (Stats{Accepted: 3, Open: 3}); got != want {
		t.Errorf("counts are %+v, want %+v", got, want)
	}
	l.CloseConns()
	for _, c := range clients {
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("the client reads %d bytes after CloseConns", n)
		}
	}
	if got, want := l.Stats(), (Stats{Accepted: 3}); got != want {
		t.Errorf("counts are %+v, want %+v", got, want)
	}
	l.CloseConns()
}

func TestListener_ConnAcceptedWhileClosingIsClosed(t *testing.T) {
	l, err := New(&stubListener{accept: make(chan any, 1)}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	server, client := net.Pipe()
	if c, err := l.track(server); c != nil || !errors.Is(err, net.ErrClosed) {
		t.Errorf("a connection after Close: %v, %v", c, err)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %v", err)
	}
}

// exhausted is a listener that has no descriptor left.
type exhausted struct{}

func (exhausted) Accept() (net.Conn, error) { return nil, syscall.EMFILE }
func (exhausted) Close() error              { return nil }
func (exhausted) Addr() net.Addr            { return nil }

func TestListener_AcceptOutlastsAShortage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stub := &stubListener{accept: make(chan any, 100)}
		l, err := New(stub, Config{})
		if err != nil {
			t.Fatal(err)
		}
		shortage := &net.OpError{Op: "accept", Err: syscall.EMFILE}
		for range 50 {
			stub.accept <- shortage
		}
		server, client := net.Pipe()
		defer client.Close()
		stub.accept <- server
		c, err := l.Accept()
		if err != nil {
			t.Fatalf("Accept returned %v", err)
		}
		c.Close()

		stub.accept <- syscall.EINVAL
		if _, err := l.Accept(); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("Accept returned %v, want what is no shortage as it is", err)
		}

		l, err = New(exhausted{}, Config{})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			done <- err
		}()
		synctest.Wait()
		l.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept returned %v after Close during a shortage", err)
		}
	})
}

// quiet discards expected log messages.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

// serve runs fasthttp on l.
func serve(t *testing.T, l net.Listener, handler fasthttp.RequestHandler) {
	t.Helper()
	s := &fasthttp.Server{
		Handler: handler, StreamRequestBody: true, MaxRequestBodySize: 1 << 30,
		Logger: quiet{}, // refused handshakes are a part of the tests
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// readerOnly hides every other method, so that the stream goes through ReadFrom.
type readerOnly struct{ io.Reader }

func TestListener_ServesLikeAPlainListener(t *testing.T) {
	body := make([]byte, 5_000_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body) // never fails
	l := listen(t, Config{Unsent: 128 << 10})
	serve(t, l, func(ctx *fasthttp.RequestCtx) {
		switch string(ctx.Path()) {
		case "/raw":
			ctx.Response.SetBodyRaw(body)
		case "/stream":
			ctx.Response.SetBodyStream(readerOnly{bytes.NewReader(body)}, len(body))
		case "/chunked":
			ctx.Response.SetBodyStream(readerOnly{bytes.NewReader(body)}, -1)
		case "/echo":
			ctx.Response.SetBodyStream(ctx.RequestBodyStream(), ctx.Request.Header.ContentLength())
		}
	})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/raw", "/stream", "/chunked", "/echo", "/raw"} {
		method, upload := http.MethodGet, io.Reader(nil)
		if path == "/echo" {
			method, upload = http.MethodPost, bytes.NewReader(body)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+l.Addr().String()+path, upload)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: %d bytes and %v, or other bytes than were sent", path, len(got), err)
		}
	}
}

func TestConn_ReadFromReturnsErrors(t *testing.T) {
	l := listen(t, Config{})
	server, client := connect(t, l)
	broken := errors.New("broken")
	n, err := server.ReadFrom(io.MultiReader(bytes.NewReader(make([]byte, 200_000)), errReader{broken}))
	if n != 200_000 || !errors.Is(err, broken) {
		t.Errorf("a source that breaks gives %d, %v", n, err)
	}
	receive(t, client, 200_000)
	server.Close()
	if n, err := server.ReadFrom(bytes.NewReader(make([]byte, 1))); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed connection gives %d, %v", n, err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestConn_DoesNotAllocate(t *testing.T) {
	l := listen(t, Config{})
	server, client := connect(t, l)
	buf := make([]byte, 100)
	turn := func() {
		if _, err := client.Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(server, buf); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, buf); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("one request allocates %v times", n)
	}
}
