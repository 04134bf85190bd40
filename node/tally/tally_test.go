package tally

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

const app = "com.acme.shop"

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// start returns a Tally that counts apps that begin with "com." and knows versions that begin with "1.".
func start(t testing.TB, c *clock) *Tally {
	t.Helper()
	tally, err := New(Config{
		Claimed: func(app string) bool { return strings.HasPrefix(app, "com.") },
		Known:   func(_, version string) bool { return strings.HasPrefix(version, "1.") },
		Now:     c.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return tally
}

// adopt tells the tally that nothing was kept before.
func adopt(t testing.TB, tally *Tally) {
	t.Helper()
	for _, key := range tally.Missing() {
		if err := tally.Restore(key, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// counts returns what was counted today.
func counts(tally *Tally) Counts {
	return tally.Part(app).Days[DayOf(tally.config.Now())]
}

func TestTally_CountsChecksAndEvents(t *testing.T) {
	c := newClock()
	tally := start(t, c)
	tally.Check(app, "1.0.0", Update, "a")
	tally.Check(app, "1.0.0", Update, "b")
	tally.Check(app, "1.1.0", UpToDate, "a")
	tally.Check(app, "", None, "")
	tally.Event(Event{App: app, Version: "1.1.0", OldVersion: "1.0.0", Action: "set", Device: "c"})
	tally.Event(Event{App: app, Version: "1.1.0:js/app.js", Action: "download_manifest_file_fail", Device: "c"})
	tally.Event(Event{App: app, Version: "1.1.0", Action: "my_own", Device: "c"})
	tally.Event(Event{App: app, Version: "a b", Action: "check.update", Device: "c"})
	tally.Event(Event{App: "org.other", Action: "set"})
	want := Counts{
		{"1.0.0", CheckUpdate}:                   2,
		{"1.1.0", CheckUpToDate}:                 1,
		{"", CheckNone}:                          1,
		{"1.0.0", Seen}:                          2,
		{"1.1.0", "set"}:                         1,
		{"1.0.0", "uninstall"}:                   1,
		{"1.1.0", "download_manifest_file_fail"}: 1,
		{"1.1.0", "my_own"}:                      1,
		{Other, Other}:                           1,
	}
	if diff := cmp.Diff(want, counts(tally)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	devices := tally.Part(app).Months[DayOf(c.Now()).Month()]
	if got := devices.Count(); got != 3 {
		t.Errorf("%d devices, want 3", got)
	}
	if part := tally.Part("org.other"); len(part.Days) != 0 {
		t.Errorf("an app that nobody claims was counted: %v", part.Days)
	}
	activity := tally.Activity()
	wantClasses := [ClassCount]uint64{ClassCheck: 4, ClassInstall: 1, ClassFailure: 1, ClassOther: 2}
	if len(activity) != 1 || activity[0].App != app || activity[0].Classes != wantClasses {
		t.Errorf("activity = %+v, want %v", activity, wantClasses)
	}
}

func TestTally_OpensAPageEachDay(t *testing.T) {
	c := newClock()
	tally := start(t, c)
	tally.Check(app, "1.0.0", Update, "a")
	c.add(8 * 24 * time.Hour) // to December
	tally.Check(app, "1.0.0", Update, "a")
	c.add(-24 * time.Hour) // a clock that goes back
	tally.Check(app, "1.0.0", Update, "b")
	part := tally.Part(app)
	got := map[string]uint64{}
	for day, counts := range part.Days {
		got[day.String()] = counts[Cell{"1.0.0", CheckUpdate}]
	}
	for month, devices := range part.Months {
		got[month.String()] = devices.Count()
	}
	want := map[string]uint64{"2026-11-23": 1, "2026-12-01": 2, "2026-11": 1, "2026-12": 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
}

// What devices make up takes a share of a page and no more: what publishers have named and what the node counts itself
// is still told apart.
func TestTally_DevicesDoNotDisplaceOwnCounts(t *testing.T) {
	tally := start(t, newClock())
	flood := func() {
		for i := range 3000 {
			tally.Event(Event{App: app, Version: fmt.Sprintf("9.0.%d", i), Action: fmt.Sprintf("a%d", i%100)})
		}
		for action := range tally.known {
			for i := range MaxVersions - MaxUnknownVersions {
				tally.Event(Event{App: app, Version: fmt.Sprintf("1.0.%d", i), Action: action})
			}
		}
	}
	flood()
	for i := range MaxVersions - MaxUnknownVersions {
		for outcome := range None + 1 {
			tally.Check(app, fmt.Sprintf("1.0.%d", i), outcome, "")
		}
	}
	flood()
	got := counts(tally)
	for i := range MaxVersions - MaxUnknownVersions {
		for outcome := range None + 1 {
			if cell := (Cell{fmt.Sprintf("1.0.%d", i), outcome.action()}); got[cell] != 1 {
				t.Fatalf("%v counts %d, want 1", cell, got[cell])
			}
		}
	}
	versions, unknown, actions := map[string]bool{}, map[string]bool{}, map[string]bool{}
	var total uint64
	for cell, n := range got {
		total += n
		versions[cell.Version] = true
		if strings.HasPrefix(cell.Version, "9.") {
			unknown[cell.Version] = true
		}
		if _, known := tally.known[cell.Action]; !known {
			actions[cell.Action] = true
		}
	}
	if len(unknown) != MaxUnknownVersions || len(versions) > MaxVersions+2 || len(actions) != MaxUnknownActions {
		t.Errorf("%d versions, %d unknown ones, %d unknown actions", len(versions), len(unknown), len(actions))
	}
	if len(got) > MaxCells {
		t.Errorf("%d cells", len(got))
	}
	kept := MaxVersions - MaxUnknownVersions
	if want := uint64(2*(3000+len(tally.known)*kept) + kept*int(None+1)); total != want {
		t.Errorf("%d counted in all, want %d: nothing is lost, it only loses its name", total, want)
	}
}

func TestTally_BoundsApps(t *testing.T) {
	tally := start(t, newClock())
	for i := range MaxApps + 7 {
		tally.Check(fmt.Sprintf("com.app%d", i), "", None, "")
	}
	if got := tally.Dropped(); got != 7 || len(tally.all()) != MaxApps {
		t.Errorf("%d apps, %d dropped", len(tally.all()), got)
	}
	for _, name := range []string{"com./", "com.a/b", "com.\x00", "com." + strings.Repeat("a", MaxApp)} {
		tally.Check(name, "", None, "")
		if len(tally.Part(name).Days) != 0 {
			t.Errorf("%q was counted", name)
		}
	}
}

// A million devices, each with what it makes up, take what ten thousand took.
func TestTally_DoesNotGrowWithDevices(t *testing.T) {
	tally := start(t, newClock())
	adopt(t, tally)
	id := []byte("00000000-0000-4000-8000-000000000000")
	next := 0
	one := func() {
		next++
		for n, i := next, len(id)-1; n > 0; n, i = n/10, i-1 {
			id[i] = byte('0' + n%10)
		}
		device := unsafe.String(&id[0], len(id)) // a new text for each would be the only thing to allocate
		if next%2 == 0 {
			tally.Check(app, device[24:], Update, device)
		} else {
			tally.Event(Event{App: app, Version: device[28:], Action: device[24:], Device: device})
		}
	}
	const devices = 1_000_000
	for next < 50_000 {
		one()
	}
	// Its sketch is dense and its names are at their bounds by now: from here on nothing is allocated at all.
	if got := testing.AllocsPerRun(devices-next-1, one); got != 0 {
		t.Errorf("%.0f allocations for a device", got)
	}
	part := tally.Part(app)
	page := part.Days[DayOf(tally.config.Now())]
	month := part.Months[DayOf(tally.config.Now()).Month()]
	if len(page) > MaxCells || len(page.encode()) > MaxCounts || len(month.encode()) > maxDevices {
		t.Errorf("%d cells of %d bytes, a sketch of %d", len(page), len(page.encode()), len(month.encode()))
	}
	if got := month.Count(); got < devices*97/100 || got > devices*103/100 {
		t.Errorf("%d devices, want about %d", got, devices)
	}
	if seen := page[Cell{Other, Seen}]; seen == 0 || seen > 1<<16 {
		t.Errorf("%d were seen", seen)
	}
}

func TestTally_DoesNotAllocateForExistingCounters(t *testing.T) {
	tally := start(t, newClock())
	run := func() {
		tally.Check(app, "1.0.0", Update, "5f0c21aa-0000-4000-8000-000000000000")
		tally.Event(Event{App: app, Version: "1.0.0", Action: "set", OldVersion: "0.9.0", Device: "5f0c21aa"})
	}
	run()
	if got := testing.AllocsPerRun(1000, run); got != 0 {
		t.Errorf("%.0f allocations", got)
	}
}

// Servers reuse the memory of a request for the next one.
func TestTally_KeepsNoBytesOfItsCallers(t *testing.T) {
	tally := start(t, newClock())
	for range 2 { // the second time writes to what is there
		raw := []byte(app + "1.0.0set")
		text := unsafe.String(&raw[0], len(raw))
		tally.Event(Event{App: text[:len(app)], Version: text[len(app) : len(app)+5], Action: text[len(app)+5:]})
		clear(raw)
	}
	if diff := cmp.Diff(Counts{{"1.0.0", "set"}: 2}, counts(tally)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestTally_PopularReturnsTheVersionOfMostDevices(t *testing.T) {
	c := newClock()
	tally := start(t, c)
	all := func(string) bool { return true }
	if v, ok := tally.Popular(app, all); ok {
		t.Errorf("%s is popular before anybody asked", v)
	}
	for i := range 30 {
		tally.Check(app, "1.1.0", Update, fmt.Sprint("device ", i%3)) // three devices, each ten times
	}
	for i := range 10 {
		tally.Check(app, "1.0.0", Update, fmt.Sprint("other ", i%5))
		tally.Check(app, "", Update, fmt.Sprint("unknown ", i))
		tally.Check(app, "!", Update, fmt.Sprint("strange ", i))
	}
	popular := func(want string, wantOK bool, among func(string) bool) {
		t.Helper()
		if v, ok := tally.Popular(app, among); v != want || ok != wantOK {
			t.Errorf("Popular = %q, %t, want %q", v, ok, want)
		}
	}
	not := func(no string) func(string) bool { return func(v string) bool { return v != no } }
	popular("1.0.0", true, all)
	popular("1.1.0", true, not("1.0.0"))
	popular("", false, func(string) bool { return false })
	c.add(24 * time.Hour)
	tally.Event(Event{App: app, Version: "1.1.0", Action: "set", Device: "x"})
	popular("1.0.0", true, all) // nobody was seen today
	tally.Check(app, "1.1.0", Update, "device 0")
	popular("1.1.0", true, all)
}

func TestTally_CountsConcurrently(t *testing.T) {
	c := newClock()
	tally := start(t, c)
	const workers, each = 8, 500
	store := map[string][]byte{}
	var counting, keeping sync.WaitGroup
	done := make(chan struct{})
	keeping.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-tally.Changed():
				for _, key := range tally.Missing() {
					if err := tally.Restore(key, store[key]); err != nil {
						t.Error(err)
					}
				}
				records := tally.Changes()
				for _, r := range records {
					store[r.Key] = r.Data
				}
				tally.Saved(records)
				tally.Part(app)
				tally.Popular(app, func(string) bool { return true })
				tally.Activity()
			}
		}
	})
	for worker := range workers {
		counting.Go(func() {
			for i := range each {
				tally.Check(app, fmt.Sprintf("1.0.%d", i%7), Update, fmt.Sprint(worker, " ", i))
				if worker == 0 && i == each/2 {
					c.add(24 * time.Hour)
				}
			}
		})
	}
	counting.Wait()
	close(done)
	keeping.Wait()
	adopt(t, tally)
	for _, r := range tally.Changes() {
		store[r.Key] = r.Data
	}
	var total uint64
	for key, raw := range store {
		if len(key) == len(KeyPrefix+app+"/2026-11") {
			continue
		}
		counts, err := ParseCounts(raw)
		if err != nil {
			t.Fatal(err)
		}
		for cell, n := range counts {
			if cell.Action == CheckUpdate {
				total += n
			}
		}
	}
	if total != workers*each {
		t.Errorf("%d checks, want %d", total, workers*each)
	}
}

func TestConfig_RequiresFunctions(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("New took a Config that says nothing")
	}
}

func TestKnownActions_FitIntoAPage(t *testing.T) {
	known := KnownActions()
	if n := len(known) + MaxUnknownActions; n > maxActions {
		t.Errorf("a page may have %d actions, its encoding has room for %d", n, maxActions)
	}
	var own int
	for action := range known {
		if len(action) > MaxAction {
			t.Errorf("%s is too long", action)
		}
		if strings.Contains(action, ".") {
			own++
			if isAction(action) {
				t.Errorf("a device may send %s", action)
			}
		} else if !isAction(action) {
			t.Errorf("no device may send %s", action)
		}
	}
	if own*(MaxVersions+2) > ownCells {
		t.Errorf("%d actions are the node's own, and there is no room for each version", own)
	}
	labels := []string{}
	for class := range ClassCount {
		labels = append(labels, class.String())
	}
	if slices.Sort(labels); len(slices.Compact(labels)) != int(ClassCount) {
		t.Errorf("two classes have one label: %v", labels)
	}
}
