package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"brink/channel"
	"brink/node/tally"
	"brink/protocol"
	"brink/store"
)

// ask sends a check of a device, given as JSON.
func (f *fixture) ask(device string) {
	f.t.Helper()
	body := strings.NewReader(`{"channel":"production","device":` + device + `}`)
	if resp, raw := f.do("POST", protocol.CheckPath(testApp), body); resp.StatusCode != 200 {
		f.t.Fatalf("check: %s %s", resp.Status, raw)
	}
}

// told asks the operators' listener for statistics.
func (f *fixture) told(query string) tally.Summary {
	f.t.Helper()
	status, body := f.admin("/stats?" + query)
	var s tally.Summary
	if err := json.Unmarshal([]byte(body), &s); err != nil || status != 200 {
		f.t.Fatalf("/stats?%s: %d %s", query, status, body)
	}
	return s
}

// countsOf returns the counters of a summary's newest day.
func countsOf(s tally.Summary) map[string]uint64 {
	got := map[string]uint64{}
	if len(s.Days) > 0 {
		for _, c := range s.Days[0].Counts {
			got[c.Version+" "+c.Action] = c.Count
		}
	}
	return got
}

func TestNode_CountsWhatDevicesAskFor(t *testing.T) {
	f := start(t)
	first := f.publish("1.0.0")
	f.publish("1.1.0")
	f.ask(`{"id":"a","version":"1.0.0"}`)
	f.ask(`{"id":"b","bundle":"` + first.Bundle.String() + `"}`)
	f.ask(`{"id":"a","version":"1.1.0"}`)
	f.ask(`{"id":"c","version":"9.0.0"}`)
	f.ask(`{}`)
	f.stats.tally.Event(tally.Event{App: testApp, Version: "1.1.0", Action: "set", Device: "d"})
	want := map[string]uint64{
		"1.0.0 check.update": 2, "1.0.0 device.seen": 2, "1.1.0 check.up_to_date": 1, "9.0.0 check.none": 1,
		"9.0.0 device.seen": 1, " check.update": 1, "1.1.0 set": 1,
	}
	got := f.told("app=" + testApp)
	if diff := cmp.Diff(want, countsOf(got)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if len(got.Months) != 1 || got.Months[0].Devices != 4 {
		t.Errorf("months = %v, want one with 4 devices", got.Months)
	}
	only := map[string]uint64{"1.1.0 check.up_to_date": 1, "1.1.0 set": 1}
	if diff := cmp.Diff(only, countsOf(f.told("version=1.1.0&days=1&app="+testApp))); diff != "" {
		t.Errorf("counts of one version (-want +got):\n%s", diff)
	}

	f.stats.keep(t.Context()) // figures of devices are those of the last time
	_, metrics := f.admin("/metrics")
	for _, line := range []string{
		`brink_device_events_total{app="com.acme.shop",class="check"} 5`,
		`brink_device_events_total{app="com.acme.shop",class="install"} 1`,
		`brink_devices_active_month{app="com.acme.shop"} 4`, "brink_stats_dropped_total 0",
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
}

func TestNode_TellsStatisticsToOperatorsOnly(t *testing.T) {
	f := start(t)
	f.publish("1.0.0")
	if resp, _ := f.get("/stats?app=" + testApp); resp.StatusCode != 404 {
		t.Errorf("the public listener serves statistics: %d", resp.StatusCode)
	}
	if got := f.told("app=" + testApp); len(got.Days) != 0 || got.App != testApp {
		t.Errorf("before anybody asked, it tells %+v", got)
	}
	for query, code := range map[string]string{
		"":                             protocol.CodeBadRequest,
		"app=org.stranger":             protocol.CodeUnknownApp,
		"days=x&app=" + testApp:        protocol.CodeBadRequest,
		"days=0&app=" + testApp:        protocol.CodeBadRequest,
		"days=401&app=" + testApp:      protocol.CodeBadRequest,
		"days=-9999999&app=" + testApp: protocol.CodeBadRequest,
	} {
		status, body := f.admin("/stats?" + query)
		if p := protocol.ReadProblem(status, []byte(body)); p.Code != code {
			t.Errorf("/stats?%s: %v, want %s", query, p, code)
		}
	}
	// An app that nobody has published counts for nothing, though trust claims it.
	f.stats.tally.Event(tally.Event{App: "com.acme.made.up", Action: "set", Device: "a"})
	if got := f.told("app=com.acme.made.up"); len(got.Days)+len(got.Months) != 0 {
		t.Errorf("it was counted: %+v", got)
	}
}

func TestNode_RemembersStatistics(t *testing.T) {
	var ahead atomic.Int64
	f := start(t, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	f.publish("1.0.0")
	f.ask(`{"id":"a","version":"1.0.0"}`)
	f.restart()
	if a := f.stats.tally.Activity(); len(a) != 1 || a[0].Devices != 1 {
		t.Errorf("it begins with %+v, want the device of before", a)
	}
	f.ask(`{"id":"b","version":"1.0.0"}`)
	ahead.Store(int64(24 * time.Hour))
	f.restart()
	f.ask(`{"id":"c","version":"1.0.0"}`)
	got := f.told("app=" + testApp)
	var checks []uint64
	for _, day := range got.Days {
		for _, c := range day.Counts {
			if c.Action == tally.CheckUpToDate {
				checks = append(checks, c.Count)
			}
		}
	}
	if diff := cmp.Diff([]uint64{1, 2}, checks); diff != "" {
		t.Errorf("checks by day, newest first (-want +got):\n%s", diff)
	}
	if days := f.told("days=1&app=" + testApp).Days; len(days) != 1 {
		t.Errorf("one day is asked for, and %d come", len(days))
	}
}

// What was kept of an app that had no channel when the node began is not written over, and told.
func TestNode_TakesUpStatisticsOfAnAppThatComesLater(t *testing.T) {
	f := start(t)
	former, _, _ := fakeStats(t, 0)
	former.channels.set(&channel.Manifest{App: testApp, Channel: "production"})
	former.tally.Check(testApp, "1.0.0", tally.UpToDate, "a")
	former.keeper = f.store
	former.keep(t.Context())
	f.publish("1.0.0")
	f.ask(`{"id":"b","version":"1.0.0"}`)
	for range 2 {
		got := f.told("app=" + testApp)
		if n := countsOf(got)["1.0.0 check.up_to_date"]; n != 2 || got.Months[0].Devices != 2 {
			t.Errorf("%d checks of %d devices, want 2 of 2", n, got.Months[0].Devices)
		}
		f.stats.keep(t.Context())
	}
}

func TestNode_PreparesForWhatMostDevicesRun(t *testing.T) {
	f := start(t, func(c *Config) { c.PatchReleases = 1 })
	for _, version := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		f.publish(version)
	}
	for i := range 5 {
		f.ask(fmt.Sprintf(`{"id":"%d","version":"1.0.0"}`, i))
	}
	f.ask(`{"id":"x","version":"1.1.0"}`)
	f.ask(`{"id":"y","version":"7.0.0"}`)
	f.publish("1.3.0")
	m := f.channels.get(testApp, "production")
	old := m.History[2]
	if old.Version != "1.0.0" {
		t.Fatalf("the history is %v", m.History)
	}
	for release, want := range map[*channel.Release]bool{&old: true, &m.History[0]: true, &m.History[1]: false} {
		d, _ := dictionaryOf(release).patchFor(archiveOf(&m.Release))
		if _, err := f.store.Derived(d.key()); (err == nil) != want {
			t.Errorf("a patch from %s: %v, want %t", release.Version, err, want)
		}
	}
}

func TestStats_CountACheckWithoutAllocation(t *testing.T) {
	f := start(t)
	f.publish("1.0.0")
	m := f.channels.get(testApp, "production")
	d := &protocol.Device{ID: "5f0c21aa-0000-4000-8000-000000000000", Bundle: m.Release.Bundle}
	f.stats.check(m, d, channel.UpToDate)
	if got := testing.AllocsPerRun(500, func() { f.stats.check(m, d, channel.UpToDate) }); got != 0 {
		t.Errorf("%.0f allocations", got)
	}
	unknown := &protocol.Device{ID: "a", Version: "0.0.1-made-up"}
	for i := range tally.MaxUnknownVersions {
		f.stats.check(m, &protocol.Device{Version: fmt.Sprintf("0.0.1-%d", i)}, channel.None)
	}
	f.stats.check(m, unknown, channel.None)
	if got := testing.AllocsPerRun(500, func() { f.stats.check(m, unknown, channel.None) }); got != 0 {
		t.Errorf("%.0f allocations for a version that is over the bounds", got)
	}
}

// fakeKeeper is a store that can fail, and checks that it is not asked for too much.
type fakeKeeper struct {
	t      *testing.T
	mu     sync.Mutex
	states map[string][]byte
	fails  error
	puts   int
}

func (k *fakeKeeper) PutState(_ context.Context, states map[string][]byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fails != nil {
		return k.fails
	}
	k.puts++
	total := 0
	for key, value := range states {
		total += len(key) + len(value) + 64
		if value == nil {
			delete(k.states, key)
		} else {
			k.states[key] = bytes.Clone(value)
		}
		if len(value) > store.MaxState || len(key) > store.MaxStateKey {
			k.t.Errorf("%s has %d bytes", key, len(value))
		}
	}
	if len(states) > store.MaxStates || total > store.MaxStatesBytes {
		k.t.Errorf("%d states of %d bytes at once", len(states), total)
	}
	return nil
}

func (k *fakeKeeper) State(key string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if value, ok := k.states[key]; ok {
		return value, nil
	}
	return nil, store.ErrNotFound
}

func (k *fakeKeeper) States(prefix string) iter.Seq2[string, []byte] {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := map[string][]byte{}
	for key, value := range k.states {
		if strings.HasPrefix(key, prefix) {
			found[key] = value
		}
	}
	return maps.All(found)
}

func (k *fakeKeeper) len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.states)
}

// fakeStats returns statistics on a fake store, of so many apps, and what is logged.
func fakeStats(t *testing.T, apps int) (*stats, *fakeKeeper, *bytes.Buffer) {
	t.Helper()
	keeper := &fakeKeeper{t: t, states: map[string][]byte{}}
	c := newChannels()
	for i := range apps {
		c.set(&channel.Manifest{App: fmt.Sprintf("com.app%d", i), Channel: "production"})
	}
	logs := &bytes.Buffer{}
	s, err := newStats(keeper, c, Config{Now: time.Now, Logger: slog.New(slog.NewTextHandler(logs, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s, keeper, logs
}

func TestStats_AreKeptSoonAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, keeper, _ := fakeStats(t, 1)
		stale := tally.DayKey("com.gone", tally.DayOf(time.Now())-tally.KeepDays)
		recent := tally.DayKey("com.gone", tally.DayOf(time.Now())-1)
		keeper.states[stale], keeper.states[recent] = []byte{1}, []byte{1}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.run(ctx) })
		synctest.Wait()
		if keeper.states[stale] != nil || keeper.states[recent] == nil {
			t.Error("the sweep did not remove what is too old, or more")
		}
		puts := keeper.puts
		<-time.After(time.Hour)
		synctest.Wait()
		if keeper.puts != puts {
			t.Error("something was written though nothing was counted")
		}

		s.tally.Check("com.app0", "1.0.0", tally.Update, "a")
		<-time.After(statsInterval + time.Millisecond)
		synctest.Wait()
		if keeper.len() != 3 { // recent, a day, a month
			t.Errorf("%d states are kept after %s", keeper.len(), statsInterval)
		}
		key := tally.DayKey("com.app0", tally.DayOf(time.Now()))
		for range 2 {
			s.tally.Check("com.app0", "1.0.0", tally.Update, "a")
		}
		cancel()
		running.Wait()
		counts, err := tally.ParseCounts(keeper.states[key])
		if got := counts[tally.Cell{Version: "1.0.0", Action: tally.CheckUpdate}]; err != nil || got != 3 {
			t.Errorf("%d checks are kept at the end, %v, want 3", got, err)
		}
	})
}

func TestStats_WaitWhileNothingCanBeWritten(t *testing.T) {
	s, keeper, logs := fakeStats(t, 1)
	keeper.fails = errors.New("no room")
	for range 3 {
		s.tally.Check("com.app0", "1.0.0", tally.Update, "a")
		s.keep(t.Context())
	}
	if n := strings.Count(logs.String(), "can not be kept"); n != 1 || keeper.len() != 0 {
		t.Errorf("it was told %d times, want once:\n%s", n, logs)
	}
	keeper.fails = nil
	s.keep(t.Context())
	if keeper.len() != 2 || !strings.Contains(logs.String(), "can be kept again") {
		t.Errorf("%d states are kept:\n%s", keeper.len(), logs)
	}
}

func TestStats_AreWrittenInPiecesThatTheStoreTakes(t *testing.T) {
	const apps = 100
	one, first, _ := fakeStats(t, 1)
	for i := range 9000 { // a sketch of 16 KiB
		one.tally.Event(tally.Event{App: "com.app0", Device: fmt.Sprint(i)})
	}
	one.keep(t.Context())
	month := tally.DayOf(time.Now()).Month()
	s, keeper, _ := fakeStats(t, apps)
	for _, app := range s.channels.apps() {
		keeper.states[tally.MonthKey(app, month)] = first.states[tally.MonthKey("com.app0", month)]
	}
	s.begin()
	for _, a := range s.tally.Activity() {
		if a.Devices < 8700 || a.Devices > 9300 {
			t.Errorf("%s has %d devices after a restart", a.App, a.Devices)
		}
		for i := range 100 {
			s.tally.Event(tally.Event{App: a.App, Device: fmt.Sprint("another ", i)})
		}
	}
	s.keep(t.Context())
	if keeper.len() != 2*apps || keeper.puts < 3 {
		t.Errorf("%d states are kept by %d writes", keeper.len(), keeper.puts)
	}
}

func TestStats_ManyAppsHaveFewMetrics(t *testing.T) {
	s, _, _ := fakeStats(t, maxStatsLabels+3)
	for _, app := range s.channels.apps() {
		s.tally.Check(app, "1.0.0", tally.Update, "a")
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var apps int
	var rest float64
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			switch {
			case family.GetName() == "brink_devices_active_month":
				apps++
			case labels["app"] == tally.Other && labels["class"] == "check":
				rest = m.GetCounter().GetValue()
			}
		}
	}
	if apps != maxStatsLabels || rest != 3 {
		t.Errorf("%d apps have metrics, and the others %.0f checks", apps, rest)
	}
}
