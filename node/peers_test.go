package node

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"brink/digest"
	"brink/gossip"
	"brink/origin/sign"
	"brink/protocol"
	"brink/publish"
)

// keys returns the keys of the fleet, as the node has them in its file.
func (f *fixture) keys() [][]byte {
	f.t.Helper()
	raw, err := os.ReadFile(f.config.Fleet.KeyFile)
	if err != nil {
		f.t.Fatal(err)
	}
	keys, err := gossip.ReadKeys(raw)
	if err != nil {
		f.t.Fatal(err)
	}
	return keys
}

// signedPost returns the body and the field of a request that one node of a fleet would send to another.
func (f *fixture) signedPost(to, path string, question any, at time.Time) (body []byte, field string) {
	f.t.Helper()
	body, err := json.Marshal(question)
	if err != nil {
		f.t.Fatal(err)
	}
	ring, err := sign.NewRing(f.config.Fleet.Name, f.keys()...)
	if err != nil {
		f.t.Fatal(err)
	}
	return body, ring.Sign(sign.Request{To: to, Method: "POST", Target: path, Body: digest.Sum(body)}, at)
}

func TestFleet_OverheardRequestsHaveNoEffect(t *testing.T) {
	f := startFleet(t, 2)
	send := func(node *fixture, path string, body []byte, field string) int {
		resp, _ := node.do(http.MethodPost, path, bytes.NewReader(body), "Authorization", field)
		return resp.StatusCode
	}
	meant, other := f.nodes[1], f.nodes[0]
	name := meant.config.Fleet.Node
	for _, node := range f.nodes {
		until(t, "it is ready", func() bool { return node.health.check().Ready })
	}
	for path, question := range map[string]any{
		protocol.FleetDrainPath: protocol.Drain{Drain: true, At: time.Now()},
		protocol.FleetHoldPath:  protocol.Hold{App: testApp, Channel: "production", From: other.config.Fleet.Node},
		protocol.FleetKeysPath:  protocol.Sealed{},
	} {
		body, field := meant.signedPost(name, path, question, time.Now())
		if got := send(other, path, body, field); got != http.StatusUnauthorized {
			t.Errorf("%s for %s has an effect on another node: %d", path, name, got)
		}
		if got := send(meant, path, body, field); got == http.StatusUnauthorized {
			t.Errorf("%s is refused", path)
		}
		if got := send(meant, path, body, field); got != http.StatusUnauthorized {
			t.Errorf("%s has its effect again: %d", path, got)
		}
	}
	if !other.health.check().Ready || meant.health.check().Ready {
		t.Error("not the node that was meant is draining")
	}
}

func TestFleet_TheLatestDrainCounts(t *testing.T) {
	f := startFleet(t, 1)
	node := f.nodes[0]
	until(t, "it is ready", func() bool { return node.health.check().Ready })
	name, start := node.config.Fleet.Node, time.Now()
	drain := func(drain bool, at time.Time) int {
		body, field := node.signedPost(name, protocol.FleetDrainPath, protocol.Drain{Drain: drain, At: at}, time.Now())
		resp, _ := node.do(http.MethodPost, protocol.FleetDrainPath, bytes.NewReader(body), "Authorization", field)
		return resp.StatusCode
	}
	if got := drain(false, start.Add(2*time.Second)); got != http.StatusOK {
		t.Fatalf("undrain: %d", got)
	}
	// It was asked for before, and held back on its way.
	if got := drain(true, start.Add(time.Second)); got != http.StatusPreconditionFailed || !node.health.check().Ready {
		t.Errorf("a drain from before the last one: %d", got)
	}
	if got := drain(true, start.Add(3*time.Second)); got != http.StatusOK || node.health.check().Ready {
		t.Errorf("a later drain: %d", got)
	}
	if got := drain(false, start.Add(time.Hour)); got != http.StatusBadRequest {
		t.Errorf("a drain from the future: %d", got)
	}
	// Nor does one count from before the node was started, which it does not remember.
	node.restart()
	if got := drain(true, start.Add(-time.Second)); got != http.StatusPreconditionFailed {
		t.Errorf("a drain from before the start: %d", got)
	}
	body, field := node.signedPost(name, protocol.FleetKeysPath, protocol.Sealed{}, start.Add(-time.Minute))
	resp, _ := node.do(http.MethodPost, protocol.FleetKeysPath, bytes.NewReader(body), "Authorization", field)
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("keys from before the start: %s", resp.Status)
	}
}

// TestFleet_BelievesNoAnswerThatTheFleetDidNotSign puts somebody between two nodes who says yes to everything.
func TestFleet_BelievesNoAnswerThatTheFleetDidNotSign(t *testing.T) {
	var asked atomic.Int64
	liar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == protocol.FleetHoldPath {
			asked.Add(1)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set(sign.AnswerField, digest.Digest{}.String())
		_, _ = io.WriteString(w, `{"node":"node-b"}`)
	}))
	t.Cleanup(liar.Close)
	f := startFleet(t, 2, func(i int, c *Config) {
		if i == 1 {
			c.Fleet.URL = liar.URL
		}
	})
	node := f.nodes[0]
	until(t, "they know each other", func() bool { return len(node.fleet.Others()) == 1 })
	p := node.publisher(func(c *publish.Config) { c.Replicas = 2 })
	result, err := p.Publish(t.Context(), requestOf(t, "1.0.0"))
	if err == nil || len(result.Replicas) != 1 || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("somebody else's word is taken: the replicas are %+v, %v", result.Replicas, err)
	}
	if asked.Load() == 0 {
		t.Error("the liar was not asked")
	}
}
