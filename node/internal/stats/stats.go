// Package stats counts checks and events of devices, stores the counts, and adds them up over the nodes of a fleet.
//
// The life of a count: package tally counts a check or an event in memory, during the request and without blocking.
// Changes are written to the store a few seconds later, and at the end. Operators get the sum over all nodes.
//
// The invariant: a stored count is only replaced by one that started from it, and counting delays no request.
package stats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"brink/channel"
	"brink/node/internal/serve"
	"brink/node/tally"
	"brink/protocol"
	"brink/store"
)

// interval is how long counts wait until they are saved. A process that is killed loses only these; one that is stopped
// loses nothing.
const interval = 5 * time.Second

// sweepInterval is how often statistics that are too old are removed, after the first time at the start.
const sweepInterval = 24 * time.Hour

// Bounds of one write of statistics, within those of store.PutState.
const (
	maxBatch = 500
	maxBytes = 512 << 10 // reached by the last record, which has 64 KiB at most
)

// localNode is the name of a node without a fleet in its counts.
const localNode = "local"

// Storage stores statistics: a [store.Store]. All methods may block for the disk.
type Storage interface {
	// PutState replaces the value under each key, and removes it if the new value is nil. Either all changes are durable
	// on return, or none. It accepts at most store.MaxStates and store.MaxStatesBytes, and copies the values.
	PutState(ctx context.Context, states map[string][]byte) error
	// State returns the value under a key, store.ErrNotFound or store.ErrDamaged. The caller owns the bytes.
	State(key string) ([]byte, error)
	// States yields the keys that begin with prefix and their values. It skips damaged ones.
	States(prefix string) iter.Seq2[string, []byte]
}

// Apps are the apps that may be counted. Its methods do not block.
type Apps interface {
	Apps() []string
	Has(app string) bool
	// HasVersion reports whether a channel of the app serves the version or has served it. It does not allocate.
	HasVersion(app, version string) bool
	// Owner returns the trust document that the app belongs to, or a problem if no org claims the app.
	Owner(app string) (*channel.Trust, error)
}

// Config is what [Stats] work with. All fields are required unless they say otherwise.
type Config struct {
	Node   string // name of this node, unique in its fleet; default: "local"
	Store  Storage
	Apps   Apps
	Extra  func(version string) bool // whether to count a version that no channel has served
	Fleet  Fleet                     // nil: there are no other nodes
	Logger *slog.Logger
	Now    func() time.Time
}

// Stats counts checks and events of devices, and stores the counts. Use [New], then [Stats.Start] and [Stats.Run].
type Stats struct {
	Config

	tally *tally.Tally

	saving  sync.Mutex // serialises Save
	failing bool       // whether the last Save failed; guarded by saving
}

// New returns statistics.
func New(config Config) (*Stats, error) {
	config.Node = cmp.Or(config.Node, localNode)
	counts, err := tally.New(tally.Config{
		Claimed: config.Apps.Has,
		Known: func(app, version string) bool {
			return config.Extra != nil && config.Extra(version) || config.Apps.HasVersion(app, version)
		},
		Now: config.Now,
	})
	return &Stats{Config: config, tally: counts}, err
}

// Tally returns the tally, whose methods do not block.
func (s *Stats) Tally() *tally.Tally { return s.tally }

// Start loads the stored counts of the apps in force.
func (s *Stats) Start() {
	for _, app := range s.Apps.Apps() {
		s.tally.Open(app)
	}
	s.load()
}

// Run saves counts soon after they have changed, and all of them when ctx ends.
func (s *Stats) Run(ctx context.Context) {
	defer func() { s.Save(context.WithoutCancel(ctx)) }()
	sweeps := time.NewTicker(sweepInterval)
	defer sweeps.Stop()
	s.sweep(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-sweeps.C:
			s.sweep(ctx)
			continue
		case <-s.tally.Changed():
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(interval):
		}
		s.Save(ctx)
	}
}

// load adds the stored counts to the pages that were opened since the last call.
func (s *Stats) load() {
	for _, key := range s.tally.Missing() {
		stored, err := s.Store.State(key)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrDamaged) {
			s.Logger.Warn("cannot read statistics for now", "key", key, "error", err)
			continue // they are not overwritten meanwhile
		}
		if err := s.tally.Restore(key, stored); err != nil {
			s.Logger.Error("cannot read statistics, counting starts again from zero", "error", err)
		}
	}
}

// Save makes changes durable. Those that cannot be saved now stay in memory: of today and the day before.
func (s *Stats) Save(ctx context.Context) {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.load()
	records := s.tally.Changes()
	for len(records) > 0 {
		states := map[string][]byte{}
		for size := 0; len(states) < min(len(records), maxBatch) && size < maxBytes; {
			r := records[len(states)]
			states[r.Key] = r.Data
			size += len(r.Data)
		}
		if err := s.Store.PutState(ctx, states); err != nil {
			if !s.failing {
				s.Logger.Warn("cannot save statistics", "error", err)
			}
			s.failing = true
			return
		}
		done := len(states)
		s.tally.Saved(records[:done])
		records = records[done:]
	}
	if s.failing {
		s.Logger.Info("statistics can be saved again")
	}
	s.failing = false
}

// sweep removes statistics that are too old.
func (s *Stats) sweep(ctx context.Context) {
	now := s.Now()
	stale := map[string][]byte{}
	remove := func() bool {
		if err := s.Store.PutState(ctx, stale); err != nil {
			s.Logger.Debug("cannot remove old statistics for now", "error", err)
			return false
		}
		clear(stale)
		return true
	}
	for key := range s.Store.States(tally.KeyPrefix) {
		if ctx.Err() != nil {
			return
		}
		if tally.Stale(key, now) {
			stale[key] = nil
		}
		if len(stale) == maxBatch && !remove() {
			return
		}
	}
	remove()
}

// Check counts a check of a device, and its outcome. Every check calls it, so it does not allocate if device and
// version have been counted before, and does not wait for the disk.
func (s *Stats) Check(m *channel.Manifest, d *protocol.Device, kind channel.Kind) {
	version := d.Version
	if version == "" && !d.Bundle.IsZero() {
		version = versionOf(m, d)
	}
	s.tally.Check(m.App, version, OutcomeOf(kind), d.ID)
}

// versionOf returns the version of the bundle that a device runs, or "" if it is not in the manifest.
func versionOf(m *channel.Manifest, d *protocol.Device) string {
	if m.Release.Bundle == d.Bundle {
		return m.Release.Version
	}
	for i := range m.History {
		if m.History[i].Bundle == d.Bundle {
			return m.History[i].Version
		}
	}
	return ""
}

// OutcomeOf returns the outcome as which a decision counts.
func OutcomeOf(kind channel.Kind) tally.Outcome {
	switch kind {
	case channel.UpToDate:
		return tally.UpToDate
	case channel.Update:
		return tally.Update
	case channel.Rollback:
		return tally.Rollback
	case channel.BuiltIn:
		return tally.BuiltIn
	default:
		return tally.None
	}
}

// Popular returns the index in the history of m of the release that most devices run, and false if no device is known
// to run one.
func (s *Stats) Popular(m *channel.Manifest) (int, bool) {
	find := func(version string) int {
		return slices.IndexFunc(m.History, func(r channel.Release) bool { return r.Version == version })
	}
	version, ok := s.tally.Popular(m.App, func(version string) bool { return find(version) >= 0 })
	if !ok {
		return 0, false
	}
	return find(version), true
}

// Snapshot returns the counts of an app on this node: its counters of the last days, today included, and its devices of
// the months of these days. It is empty for an app without statistics; for an app that no org claims it returns a
// [*protocol.Problem]. Snapshots of several nodes can be merged, see [tally.Snapshot]. It reads the store, and may
// block.
func (s *Stats) Snapshot(app string, days int) (*tally.Snapshot, error) {
	if days < 1 || days > tally.KeepDays {
		return nil, serve.Problem(protocol.CodeBadRequest, fmt.Sprintf("days=%d is out of range", days),
			fmt.Sprintf("request 1 to %d days", tally.KeepDays))
	}
	if _, err := s.Apps.Owner(app); err != nil {
		return nil, err
	}
	s.saving.Lock() // so that no page is counted twice, in memory and in the store
	s.load()
	part := s.tally.Part(app)
	s.saving.Unlock()
	today := tally.DayOf(s.Now())
	first := max(today-tally.Day(days-1), 0)
	for day := first; day <= today; day++ {
		if part.Days[day] == nil {
			if err := s.add(tally.DayKey(app, day), func(b []byte) error { return part.AddDay(day, b) }); err != nil {
				return nil, err
			}
		}
	}
	for month := first.Month(); month <= today.Month(); month++ {
		if part.Months[month] == nil {
			add := func(b []byte) error { return part.AddMonth(month, b) }
			if err := s.add(tally.MonthKey(app, month), add); err != nil {
				return nil, err
			}
		}
	}
	return &tally.Snapshot{App: app, Nodes: map[string]*tally.Part{s.Node: part}}, nil
}

// add calls do with the value under a key, if there is one. It logs and skips a damaged one.
func (s *Stats) add(key string, do func([]byte) error) error {
	stored, err := s.Store.State(key)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrDamaged) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := do(stored); err != nil {
		s.Logger.Error("cannot read statistics", "key", key, "error", err)
	}
	return nil
}

// defaultDays is the number of days in a summary without the parameter days.
const defaultDays = 30

// Sum returns the summary over all nodes of the fleet, for the query of a request to the operators' listener: app, and
// optionally days and version. Errors are problems. It waits for other nodes, until ctx ends.
func (s *Stats) Sum(ctx context.Context, query func(string) string) (tally.Summary, error) {
	days := defaultDays
	if text := query("days"); text != "" {
		var err error
		if days, err = strconv.Atoi(text); err != nil {
			return tally.Summary{}, serve.Problem(protocol.CodeBadRequest, fmt.Sprintf("days=%q is not a number", text), "")
		}
	}
	app := query("app")
	if app == "" {
		return tally.Summary{}, serve.Problem(protocol.CodeBadRequest, "the parameter app is missing",
			"request /stats?app=com.example.app")
	}
	snapshot, silent, err := s.sum(ctx, app, days)
	if err != nil {
		return tally.Summary{}, err
	}
	summary := snapshot.Sum()
	slices.Sort(silent)
	summary.Silent = silent
	if version := query("version"); version != "" {
		summary.Only(version)
	}
	return summary, nil
}

// maxLabels is how many apps have their own metrics; the others are added up.
const maxLabels = 50

// Describe implements [prometheus.Collector]. It describes nothing, which makes the collector unchecked.
func (s *Stats) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (s *Stats) Collect(out chan<- prometheus.Metric) {
	events := prometheus.NewDesc("brink_device_events_total",
		"Checks and events of devices, by app and class of action.", []string{"app", "class"}, nil)
	active := prometheus.NewDesc("brink_devices_active_month",
		"Estimated number of devices of an app that used this node this month.", []string{"app"}, nil)
	dropped := prometheus.NewDesc("brink_stats_dropped_total",
		"Checks and events that were not counted because there are too many apps.", nil, nil)
	out <- prometheus.MustNewConstMetric(dropped, prometheus.CounterValue, float64(s.tally.Dropped()))
	var rest [tally.ClassCount]uint64
	list := s.tally.Activity()
	for i, a := range list {
		if i >= maxLabels {
			for class, n := range a.Classes {
				rest[class] += n
			}
			continue
		}
		for class, n := range a.Classes {
			out <- prometheus.MustNewConstMetric(events, prometheus.CounterValue, float64(n),
				a.App, tally.Class(class).String())
		}
		out <- prometheus.MustNewConstMetric(active, prometheus.GaugeValue, float64(a.Devices), a.App)
	}
	if len(list) <= maxLabels {
		return
	}
	for class, n := range rest {
		out <- prometheus.MustNewConstMetric(events, prometheus.CounterValue, float64(n),
			tally.Other, tally.Class(class).String())
	}
}
