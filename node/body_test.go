package node

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"brink/protocol"
)

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
	f := start(t, func(c *Config) { c.maxBodies = 1 << 20 })
	const slow = 40
	for range slow {
		f.hold(http.MethodPut, protocol.ChannelPath(testApp, "production"), strings.Repeat("x", 100_000))
	}
	eventually(t, "the budget is used up", func() bool {
		held, _ := f.bodies.Stats()
		return held > 900_000
	})
	manifest := strings.Repeat(" ", 100_000) // as large as theirs: it is refused for what it is, not for want of room
	resp, raw := f.do(http.MethodPut, protocol.ChannelPath(testApp, "production"), strings.NewReader(manifest),
		"If-None-Match", "*")
	wantProblem(t, resp, raw, 400, protocol.CodeMalformed)
	f.publish("1.0.0")
	if held, _ := f.bodies.Stats(); held > 1<<20 {
		t.Errorf("%d bytes are held", held)
	}
}
