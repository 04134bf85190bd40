package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"brink/channel"
	"brink/node/serve"
	"brink/node/tally"
	"brink/protocol"
	"brink/store"
)

// statsInterval is how long counts wait until they are kept. A process that is killed loses no more; one that is
// stopped loses nothing.
const statsInterval = 5 * time.Second

// sweepInterval is how often statistics that are too old are removed, beside at the start.
const sweepInterval = 24 * time.Hour

// Bounds of one write of statistics: within what store.PutState takes at once.
const (
	maxStatsBatch = 500
	maxStatsBytes = 512 << 10 // reached by the last record, which has 64 KiB at most
)

// localNode is the name of a node that belongs to no fleet, in what it counted.
const localNode = "local"

// keeper is what statistics are kept in: a [store.Store]. All may block for the disk.
type keeper interface {
	// PutState replaces what is under each key, and removes it where the value is nil. It is all durable on return, or
	// none of it. It takes no more than store.MaxStates and store.MaxStatesBytes, and copies the values.
	PutState(ctx context.Context, states map[string][]byte) error
	// State returns what is under a key, store.ErrNotFound or store.ErrDamaged. The caller owns the bytes.
	State(key string) ([]byte, error)
	// States yields what is under the keys that begin with prefix. What is damaged is passed over.
	States(prefix string) iter.Seq2[string, []byte]
}

// stats counts what devices do, and keeps it.
type stats struct {
	name     string // of the node, unique in its fleet
	keeper   keeper
	channels *channels
	logger   *slog.Logger
	now      func() time.Time
	tally    *tally.Tally

	keeping sync.Mutex // one at a time
	failing bool       // the last attempt to keep something failed; guarded by keeping
}

func newStats(keeper keeper, channels *channels, config Config) (*stats, error) {
	counts, err := tally.New(tally.Config{Claimed: channels.has, Known: channels.knows, Now: config.Now})
	return &stats{
		name:     cmp.Or(config.Fleet.Node, localNode),
		keeper:   keeper,
		channels: channels,
		logger:   config.Logger,
		now:      config.Now,
		tally:    counts,
	}, err
}

// has reports whether the app has a channel in force. Trust documents may claim any name that begins like theirs; an
// app counts once somebody who may has published it.
func (c *channels) has(app string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.byApp[app]) > 0
}

// builtIn is the version that Capgo's plugin names when a device runs what its native app came with.
const builtIn = "builtin"

// knows reports whether a channel of the app serves the version or has served it. It does not allocate.
func (c *channels) knows(app, version string) bool {
	if version == builtIn {
		return true
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, m := range c.byApp[app] {
		if m.Release.Version == version {
			return true
		}
		for i := range m.History {
			if m.History[i].Version == version {
				return true
			}
		}
	}
	return false
}

// begin takes up what was kept of the apps that are in force.
func (s *stats) begin() {
	for _, app := range s.channels.apps() {
		s.tally.Open(app)
	}
	s.adopt()
}

func (c *channels) apps() (names []string) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for app := range c.byApp {
		names = append(names, app)
	}
	slices.Sort(names)
	return names
}

// run keeps what was counted, soon after it was counted, and all of it when ctx ends. While nothing is counted it does
// nothing.
func (s *stats) run(ctx context.Context) {
	defer func() { s.keep(context.WithoutCancel(ctx)) }()
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
		case <-time.After(statsInterval):
		}
		s.keep(ctx)
	}
}

// adopt has pages that were opened since begin where they ended, if they were kept before.
func (s *stats) adopt() {
	for _, key := range s.tally.Missing() {
		kept, err := s.keeper.State(key)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrDamaged) {
			s.logger.Warn("statistics can not be read for now", "key", key, "error", err)
			continue // nothing is written over them meanwhile
		}
		if err := s.tally.Adopt(key, kept); err != nil {
			s.logger.Error("statistics can not be read, counting begins anew", "error", err)
		}
	}
}

// keep makes durable what has changed. What can not be kept now waits in memory: today and the day before.
func (s *stats) keep(ctx context.Context) {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	s.adopt()
	records := s.tally.Changes()
	for len(records) > 0 {
		states := map[string][]byte{}
		for size := 0; len(states) < min(len(records), maxStatsBatch) && size < maxStatsBytes; {
			r := records[len(states)]
			states[r.Key] = r.Data
			size += len(r.Data)
		}
		if err := s.keeper.PutState(ctx, states); err != nil {
			if !s.failing {
				s.logger.Warn("statistics can not be kept", "error", err)
			}
			s.failing = true
			return
		}
		done := len(states)
		s.tally.Kept(records[:done])
		records = records[done:]
	}
	if s.failing {
		s.logger.Info("statistics can be kept again")
	}
	s.failing = false
}

// sweep removes what is too old to be asked for.
func (s *stats) sweep(ctx context.Context) {
	now := s.now()
	stale := map[string][]byte{}
	remove := func() bool {
		if err := s.keeper.PutState(ctx, stale); err != nil {
			s.logger.Debug("old statistics can not be removed for now", "error", err)
			return false
		}
		clear(stale)
		return true
	}
	for key := range s.keeper.States(tally.KeyPrefix) {
		if ctx.Err() != nil {
			return
		}
		if tally.Stale(key, now) {
			stale[key] = nil
		}
		if len(stale) == maxStatsBatch && !remove() {
			return
		}
	}
	remove()
}

// check counts that a device asked, and what came of it. It is on the way of every check: it allocates nothing when
// device and version have been counted before, and waits for no disk.
func (s *stats) check(m *channel.Manifest, d *protocol.Device, kind channel.Kind) {
	version := d.Version
	if version == "" && !d.Bundle.IsZero() {
		version = versionOf(m, d)
	}
	s.tally.Check(m.App, version, outcomeOf(kind), d.ID)
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

func outcomeOf(kind channel.Kind) tally.Outcome {
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

// popular returns the index in the history of m of the release that most devices run, and false if none of them was
// seen to run one.
func (s *stats) popular(m *channel.Manifest) (int, bool) {
	find := func(version string) int {
		return slices.IndexFunc(m.History, func(r channel.Release) bool { return r.Version == version })
	}
	version, ok := s.tally.Popular(m.App, func(version string) bool { return find(version) >= 0 })
	if !ok {
		return 0, false
	}
	return find(version), true
}

// Stats returns what came to this node of an app: its counters of the last days, today included, and its devices of the
// months that these are in. Of an app without statistics it has none, and an app that no org claims is a
// [*protocol.Problem]. Snapshots of several nodes add up, see [tally.Snapshot]. It reads the store, and may block for
// that.
func (n *Node) Stats(app string, days int) (*tally.Snapshot, error) {
	if days < 1 || days > tally.KeepDays {
		return nil, serve.Problem(protocol.CodeBadRequest, fmt.Sprintf("%d days are asked for", days),
			fmt.Sprintf("ask for 1 to %d", tally.KeepDays))
	}
	if _, err := n.channels.owner(app); err != nil {
		return nil, err
	}
	n.stats.keeping.Lock() // so that no page is in memory and in the store, and each counted for itself
	n.stats.adopt()
	part := n.stats.tally.Part(app)
	n.stats.keeping.Unlock()
	today := tally.DayOf(n.config.Now())
	first := max(today-tally.Day(days-1), 0)
	for day := first; day <= today; day++ {
		if part.Days[day] == nil {
			if err := n.stats.add(tally.DayKey(app, day), func(b []byte) error { return part.AddDay(day, b) }); err != nil {
				return nil, err
			}
		}
	}
	for month := first.Month(); month <= today.Month(); month++ {
		if part.Months[month] == nil {
			add := func(b []byte) error { return part.AddMonth(month, b) }
			if err := n.stats.add(tally.MonthKey(app, month), add); err != nil {
				return nil, err
			}
		}
	}
	return &tally.Snapshot{App: app, Nodes: map[string]*tally.Part{n.stats.name: part}}, nil
}

// add hands over what was kept under a key, if anything was. What is damaged is told and left out.
func (s *stats) add(key string, take func([]byte) error) error {
	kept, err := s.keeper.State(key)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrDamaged) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := take(kept); err != nil {
		s.logger.Error("statistics can not be read", "key", key, "error", err)
	}
	return nil
}

// defaultStatsDays is how many days are told when nobody says how many.
const defaultStatsDays = 30

// serveStats answers GET /stats of the operators' listener: ?app=, and perhaps &days= and &version=. It tells what came
// to all nodes of the fleet.
func (n *Node) serveStats(w http.ResponseWriter, r *http.Request) {
	summary, err := n.askStats(r.Context(), r.URL.Query().Get)
	if err != nil {
		p := serve.AsProblem(err)
		n.answer(w, p.Status, p)
		return
	}
	n.answer(w, http.StatusOK, summary)
}

func (n *Node) askStats(ctx context.Context, query func(string) string) (tally.Summary, error) {
	days := defaultStatsDays
	if text := query("days"); text != "" {
		var err error
		if days, err = strconv.Atoi(text); err != nil {
			return tally.Summary{}, serve.Problem(protocol.CodeBadRequest, fmt.Sprintf("days=%q is no number", text), "")
		}
	}
	app := query("app")
	if app == "" {
		return tally.Summary{}, serve.Problem(protocol.CodeBadRequest, "no app is named", "ask for /stats?app=com.example.app")
	}
	snapshot, silent, err := n.sumStats(ctx, app, days)
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

// maxStatsLabels is how many apps have metrics of their own; the rest is told as one.
const maxStatsLabels = 50

// Describe implements [prometheus.Collector]: what there is, is known when it is collected.
func (s *stats) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (s *stats) Collect(out chan<- prometheus.Metric) {
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
		if i >= maxStatsLabels {
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
	if len(list) <= maxStatsLabels {
		return
	}
	for class, n := range rest {
		out <- prometheus.MustNewConstMetric(events, prometheus.CounterValue, float64(n),
			tally.Other, tally.Class(class).String())
	}
}
