package choices

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"brink/store"
)

const testApp = "com.acme.shop"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a store and closes it when t ends.
func open(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{Dir: t.TempDir(), Quota: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// until waits for a condition that nothing tells of.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	late := time.After(time.Minute)
	for !is() {
		select {
		case <-ticker.C:
		case <-late:
			t.Fatalf("in a minute it never was so that %s", what)
		}
	}
}

func TestChoices_TheLaterOneCountsInAnyOrder(t *testing.T) {
	at := func(seconds int) time.Time { return time.Now().Add(time.Duration(seconds-100) * time.Second).UTC() }
	made := []entry{
		{App: testApp, Device: "d", choice: choice{Channel: "beta", Since: at(1)}},
		{App: testApp, Device: "d", choice: choice{Channel: "production", Since: at(3)}},
		{App: testApp, Device: "d", choice: choice{Since: at(2)}},
	}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {1, 0, 2}} {
		c := New(open(t), time.Now)
		for _, i := range order {
			if err := c.merge(made[i]); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.Chosen(testApp, "d"); got != "production" {
			t.Errorf("in the order %v it is %q", order, got)
		}
	}
}

func TestChoices_RefusesWhatCouldNotBeFoundAgain(t *testing.T) {
	c := New(open(t), time.Now)
	for _, one := range []entry{
		{App: "../x", Device: "d", choice: choice{Channel: "beta", Since: time.Now()}},
		{App: testApp, Device: "", choice: choice{Channel: "beta", Since: time.Now()}},
		{App: testApp, Device: "a b", choice: choice{Channel: "beta", Since: time.Now()}},
		{App: testApp, Device: "d", choice: choice{Channel: "be/ta", Since: time.Now()}},
	} {
		if err := c.merge(one); err == nil {
			t.Errorf("%+v is kept", one)
		}
	}
	// A clock that is years ahead must not keep the device for years.
	if err := c.merge(entry{App: testApp, Device: "d", choice: choice{Channel: "beta", Since: time.Now().AddDate(9, 0, 0)}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Choose(testApp, "d", "production"); err != nil || c.Chosen(testApp, "d") != "production" {
		t.Errorf("it stays at %q, %v", c.Chosen(testApp, "d"), err)
	}
}

func TestChoices_InventedDevicesLockNobodyOut(t *testing.T) {
	s := open(t)
	c := New(s, time.Now)
	c.limit = 100
	choose := func(device string) {
		t.Helper()
		one := choice{Channel: "beta", Since: time.Now()}
		if err := c.merge(entry{App: testApp, Device: device, choice: one}); err != nil {
			t.Fatal(err)
		}
	}
	chosen := func(device string) string {
		c.mu.Lock()
		defer c.mu.Unlock()
		one, _ := c.find(kind + testApp + "/" + device)
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
	c = New(s, time.Now) // what was confirmed is kept
	c.limit = 100
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
	for range s.States(kind + testApp + "/") {
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
	c := New(open(t), time.Now)
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
		if _, err := c.store.State(kind + testApp + "/" + fmt.Sprint("device-", i)); err != nil {
			t.Errorf("device %d: %v", i, err)
		}
	}
}
