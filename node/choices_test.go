package node

import (
	"fmt"
	"net/http"
	"testing"

	"brink/protocol"
)

func TestFleet_AgreesOnWhatDevicesChoose(t *testing.T) {
	f := startFleet(t, 3)
	for _, node := range f.nodes {
		until(t, "all know each other", func() bool { return len(node.fleet.Others()) == 2 })
	}
	choose := func(node *fixture, device, name string) {
		t.Helper()
		if err := node.choices.Choose(testApp, device, name); err != nil {
			t.Fatal(err)
		}
	}
	agree := func(device, name string) {
		t.Helper()
		for _, node := range f.nodes {
			until(t, fmt.Sprintf("%s has %q for %s", node.config.Fleet.Node, name, device), func() bool {
				return node.choices.Chosen(testApp, device) == name
			})
		}
	}
	for i := range 50 {
		choose(f.nodes[i%3], fmt.Sprint("device-", i), "beta")
	}
	for i := range 50 {
		agree(fmt.Sprint("device-", i), "beta")
	}
	choose(f.nodes[1], "device-0", "production") // the later one counts, wherever it was made
	agree("device-0", "production")
	choose(f.nodes[2], "device-0", "") // taken back
	agree("device-0", "")
	choose(f.nodes[0], "device-0", "beta") // and again
	agree("device-0", "beta")
	f.nodes[1].restart(func(c *Config) { c.Fleet.Join = []string{f.nodes[0].fleet.Address()} })
	agree("device-0", "beta")
	choose(f.nodes[1], "device-1", "production")
	agree("device-1", "production")
	f.add() // who comes late gets all
	agree("device-49", "beta")
	agree("device-1", "production")
}

func TestFleet_ChoicesAreForTheFleetOnly(t *testing.T) {
	f := startFleet(t, 1)
	if resp, body := f.nodes[0].get(protocol.FleetChoicesPath + "?after=0"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger gets %s %s", resp.Status, body)
	}
}
