package node

import (
	"strings"
	"testing"
	"time"

	"brink/channel"
	"brink/gossip"
	"brink/publish"
)

func TestFleet_ReplicasHoldWhatIsAcknowledged(t *testing.T) {
	f := startFleet(t, 3)
	for _, node := range f.nodes {
		until(t, "all know each other", func() bool { return len(node.fleet.others()) == 2 })
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

// Whoever has just started a fleet publishes before its nodes have told each other that they are ready.
func TestFleet_ReplicasAreWaitedForWhileNodesStart(t *testing.T) {
	f := startFleet(t, 2)
	first, second := f.nodes[0], f.nodes[1]
	until(t, "the nodes know each other", func() bool { return len(first.fleet.others()) == 1 })
	second.fleet.gossip.SetState(gossip.Starting)
	until(t, "the second one starts", func() bool { return first.fleet.starting() })
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
	until(t, "the release is in force", func() bool { return first.channels.get(testApp, "production") != nil })
	select {
	case err := <-ended:
		t.Fatalf("the publisher waits for nobody: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	second.fleet.gossip.SetState(gossip.Ready)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
