package node

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"brink/channel"
	"brink/gossip"
	"brink/protocol"
	"brink/publish"
)

func TestFleet_ReplicasHoldWhatIsAcknowledged(t *testing.T) {
	f := startFleet(t, 3)
	for _, node := range f.nodes {
		until(t, "all know each other", func() bool { return len(node.fleet.Others()) == 2 })
	}
	p, err := publish.New(publish.Config{
		Node: f.nodes[0].URL(), Trust: f.nodes[0].trust, Keys: []channel.PrivateKey{f.nodes[0].key}, Replicas: 3, Regions: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	result, err := p.Publish(t.Context(), requestOf(t, "1.0.0"))
	if err != nil || len(result.Replicas) != 3 {
		t.Fatalf("the replicas are %+v, %v", result.Replicas, err)
	}
	for _, node := range f.nodes {
		raw, err := node.store.Manifest(testApp, "production")
		if err != nil {
			t.Fatalf("%s has acknowledged what it does not hold: %v", node.config.Fleet.Node, err)
		}
		if m, err := channel.ParseManifest(raw); err != nil || m.Sequence != result.Sequence {
			t.Errorf("%s holds sequence %d, %v", node.config.Fleet.Node, m.Sequence, err)
		}
		if lost, err := node.store.Lost(t.Context(), result.Bundle); err != nil || len(lost) > 0 {
			t.Errorf("%s lacks %d chunks, %v", node.config.Fleet.Node, len(lost), err)
		}
	}
	p, err = publish.New(publish.Config{
		Node: f.nodes[0].URL(), Trust: f.nodes[0].trust, Keys: []channel.PrivateKey{f.nodes[0].key}, Replicas: 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	result, err = p.Publish(t.Context(), requestOf(t, "1.1.0"))
	if err == nil || len(result.Replicas) != 3 || !strings.Contains(err.Error(), "3 of 4") {
		t.Errorf("with too few nodes the replicas are %+v, %v", result.Replicas, err)
	}
}

// TestFleet_RepeatsHoldNobodyUp has a node that never answers, and strangers who send what it was asked about again.
func TestFleet_RepeatsHoldNobodyUp(t *testing.T) {
	var asked atomic.Int64
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == protocol.FleetHoldPath {
			asked.Add(1)
			<-release
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(hangs.Close)
	f := startFleet(t, 2, func(i int, c *Config) {
		if i == 1 {
			c.Fleet.URL = hangs.URL
		}
	})
	node := f.nodes[0]
	until(t, "they know each other", func() bool { return len(node.fleet.Others()) == 1 })
	node.publish("1.0.0")
	_, manifest := node.get(protocol.ChannelPath(testApp, "production"))
	const strangers = 5
	var repeats sync.WaitGroup
	var answered atomic.Int64
	for range strangers {
		repeats.Go(func() {
			resp, body := node.do(http.MethodPut, protocol.ChannelPath(testApp, "production"), bytes.NewReader(manifest),
				"If-None-Match", "*", protocol.FieldReplicas, "64")
			answered.Add(1)
			if resp.StatusCode != http.StatusOK {
				t.Errorf("the manifest in force once more: %d %s", resp.StatusCode, body)
			}
		})
	}
	until(t, "all of them wait for the other node", func() bool {
		_, metrics := node.admin("/metrics")
		return asked.Load() > 0 && strings.Contains(metrics, fmt.Sprintf("brink_http_handlers_active %d\n", strangers))
	})
	if r := node.publish("1.1.0"); r.Sequence != 2 {
		t.Errorf("the publisher got sequence %d", r.Sequence)
	}
	if answered.Load() > 0 {
		t.Error("the publisher had to wait until strangers were answered")
	}
	close(release)
	repeats.Wait()
	if asked.Load() != 1 {
		t.Errorf("the other node was asked %d times for %d repeats", asked.Load(), strangers)
	}
}

// Whoever has just started a fleet publishes before its nodes have told each other that they are ready.
func TestFleet_ReplicasAreWaitedForWhileNodesStart(t *testing.T) {
	f := startFleet(t, 2)
	first, second := f.nodes[0], f.nodes[1]
	until(t, "the nodes know each other", func() bool { return len(first.fleet.Others()) == 1 })
	second.fleet.SetState(gossip.Starting)
	until(t, "the second one starts", func() bool { return len(first.fleet.Others()) == 0 })
	p, err := publish.New(publish.Config{
		Node: first.URL(), Trust: first.trust, Keys: []channel.PrivateKey{first.key}, Replicas: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	request := requestOf(t, "1.0.0")
	ended := make(chan error, 1)
	go func() {
		_, err := p.Publish(t.Context(), request)
		ended <- err
	}()
	until(t, "the release is in force", func() bool { return first.state.Manifest(testApp, "production") != nil })
	select {
	case err := <-ended:
		t.Fatalf("the publisher waits for nobody: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	second.fleet.SetState(gossip.Ready)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
