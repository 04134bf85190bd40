package main_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"brink/channel"
	"brink/node"
	"brink/protocol"
	"brink/publish"
)

// BenchmarkDelivery asks a node in this process for an archive over one loopback connection, and discards it. The
// allocations are those of node and client together; the client's are few, for it reads one response after the other.
// Chunking is measured in package bundle, ingest and verified reads in package store.
func BenchmarkDelivery(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 5_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) { benchDelivery(b, size) })
	}
}

func benchDelivery(b *testing.B, size int) {
	key, err := channel.NewKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	trust, err := channel.NewTrust(channel.TrustConfig{
		Org: "bench", Issued: time.Now().UTC().Truncate(time.Second),
		Roots: []channel.PublicKey{key.Public()}, Keys: []channel.PublicKey{key.Public()},
		Roles: []channel.Role{{
			Name: "publisher", Keys: []string{key.Public().ID()}, Apps: []channel.Pattern{"*"}, Channels: []channel.Pattern{"*"},
		}},
	}, key)
	if err != nil {
		b.Fatal(err)
	}
	n, err := node.New(
		node.Config{Data: b.TempDir(), Listen: "127.0.0.1:0", Trust: [][]byte{trust}, Drain: -1, Prepare: -1},
	)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	files := b.TempDir()
	noise := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	if err := os.WriteFile(filepath.Join(files, "app.bin"), noise, 0o600); err != nil {
		b.Fatal(err)
	}
	p, err := publish.New(publish.Config{Node: n.URL(), Trust: trust, Keys: []channel.PrivateKey{key}})
	if err != nil {
		b.Fatal(err)
	}
	r, err := p.Publish(
		ctx,
		publish.Request{Dir: files, App: "com.example.bench", Version: "1.0.0", Channel: "production"},
	)
	if err != nil {
		b.Fatal(err)
	}
	conn, err := net.Dial("tcp", n.Addr())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	request := []byte("GET " + protocol.ArchivePath(r.Bundle) + " HTTP/1.1\r\nHost: node\r\n\r\n")
	answers := bufio.NewReaderSize(conn, 64<<10)
	b.SetBytes(r.Bytes)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil || n != r.Bytes || resp.StatusCode != http.StatusOK {
			b.Fatalf("%s with %d bytes: %v", resp.Status, n, err)
		}
	}
}
