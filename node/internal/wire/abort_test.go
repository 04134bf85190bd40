package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/valyala/fasthttp"
)

// A client that takes the end of a connection for the end of a response must see an error instead.
func TestAbort_ResetsTheConnection(t *testing.T) {
	cert, key := newPair(t, "127.0.0.1")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, Config{})
			var accepting net.Listener = l
			if secure {
				accepting = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
			}
			serve(t, accepting, func(ctx *fasthttp.RequestCtx) {
				conn := ctx.Conn()
				body := io.MultiReader(strings.NewReader(strings.Repeat("x", 10_000)), readerFunc(func([]byte) (int, error) {
					Abort(conn)
					return 0, io.ErrUnexpectedEOF
				}))
				ctx.SetBodyStream(body, 1<<20)
			})
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if secure {
				conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a server of this test
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the response ends with %v, want a reset", err)
			}
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
