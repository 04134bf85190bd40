// Package stats counts what devices do, keeps it, and adds up what came to all nodes of a fleet.
//
// The life of a count: a check or an event of a device is counted in memory by package tally, on the path of the
// request and without waiting. What has changed is written to the store a few seconds later, and at the end. Operators
// are told the sum of what all nodes have counted.
//
// The invariant: what was kept is never written over by a count that did not begin with it, and counting holds up no
// request.
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

// interval is how long counts wait until they are kept. A process that is killed loses no more; one that is
// stopped loses nothing.
const interval = 5 * time.Second

// sweepInterval is how often statistics that are too old are removed, beside at the start.
const sweepInterval = 24 * time.Hour

// Bounds of one write of statistics: within what store.PutState takes at once.
const (
	maxBatch = 500
	maxBytes = 512 << 10 // reached by the last record, which has 64 KiB at most
)

// localNode is the name of a node that belongs to no fleet, in what it counted.
const localNode = "local"

// Keeper is what statistics are kept in: a [store.Store]. All may block for the disk.
type Keeper interface {
	// PutState replaces what is under each key, and removes it where the value is nil. It is all durable on return, or
	// none of it. It takes no more than store.MaxStates and store.MaxStatesBytes, and copies the values.
	PutState(ctx context.Context, states map[string][]byte) error
	// State returns what is under a key, store.ErrNotFound or store.ErrDamaged. The caller owns the bytes.
	State(key string) ([]byte, error)
	// States yields what is under the keys that begin with prefix. What is damaged is passed over.
	States(prefix string) iter.Seq2[string, []byte]
}

// Apps are what may be counted. Its methods wait for nothing.
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
	Store  Keeper
	Apps   Apps
	Extra  func(version string) bool // whether a version counts that no channel has served
	Fleet  Fleet                     // nil: there are no others
	Logger *slog.Logger
	Now    func() time.Time
}

// Stats counts what devices do, and keeps it. Use [New], then [Stats.Begin] and [Stats.Run].
type Stats struct {
	Config

	tally *tally.Tally

	keeping sync.Mutex // one at a time
	failing bool       // the last attempt to keep something failed; guarded by keeping
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

// Tally returns what counts. It waits for nothing.
func (s *Stats) Tally() *tally.Tally { return s.tally }

// Begin takes up what was kept of the apps that are in force.
func (s *Stats) Begin() {
	for _, app := range s.Apps.Apps() {
		s.tally.Open(app)
	}
	s.adopt()
}

// Run keeps what was counted, soon after it was counted, and all of it when ctx ends. While nothing is counted it does
// nothing.
func (s *Stats) Run(ctx context.Context) {
	defer func() { s.Keep(context.WithoutCancel(ctx)) }()
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
		s.Keep(ctx)
	}
}

// adopt has pages that were opened since Begin where they ended, if they were kept before.
func (s *Stats) adopt() {
	for _, key := range s.tally.Missing() {
		kept, err := s.Store.State(key)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrDamaged) {
			s.Logger.Warn("statistics cannot be read for now", "key", key, "error", err)
			continue // nothing is written over them meanwhile
		}
		if err := s.tally.Adopt(key, kept); err != nil {
			s.Logger.Error("statistics cannot be read, counting begins again", "error", err)
		}
	}
}

// Keep makes durable what has changed. What cannot be kept now waits in memory: today and the day before.
func (s *Stats) Keep(ctx context.Context) {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	s.adopt()
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
				s.Logger.Warn("statistics cannot be kept", "error", err)
			}
			s.failing = true
			return
		}
		done := len(states)
		s.tally.Kept(records[:done])
		records = records[done:]
	}
	if s.failing {
		s.Logger.Info("statistics can be kept again")
	}
	s.failing = false
}

// sweep removes what is too old to be asked for.
func (s *Stats) sweep(ctx context.Context) {
	now := s.Now()
	stale := map[string][]byte{}
	remove := func() bool {
		if err := s.Store.PutState(ctx, stale); err != nil {
			s.Logger.Debug("old statistics cannot be removed for now", "error", err)
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

// Check counts that a device asked, and what came of it. It is on the way of every check: it allocates nothing when
// device and version have been counted before, and waits for no disk.
func (s *Stats) Check(m *channel.Manifest, d *protocol.Device, kind channel.Kind) {
	version := d.Version
	if version == "" && !d.Bundle.IsZero() {
		version = versionOf(m, d)
	}
	s.tally.Check(m.App, version, OutcomeOf(kind), d.ID)
}

// versionOf returns the version of the bundle that a device runs, if the channel knows it.
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

// OutcomeOf returns how a decision counts.
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

// Popular returns the index in the history of m of the release that most devices run, and false if none of them was
// seen to run one.
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

// Snapshot returns what came to this node of an app: its counters of the last days, today included, and its devices of
// the months that these are in. Of an app without statistics it has none, and an app that no org claims is a
// [*protocol.Problem]. Snapshots of several nodes add up, see [tally.Snapshot]. It reads the store, and may block for
// that.
func (s *Stats) Snapshot(app string, days int) (*tally.Snapshot, error) {
	if days < 1 || days > tally.KeepDays {
		return nil, serve.Problem(protocol.CodeBadRequest, fmt.Sprintf("%d days are asked for", days),
			fmt.Sprintf("ask for 1 to %d", tally.KeepDays))
	}
	if _, err := s.Apps.Owner(app); err != nil {
		return nil, err
	}
	s.keeping.Lock() // so that no page is in memory and in the store, and each counted for itself
	s.adopt()
	part := s.tally.Part(app)
	s.keeping.Unlock()
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

// add hands over what was kept under a key, if anything was. What is damaged is told and left out.
func (s *Stats) add(key string, take func([]byte) error) error {
	kept, err := s.Store.State(key)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrDamaged) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := take(kept); err != nil {
		s.Logger.Error("statistics cannot be read", "key", key, "error", err)
	}
	return nil
}

// defaultDays is how many days are told when nobody says how many.
const defaultDays = 30

// Sum returns what came to all nodes of the fleet, as the operators' listener is asked for it: with the values app, and
// perhaps days and version. An error is a problem. It waits for other nodes, until ctx ends.
func (s *Stats) Sum(ctx context.Context, query func(string) string) (tally.Summary, error) {
	days := defaultDays
	if text := query("days"); text != "" {
		var err error
		if days, err = strconv.Atoi(text); err != nil {
			return tally.Summary{}, serve.Problem(protocol.CodeBadRequest, fmt.Sprintf("days=%q is no number", text), "")
		}
	}
	app := query("app")
	if app == "" {
		return tally.Summary{}, serve.Problem(protocol.CodeBadRequest, "no app is named",
			"ask for /stats?app=com.example.app")
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

// maxLabels is how many apps have metrics of their own; the rest is told as one.
const maxLabels = 50

// Describe implements [prometheus.Collector]: what there is, is known when it is collected.
func (s *Stats) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (s *Stats) Collect(out chan<- prometheus.Metric) {
	events := prometheus.NewDesc("brink_device_events_total",
		"Checks of devices and what they told, by app and class of action.", []string{"app", "class"}, nil)
	active := prometheus.NewDesc("brink_devices_active_month",
		"About how many devices of an app came to this node this month.", []string{"app"}, nil)
	dropped := prometheus.NewDesc("brink_stats_dropped_total",
		"Checks and events that were not counted, because there are too many apps.", nil, nil)
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
