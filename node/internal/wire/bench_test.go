package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/valyala/fasthttp"
)

// The wrapper beside the bare connection, for responses that fasthttp sends with one writev on a bare connection and
// with two writes on any other. The client discards.
func BenchmarkConn_Response(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 5_000_000} {
		for _, kind := range []string{"bare", "wire"} {
			b.Run(fmt.Sprintf("%d/%s", size, kind), func(b *testing.B) { benchResponse(b, size, kind == "wire") })
		}
	}
}

func benchResponse(b *testing.B, size int, wrapped bool) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := ln.Addr().String()
	if wrapped {
		if ln, err = New(ln, Config{}); err != nil {
			b.Fatal(err)
		}
	}
	body := make([]byte, size)
	s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.Response.SetBodyRaw(body) }}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	b.Cleanup(func() {
		if err := errors.Join(s.Shutdown(), <-served); err != nil {
			b.Error(err)
		}
	})

	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	request := []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	buf := make([]byte, 256<<10)
	if _, err := c.Write(request); err != nil {
		b.Fatal(err)
	}
	n, err := c.Read(buf)
	if err != nil {
		b.Fatal(err)
	}
	head := bytes.Index(buf[:n], []byte("\r\n\r\n")) + 4
	whole := head + size
	if _, err := io.ReadFull(c, make([]byte, whole-n)); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		for left := whole; left > 0; {
			n, err := c.Read(buf[:min(left, len(buf))])
			if err != nil {
				b.Fatal(err)
			}
			left -= n
		}
	}
}

// A write loop without HTTP, to see the price of the bookkeeping alone.
func BenchmarkConn_Write(b *testing.B) {
	for _, kind := range []string{"bare", "wire"} {
		b.Run(kind, func(b *testing.B) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			if kind == "wire" {
				if ln, err = New(ln, Config{}); err != nil {
					b.Fatal(err)
				}
			}
			defer ln.Close()
			client, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			server, err := ln.Accept()
			if err != nil {
				b.Fatal(err)
			}
			read := make(chan struct{})
			go func() {
				defer close(read)
				buf := make([]byte, 256<<10)
				for {
					if _, err := client.Read(buf); err != nil {
						return
					}
				}
			}()
			body := make([]byte, 5_000_000)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := server.Write(body); err != nil {
					b.Fatal(err)
				}
			}
			server.Close()
			<-read
			client.Close()
		})
	}
}
