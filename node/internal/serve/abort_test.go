package serve

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/valyala/fasthttp"

	"brink/digest"
	"brink/node/internal/wire"
)

// failing is a body that cannot be read to its end.
type failing struct{ size int64 }

func (f failing) Whole() (*Whole, error) { return nil, ErrNoMemory }

func (f failing) Stream() (io.ReadSeekCloser, error) { return &failingStream{left: f.size}, nil }

type failingStream struct{ left int64 }

func (f *failingStream) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, errors.New("damaged")
	}
	n := min(int64(len(p)), f.left)
	f.left -= n
	return int(n), nil
}

func (f *failingStream) Seek(offset int64, _ int) (int64, error) {
	f.left -= offset
	return offset, nil
}

func (f *failingStream) Close() error { return nil }

func TestSender_ResetsTheConnectionWhenABodyFails(t *testing.T) {
	for name, answer := range map[string]func(s *Sender, r *Request) error{
		"representation": func(s *Sender, r *Request) error {
			return s.Send(r, Headers{ContentType: "text/plain"}, Representation{
				Digest: digest.Sum([]byte("x")), Size: 1 << 20, Body: failing{100_000},
			})
		},
		"stream of unknown length": func(s *Sender, r *Request) error {
			return s.Stream(r, &failingStream{left: 100_000}, -1, 1000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			under, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l, err := wire.New(under, wire.Config{})
			if err != nil {
				t.Fatal(err)
			}
			s := &Sender{
				Answers: NewBudget(1 << 20), Streams: NewBudget(1 << 20), Largest: 1 << 20,
				Guard: func(do func() error) error { return do() },
			}
			server := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
				if err := answer(s, NewRequest(ctx, NewBudget(1<<20))); err != nil {
					t.Error(err)
				}
			}}
			served := make(chan error, 1)
			go func() { served <- server.Serve(l) }()
			defer func() {
				if err := errors.Join(server.Shutdown(), <-served); err != nil {
					t.Error(err)
				}
			}()
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, conn)
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the answer ends with %v after %d bytes, want a reset", err, n)
			}
		})
	}
}
