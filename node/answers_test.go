package node

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"brink/bench/cost"
	"brink/digest"
	"brink/protocol"
	"brink/publish"
)

// many uploads a bundle of so many files of one content and with long names, and returns its name.
func (f *fixture) many(files int) digest.Digest {
	f.t.Helper()
	all := map[string]string{}
	for i := range files {
		all[fmt.Sprintf("%s/%s/%d.txt", strings.Repeat("a", 250), strings.Repeat("b", 250), i)] = "7"
	}
	dir := folder(f.t, all)
	ix, offer := f.offerOf(dir, f.key, nil)
	up := f.open(offer)
	resp, raw := f.do(http.MethodPut, up.Upload, strings.NewReader(string(stream(f.t, dir, ix, up.Missing, nil))))
	if resp.StatusCode != 200 {
		f.t.Fatalf("upload: %d %s", resp.StatusCode, raw)
	}
	return ix.Bundle()
}

// An index is sent as it is stored: whoever asks for a part of it, or whether it has changed, costs next to nothing.
func TestNode_IndexIsNotMadeForEachRequest(t *testing.T) {
	f := start(t)
	id := f.many(700)
	resp, whole := f.get(protocol.IndexPath(id))
	tag := resp.Header.Get("ETag")
	if tag != protocol.Tag(digest.Sum(whole)) || len(whole) < 400_000 {
		t.Fatalf("an index of %d bytes has the tag %s", len(whole), tag)
	}
	for name, test := range map[string]struct {
		fields []string
		status int
		body   string
	}{
		"range":     {[]string{"Range", "bytes=1-9"}, 206, string(whole[1:10])},
		"end":       {[]string{"Range", "bytes=-5"}, 206, string(whole[len(whole)-5:])},
		"condition": {[]string{"If-None-Match", tag}, 304, ""},
		"behind":    {[]string{"Range", "bytes=99999999-"}, 416, ""},
	} {
		const times = 20
		spent := cost.Of(func() {
			for range times {
				resp, body := f.get(protocol.IndexPath(id), test.fields...)
				if resp.StatusCode != test.status || test.body != "" && string(body) != test.body {
					t.Fatalf("%s: %d %q", name, resp.StatusCode, body)
				}
			}
		})
		if spent > times*100_000 {
			t.Errorf("%s: %d bytes were allocated for %d requests", name, spent, times)
		}
	}
	resp, body := f.do(http.MethodHead, protocol.IndexPath(id), nil)
	if resp.StatusCode != 200 || len(body) != 0 || resp.ContentLength != int64(len(whole)) {
		t.Errorf("HEAD: %d, length %d", resp.StatusCode, resp.ContentLength)
	}
}

// Clients that do not take what they asked for hold no more than there is for them, and keep nobody out.
func TestNode_SlowReadersHoldABoundedAmount(t *testing.T) {
	const most = 4 << 20
	f := start(t, func(c *Config) { c.Wire.Unsent, c.maxAnswers = 4<<10, most })
	id := f.many(2500)
	_, whole := f.get(protocol.IndexPath(id))
	for range 40 {
		conn, err := net.Dial("tcp", f.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: node\r\n\r\n", protocol.IndexPath(id)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		if held, _ := f.answers.Stats(); held > most {
			t.Fatalf("%d bytes are held by answers that nobody takes", held)
		}
	}
	if held, _ := f.answers.Stats(); held == 0 {
		t.Error("what readers of an index hold is on no budget")
	}
	if resp, again := f.get(protocol.IndexPath(id)); resp.StatusCode != 200 || string(again) != string(whole) {
		t.Errorf("among clients that take nothing: %d with %d bytes", resp.StatusCode, len(again))
	}
	chunk := fmt.Sprintf(`{"chunks":["%s"]}`, digest.Sum([]byte("7")))
	resp, body := f.do(http.MethodPost, "/v1/chunks", strings.NewReader(chunk))
	if resp.StatusCode != 200 || !strings.HasPrefix(string(body), "brinkch1") {
		t.Errorf("a batch: %d %q", resp.StatusCode, body)
	}
	if resp, body := f.get("/v1/chunks/" + digest.Sum([]byte("7")).String()); string(body) != "7" {
		t.Errorf("a chunk: %d %q", resp.StatusCode, body)
	}
	f.http.CloseIdleConnections()
}

// Readers of what is too large for memory hold no more than there is for them either, and keep nobody out.
func TestNode_SlowReadersOfLargeArchivesHoldABoundedAmount(t *testing.T) {
	const most = 4 << 20
	f := start(t, func(c *Config) { c.Wire.Unsent, c.Hot, c.maxStreams = 4<<10, 1<<20, most })
	result, err := f.publisher().Publish(t.Context(), publish.Request{
		Dir: folder(t, map[string]string{"noise": string(noise(1, 3<<20))}), App: testApp, Version: "1.0.0",
		Channel: "production",
	})
	if err != nil {
		t.Fatal(err)
	}
	path := protocol.ArchivePath(result.Bundle)
	for range 40 {
		conn, err := net.Dial("tcp", f.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: node\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		if held, loans := f.streams.Stats(); held > most || loans == 0 {
			t.Fatalf("%d bytes are held by %d streams that nobody reads", held, loans)
		}
	}
	if resp, body := f.get(path); resp.StatusCode != 200 || digest.Sum(body) != result.Bundle {
		t.Errorf("among clients that read nothing: %d with %d bytes", resp.StatusCode, len(body))
	}
	f.http.CloseIdleConnections()
}

// What an answer holds is given back when it is sent, however it ends.
func TestNode_AnswersGiveBackWhatTheyHold(t *testing.T) {
	f := start(t)
	id := f.many(100)
	for range 3 {
		f.get(protocol.IndexPath(id))
		f.get(protocol.IndexPath(id), "Range", "bytes=1-2")
		f.do(http.MethodHead, protocol.IndexPath(id), nil)
		f.get("/v1/chunks/" + digest.Sum([]byte("7")).String())
		f.do(http.MethodPost, "/v1/chunks", strings.NewReader(`{"chunks":[]}`))
	}
	eventually(t, "nothing is held", func() bool {
		held, loans := f.answers.Stats()
		return held == 0 && loans == 0
	})
}
