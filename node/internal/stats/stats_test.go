package stats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"brink/channel"
	"brink/node/tally"
	"brink/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStorage can fail, and checks the bounds of writes.
type fakeStorage struct {
	t      *testing.T
	mu     sync.Mutex
	states map[string][]byte
	fails  error
	puts   int
}

func (k *fakeStorage) PutState(_ context.Context, states map[string][]byte) error {
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

func (k *fakeStorage) State(key string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if value, ok := k.states[key]; ok {
		return value, nil
	}
	return nil, store.ErrNotFound
}

func (k *fakeStorage) States(prefix string) iter.Seq2[string, []byte] {
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

func (k *fakeStorage) len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.states)
}

// fakeApps are apps that have served no version.
type fakeApps []string

func (a fakeApps) Apps() []string { return a }

func (a fakeApps) Has(app string) bool { return slices.Contains(a, app) }

func (a fakeApps) HasVersion(string, string) bool       { return false }
func (a fakeApps) Owner(string) (*channel.Trust, error) { return nil, nil }

// fakeStats returns statistics on a fake store, of so many apps, and what is logged.
func fakeStats(t *testing.T, apps int) (*Stats, *fakeStorage, *bytes.Buffer) {
	t.Helper()
	storage := &fakeStorage{t: t, states: map[string][]byte{}}
	var c fakeApps
	for i := range apps {
		c = append(c, fmt.Sprintf("com.app%d", i))
	}
	logs := &bytes.Buffer{}
	s, err := New(Config{
		Store: storage, Apps: c, Now: time.Now, Logger: slog.New(slog.NewTextHandler(logs, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, storage, logs
}

func TestStats_AreKeptSoonAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, storage, _ := fakeStats(t, 1)
		stale := tally.DayKey("com.gone", tally.DayOf(time.Now())-tally.KeepDays)
		recent := tally.DayKey("com.gone", tally.DayOf(time.Now())-1)
		storage.states[stale], storage.states[recent] = []byte{1}, []byte{1}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.Run(ctx) })
		synctest.Wait()
		if storage.states[stale] != nil || storage.states[recent] == nil {
			t.Error("the sweep did not remove what is too old, or more")
		}
		puts := storage.puts
		<-time.After(time.Hour)
		synctest.Wait()
		if storage.puts != puts {
			t.Error("something was written though nothing was counted")
		}

		s.tally.Check("com.app0", "1.0.0", tally.Update, "a")
		<-time.After(interval + time.Millisecond)
		synctest.Wait()
		if storage.len() != 3 { // recent, a day, a month
			t.Errorf("%d states are kept after %s", storage.len(), interval)
		}
		key := tally.DayKey("com.app0", tally.DayOf(time.Now()))
		for range 2 {
			s.tally.Check("com.app0", "1.0.0", tally.Update, "a")
		}
		cancel()
		running.Wait()
		counts, err := tally.ParseCounts(storage.states[key])
		if got := counts[tally.Cell{Version: "1.0.0", Action: tally.CheckUpdate}]; err != nil || got != 3 {
			t.Errorf("%d checks are kept at the end, %v, want 3", got, err)
		}
	})
}

func TestStats_WaitWhileNothingCanBeWritten(t *testing.T) {
	s, storage, logs := fakeStats(t, 1)
	storage.fails = errors.New("no room")
	for range 3 {
		s.tally.Check("com.app0", "1.0.0", tally.Update, "a")
		s.Save(t.Context())
	}
	if n := strings.Count(logs.String(), "cannot save statistics"); n != 1 || storage.len() != 0 {
		t.Errorf("it was told %d times, want once:\n%s", n, logs)
	}
	storage.fails = nil
	s.Save(t.Context())
	if storage.len() != 2 || !strings.Contains(logs.String(), "can be saved again") {
		t.Errorf("%d states are kept:\n%s", storage.len(), logs)
	}
}

func TestStats_AreWrittenInPiecesThatTheStoreTakes(t *testing.T) {
	const apps = 100
	one, first, _ := fakeStats(t, 1)
	for i := range 9000 { // a sketch of 16 KiB
		one.tally.Event(tally.Event{App: "com.app0", Device: fmt.Sprint(i)})
	}
	one.Save(t.Context())
	month := tally.DayOf(time.Now()).Month()
	s, storage, _ := fakeStats(t, apps)
	for _, app := range s.Apps.Apps() {
		storage.states[tally.MonthKey(app, month)] = first.states[tally.MonthKey("com.app0", month)]
	}
	s.Start()
	for _, a := range s.tally.Activity() {
		if a.Devices < 8700 || a.Devices > 9300 {
			t.Errorf("%s has %d devices after a restart", a.App, a.Devices)
		}
		for i := range 100 {
			s.tally.Event(tally.Event{App: a.App, Device: fmt.Sprint("another ", i)})
		}
	}
	s.Save(t.Context())
	if storage.len() != 2*apps || storage.puts < 3 {
		t.Errorf("%d states are kept by %d writes", storage.len(), storage.puts)
	}
}

func TestStats_ManyAppsHaveFewMetrics(t *testing.T) {
	s, _, _ := fakeStats(t, maxLabels+3)
	for _, app := range s.Apps.Apps() {
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
	if apps != maxLabels || rest != 3 {
		t.Errorf("%d apps have metrics, and the others %.0f checks", apps, rest)
	}
}
