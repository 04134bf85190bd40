package node

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"brink/channel"
	"brink/node/internal/represent"
	"brink/node/internal/stats"
	"brink/node/tally"
	"brink/protocol"
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
	f.stats.Tally().Event(tally.Event{App: testApp, Version: "1.1.0", Action: "set", Device: "d"})
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

	f.stats.Save(t.Context()) // figures of devices are those of the last time
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
	f.stats.Tally().Event(tally.Event{App: "com.acme.made.up", Action: "set", Device: "a"})
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
	if a := f.stats.Tally().Activity(); len(a) != 1 || a[0].Devices != 1 {
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

// onlyApp has the test's app, which has served no version.
type onlyApp struct{}

func (onlyApp) Apps() []string                       { return []string{testApp} }
func (onlyApp) Has(app string) bool                  { return app == testApp }
func (onlyApp) HasVersion(string, string) bool       { return false }
func (onlyApp) Owner(string) (*channel.Trust, error) { return nil, nil }

// What was kept of an app that had no channel when the node began is not written over, and told.
func TestNode_TakesUpStatisticsOfAnAppThatComesLater(t *testing.T) {
	f := start(t)
	former, err := stats.New(stats.Config{Store: f.store, Apps: onlyApp{}, Logger: f.config.Logger, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	former.Tally().Check(testApp, "1.0.0", tally.UpToDate, "a")
	former.Save(t.Context())
	f.publish("1.0.0")
	f.ask(`{"id":"b","version":"1.0.0"}`)
	for range 2 {
		got := f.told("app=" + testApp)
		if n := countsOf(got)["1.0.0 check.up_to_date"]; n != 2 || got.Months[0].Devices != 2 {
			t.Errorf("%d checks of %d devices, want 2 of 2", n, got.Months[0].Devices)
		}
		f.stats.Save(t.Context())
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
	m := f.state.Manifest(testApp, "production")
	old := m.History[2]
	if old.Version != "1.0.0" {
		t.Fatalf("the history is %v", m.History)
	}
	for release, want := range map[*channel.Release]bool{&old: true, &m.History[0]: true, &m.History[1]: false} {
		from := represent.Dictionary{Subject: represent.ArchiveOf(release), Name: release.SHA256}
		d, _ := from.PatchFor(represent.ArchiveOf(&m.Release))
		if _, err := f.store.Derived(d.Key()); (err == nil) != want {
			t.Errorf("a patch from %s: %v, want %t", release.Version, err, want)
		}
	}
}

func TestStats_CountACheckWithoutAllocation(t *testing.T) {
	f := start(t)
	f.publish("1.0.0")
	m := f.state.Manifest(testApp, "production")
	d := &protocol.Device{ID: "5f0c21aa-0000-4000-8000-000000000000", Bundle: m.Release.Bundle}
	f.stats.Check(m, d, channel.UpToDate)
	if got := testing.AllocsPerRun(500, func() { f.stats.Check(m, d, channel.UpToDate) }); got != 0 {
		t.Errorf("%.0f allocations", got)
	}
	unknown := &protocol.Device{ID: "a", Version: "0.0.1-made-up"}
	for i := range tally.MaxUnknownVersions {
		f.stats.Check(m, &protocol.Device{Version: fmt.Sprintf("0.0.1-%d", i)}, channel.None)
	}
	f.stats.Check(m, unknown, channel.None)
	if got := testing.AllocsPerRun(500, func() { f.stats.Check(m, unknown, channel.None) }); got != 0 {
		t.Errorf("%.0f allocations for a version that is over the bounds", got)
	}
}
