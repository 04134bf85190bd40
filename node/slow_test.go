package node

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// slowFixture is a node with a small hot set, and a bundle of many representations that fill a part of it each.
type slowFixture struct {
	*fixture

	paths []string
	whole [][]byte
	dial  func() (net.Conn, error)
	conns []net.Conn
}

// In bytes, of startSlow: the set, a representation, and what streams may hold.
const (
	slowSet     = 4 << 20
	slowSize    = 300_000
	slowStreams = 4 << 20
)

func startSlow(t *testing.T, files int, encrypted bool, change ...func(*Config)) *slowFixture {
	t.Helper()
	s := &slowFixture{}
	var client *tls.Config
	s.fixture = start(t, append(change, func(c *Config) {
		c.Hot, c.Wire.Unsent, c.Wire.Stall, c.Wire.Grace = slowSet, 4<<10, -1, -1
		if encrypted {
			dir := t.TempDir()
			var cert, key []byte
			cert, key, client = certificate(t)
			c.CertFile, c.Key = filepath.Join(dir, "cert.pem"), key
			if err := os.WriteFile(c.CertFile, cert, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	})...)
	s.http.Transport.(*http.Transport).TLSClientConfig = client
	content := map[string]string{}
	for i := range files {
		name := fmt.Sprintf("%d.png", i)
		s.whole = append(s.whole, noise(byte(i), slowSize))
		content[name] = string(s.whole[i])
		s.paths = append(s.paths, name)
	}
	dir := folder(t, content)
	ix, offer := s.offerOf(dir, s.key, nil)
	up := s.open(offer)
	resp, raw := s.do(http.MethodPut, up.Upload, bytes.NewReader(stream(t, dir, ix, up.Missing, nil)))
	if resp.StatusCode != 200 {
		t.Fatalf("upload: %d %s", resp.StatusCode, raw)
	}
	for i := range s.paths {
		s.paths[i] = "/v1/bundles/" + ix.Bundle().String() + "/files/" + s.paths[i]
	}
	s.dial = func() (net.Conn, error) {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			return nil, err
		}
		if err := conn.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil || client == nil {
			return conn, err
		}
		config := client.Clone()
		config.ServerName = "127.0.0.1"
		return tls.Client(conn, config), nil
	}
	return s
}

// ask asks for a representation, and reads the beginning of the answer and no more.
func (s *slowFixture) ask(path string) {
	s.t.Helper()
	conn, err := s.dial()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	s.conns = append(s.conns, conn)
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n", path); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 10)); err != nil {
		s.t.Fatal(err)
	}
}

// memoryFiles returns how many files in RAM the process has open.
func memoryFiles(t *testing.T) int64 {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, "/memfd:brink") {
			n++
		}
	}
	return n
}

func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Clients that do not take what they asked for, of ever other representations, hold no more than the set and its spare,
// as far as they are not streams, and keep nobody out.
func TestNode_SlowReadersOfManyRepresentationsHoldABoundedAmount(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %t", encrypted), func(t *testing.T) {
			s := startSlow(t, 100, encrypted, func(c *Config) { c.grace, c.maxStreams = time.Nanosecond, slowStreams })
			before, filesBefore := inUse(), memoryFiles(t) // earlier tests may have left some
			for _, path := range s.paths {
				s.ask(path)
				if held := s.hot.Stats().Held; held > slowSet*5/4 {
					t.Fatalf("%d bytes are held", held)
				}
			}
			// What is cut had left the set. How much of that is left now depends on how fast connections end.
			if stats := s.hot.Stats(); stats.Cut == 0 {
				t.Errorf("the test tests nothing: %+v", stats)
			}
			// A connection has some tens of KiB of buffers, at both of its ends.
			most := int64(slowSet*5/4 + slowStreams + len(s.paths)*(100<<10))
			if grown := inUse() - before; grown > most {
				t.Errorf("%d bytes more are in use than before, want at most %d", grown, most)
			}
			if files := memoryFiles(t) - filesBefore; files*slowSize > slowSet*5/4 {
				t.Errorf("%d files are in RAM", files)
			}
			for i, path := range s.paths {
				if resp, got := s.get(path); resp.StatusCode != 200 || !bytes.Equal(got, s.whole[i]) {
					t.Fatalf("among clients that take nothing: %d with %d bytes", resp.StatusCode, len(got))
				}
			}
			for _, conn := range s.conns {
				conn.Close()
			}
			eventually(t, "what left the set is held no more", func() bool {
				_, streams := s.streams.Stats()
				return s.hot.Stats().Evicted == 0 && streams == 0
			})
			if runtime.GOOS == "linux" {
				eventually(t, "the descriptors are those that are counted", func() bool {
					files := s.hot.Stats().Files
					return memoryFiles(t) == files && (files > 0) == !encrypted
				})
			}
			s.stop() // which empties the set
			if stats := s.hot.Stats(); stats.Held != 0 || stats.Files != 0 {
				t.Errorf("an empty set counts %+v", stats)
			}
		})
	}
}

// Clients that are slow for less than the grace get the complete answer, even if there is no room.
func TestNode_SlowReadersAreNotCutBeforePatienceEnds(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %t", encrypted), func(t *testing.T) {
			s := startSlow(t, 40, encrypted)
			for _, path := range s.paths {
				s.ask(path)
			}
			if stats := s.hot.Stats(); stats.Evicted == 0 || stats.Cut != 0 {
				t.Errorf("nothing has left the set, or an answer was cut: %+v", stats)
			}
			if _, streams := s.streams.Stats(); streams == 0 {
				t.Error("nothing had to be streamed: there was room for all")
			}
			var reading sync.WaitGroup
			for i, conn := range s.conns {
				reading.Go(func() {
					raw, err := io.ReadAll(conn)
					if err != nil || !bytes.HasSuffix(raw, s.whole[i]) {
						t.Errorf("slow client %d got %d bytes: %v", i, len(raw), err)
					}
				})
			}
			reading.Wait()
		})
	}
}

// Conditions, heads, parts and answers that the client leaves give back what they take.
func TestNode_AnswersGiveBackWhatIsHot(t *testing.T) {
	f := start(t)
	id := f.publish("1.0.0").Bundle
	path := "/v1/bundles/" + id.String() + "/files/img/logo.png"
	resp, _ := f.get(path)
	f.get(path, "Range", "bytes=5-9")
	f.get(path, "Range", "bytes=999999999-")
	f.get(path, "If-None-Match", resp.Header.Get("ETag"))
	f.do(http.MethodHead, path, nil)
	conn := f.hold(http.MethodGet, path, "")
	conn.Close()
	eventually(t, "nobody uses what is held", func() bool { return f.hot.Stats().Uses == 0 })
	f.stop() // which empties the set
	if stats := f.hot.Stats(); stats.Held != 0 {
		t.Errorf("an empty set counts %+v", stats)
	}
}
