package node

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"brink/bench/cost"
	"brink/protocol"
)

func TestFleet_AgreesOnWhatDevicesChoose(t *testing.T) {
	f := startFleet(t, 3)
	for _, node := range f.nodes {
		until(t, "all know each other", func() bool { return len(node.fleet.others()) == 2 })
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
	f.nodes[1].restart(func(c *Config) { c.Fleet.Join = []string{f.nodes[0].fleet.gossip.Self().Address} })
	agree("device-0", "beta")
	choose(f.nodes[1], "device-1", "production")
	agree("device-1", "production")
	f.add() // who comes late gets all
	agree("device-49", "beta")
	agree("device-1", "production")
}

func TestChoices_TheLaterOneCountsInAnyOrder(t *testing.T) {
	at := func(seconds int) time.Time { return time.Now().Add(time.Duration(seconds-100) * time.Second).UTC() }
	made := []noted{
		{App: testApp, Device: "d", choice: choice{Channel: "beta", Since: at(1)}},
		{App: testApp, Device: "d", choice: choice{Channel: "production", Since: at(3)}},
		{App: testApp, Device: "d", choice: choice{Since: at(2)}},
	}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {1, 0, 2}} {
		c := newChoices(start(t).store, time.Now)
		for _, i := range order {
			if err := c.take(made[i]); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.Chosen(testApp, "d"); got != "production" {
			t.Errorf("in the order %v it is %q", order, got)
		}
	}
}

func TestChoices_RefusesWhatCouldNotBeFoundAgain(t *testing.T) {
	c := newChoices(start(t).store, time.Now)
	for _, one := range []noted{
		{App: "../x", Device: "d", choice: choice{Channel: "beta", Since: time.Now()}},
		{App: testApp, Device: "", choice: choice{Channel: "beta", Since: time.Now()}},
		{App: testApp, Device: "a b", choice: choice{Channel: "beta", Since: time.Now()}},
		{App: testApp, Device: "d", choice: choice{Channel: "be/ta", Since: time.Now()}},
	} {
		if err := c.take(one); err == nil {
			t.Errorf("%+v is kept", one)
		}
	}
	// A clock that is years ahead must not keep the device for years.
	if err := c.take(noted{App: testApp, Device: "d", choice: choice{Channel: "beta", Since: time.Now().AddDate(9, 0, 0)}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Choose(testApp, "d", "production"); err != nil || c.Chosen(testApp, "d") != "production" {
		t.Errorf("it stays at %q, %v", c.Chosen(testApp, "d"), err)
	}
}

func TestChoices_InventedDevicesLockNobodyOut(t *testing.T) {
	f := start(t)
	c := newChoices(f.store, time.Now)
	c.most = 100
	choose := func(device string) {
		t.Helper()
		one := choice{Channel: "beta", Since: time.Now()}
		if err := c.take(noted{App: testApp, Device: device, choice: one}); err != nil {
			t.Fatal(err)
		}
	}
	chosen := func(device string) string {
		c.mu.Lock()
		defer c.mu.Unlock()
		one, _ := c.find(choiceKind + testApp + "/" + device)
		return one.Channel
	}
	for i := range 50 {
		choose(fmt.Sprint("real-", i))
		if c.Chosen(testApp, fmt.Sprint("real-", i)) != "beta" { // it asks for updates
			t.Fatal("a choice is not there at once")
		}
	}
	for i := range 500 {
		choose(fmt.Sprint("invented-", i))
	}
	if err := c.Choose(testApp, "late", "beta"); err != nil || c.Chosen(testApp, "late") != "beta" {
		t.Errorf("a device can choose nothing after that: %v", err)
	}
	if err := c.flush(); err != nil {
		t.Fatal(err)
	}
	c = newChoices(f.store, time.Now) // what was confirmed is kept
	c.most = 100
	for i := range 500 {
		choose(fmt.Sprint("more-", i))
	}
	for i := range 50 {
		if device := fmt.Sprint("real-", i); chosen(device) != "beta" {
			t.Errorf("%s has lost its choice to devices that never ask for updates", device)
		}
	}
	if chosen("late") != "beta" || chosen("more-499") != "beta" || chosen("more-0") != "" {
		t.Error("it is not the oldest ones that give way")
	}
	if err := c.flush(); err != nil {
		t.Fatal(err)
	}
	kept := 0
	for range f.store.States(choiceKind + testApp + "/") {
		kept++
	}
	if kept != 100 {
		t.Errorf("%d choices are kept, want 100", kept)
	}
	// Even where all of them ask for updates, the next one has its turn.
	for i := range 200 {
		choose(fmt.Sprint("asking-", i))
		c.Chosen(testApp, fmt.Sprint("asking-", i))
	}
	if chosen("asking-199") != "beta" || chosen("asking-0") != "" {
		t.Error("where all are confirmed, the oldest does not give way")
	}
}

func TestChoices_ShareOneWrite(t *testing.T) {
	c := newChoices(start(t).store, time.Now)
	c.writing.Lock() // none is written now
	const devices = 64
	errs := make(chan error, devices)
	for i := range devices {
		go func() { errs <- c.Choose(testApp, fmt.Sprint("device-", i), "beta") }()
	}
	until(t, "all of them wait for one write", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.batch != nil && len(c.batch.states) == devices
	})
	select {
	case err := <-errs:
		t.Errorf("a choice is acknowledged before it is durable: %v", err)
	default:
	}
	c.writing.Unlock()
	for range devices {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for i := range devices {
		if _, err := c.store.State(choiceKind + testApp + "/" + fmt.Sprint("device-", i)); err != nil {
			t.Errorf("device %d: %v", i, err)
		}
	}
}

func TestJournal_TellsWhatIsNewOrAll(t *testing.T) {
	var j journal
	first := j.begin(time.Now())
	if changes, sequence, enough := j.after(first); !enough || len(changes) != 0 || sequence != first {
		t.Errorf("at its start it is %v at %d, %v", changes, sequence, enough)
	}
	if _, _, enough := j.after(first - 1); enough {
		t.Error("what was before a restart is not in RAM")
	}
	for i := range 3 * recentChoices {
		j.add(noted{Device: fmt.Sprint(i)})
	}
	changes, last, enough := j.after(first + 3*recentChoices - 2)
	if !enough || len(changes) != 2 || changes[1].Device != fmt.Sprint(3*recentChoices-1) {
		t.Errorf("the last two are %v at %d, %v", changes, last, enough)
	}
	if _, _, enough := j.after(first + 1); enough || len(j.recent) > recentChoices {
		t.Errorf("it keeps %d changes", len(j.recent))
	}
}

func FuzzChoicePage(f *testing.F) {
	f.Add([]byte(`{"choices":[{"app":"com.acme.shop","device":"d","channel":"beta","since":"2026-01-01T00:00:00Z"}],"sequence":7}`))
	f.Add([]byte(`{"choices":[{}],"next":"x"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var answer page
		var err error
		cost.Check(t, len(raw), func() {
			answer = page{}
			err = json.Unmarshal(raw, &answer)
		})
		if err != nil {
			return
		}
		for _, one := range answer.Choices {
			if one.check() == nil && (one.Device == "" || len(one.Device) > maxDevice) {
				t.Errorf("%q passes", one.Device)
			}
		}
	})
}

func TestFleet_ChoicesAreForTheFleetOnly(t *testing.T) {
	f := startFleet(t, 1)
	if resp, body := f.nodes[0].get(protocol.FleetChoicesPath + "?after=0"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger gets %s %s", resp.Status, body)
	}
}
