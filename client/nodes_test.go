package client

import (
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"brink/bench/cost"
)

func TestContacts_Order(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	given := []string{"a", "b", "c", "d"}
	for name, test := range map[string]struct {
		known contacts
		want  []string
	}{
		"nothing is known":    {nil, given},
		"one is known":        {contacts{{Node: "a", Wait: 1, Measured: now}}, []string{"b", "c", "d", "a"}},
		"others are unknown":  {contacts{{Node: "z", Wait: 1, Measured: now}}, given},
		"the measure is old":  {contacts{{Node: "c", Wait: 1, Measured: ago(measureEvery)}}, given},
		"it is of the future": {contacts{{Node: "c", Wait: 1, Measured: ago(-time.Hour), Failed: ago(-time.Hour)}}, given},
		"all are known": {contacts{
			{Node: "a", Wait: 3, Measured: now},
			{Node: "b", Wait: 1, Measured: now},
			{Node: "c", Wait: 2, Measured: now},
			{Node: "d", Wait: 1, Measured: now},
		}, []string{"b", "d", "c", "a"}},
		"the nearest fails": {contacts{
			{Node: "a", Wait: 3, Measured: now},
			{Node: "b", Wait: 1, Measured: now, Failed: ago(time.Minute), Failures: 1},
			{Node: "c", Wait: 2, Measured: now},
		}, []string{"d", "c", "a", "b"}},
		"it failed a while ago": {contacts{{Node: "c", Failed: ago(minPenalty), Failures: 1}}, given},
		"it failed a while ago again": {
			contacts{{Node: "c", Failed: ago(minPenalty), Failures: 2}}, []string{"a", "b", "d", "c"},
		},
		"it fails for ever": {
			contacts{{Node: "c", Failed: ago(maxPenalty - 1), Failures: math.MaxInt}}, []string{"a", "b", "d", "c"},
		},
		"but not never": {contacts{{Node: "c", Failed: ago(maxPenalty), Failures: math.MaxInt}}, given},
	} {
		if diff := cmp.Diff(test.want, test.known.order(given, now)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestClient_PrefersTheNearestNode: it gets to know all nodes, stays with the nearest, and leaves one that fails.
func TestClient_PrefersTheNearestNode(t *testing.T) {
	t.Parallel()
	node := newFakeNode(t)
	node.publish("1.0.0", version("1.0.0"))
	dir, now := t.TempDir(), time.Now()
	synctest.Test(t, func(t *testing.T) {
		all, names := hosts{}, []string{"far", "near", "away"}
		for name, wait := range map[string]time.Duration{"far": 300, "near": 20, "away": 200} {
			all[name] = &distant{handler: http.HandlerFunc(node.serve), wait: wait * time.Millisecond}
		}
		asked := func(want ...string) {
			t.Helper()
			c := device(t, node, dir, asking(all, 1, now, names...), func(c *Config) { c.Now = func() time.Time { return now } })
			_, err := c.Update(t.Context())
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			var got []string
			for name, one := range all {
				if d := one.(*distant); d.asked > 0 {
					d.asked = 0
					got = append(got, name)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) || err != nil {
				t.Errorf("asked %v, want %v: %v", got, want, err)
			}
		}
		asked("far")
		asked("near")
		asked("away")
		asked("near")
		all["near"].(*distant).down = true
		asked("away", "near")
		asked("away")
		all["near"].(*distant).down = false
		now = now.Add(minPenalty)
		asked("near")
		now = now.Add(measureEvery)
		asked("far")
		for _, one := range all {
			one.(*distant).down = true
		}
		c := device(t, node, dir, asking(all, 1, now, names...))
		before, err := os.ReadFile(filepath.Join(dir, nodesFile))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Update(t.Context()); err == nil {
			t.Error("all nodes are down, and yet there was an answer")
		}
		if after, err := os.ReadFile(filepath.Join(dir, nodesFile)); err != nil || string(after) != string(before) {
			t.Errorf("a device without a network blames the nodes: %s, %v", after, err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// distant is a node some way off.
type distant struct {
	handler http.Handler
	wait    time.Duration
	down    bool
	asked   int
}

func (d *distant) RoundTrip(r *http.Request) (*http.Response, error) {
	d.asked++
	if d.down {
		return nil, os.ErrDeadlineExceeded
	}
	<-time.After(d.wait)
	return nodes{r.URL.Host: d.handler}.RoundTrip(r)
}

func FuzzDecodeContacts(f *testing.F) {
	f.Add([]byte(`[{"node":"http://a","wait":5,"measured":"2026-01-02T03:04:05Z","failures":3}]`), int64(5))
	for _, element := range []string{"{}", "null", `{"node":"http://a","wait":1}`} {
		f.Add([]byte("["+strings.Repeat(element+",", 20_000)+element+"]"), int64(5))
	}
	given := []string{"http://a", "http://b"}
	f.Fuzz(func(t *testing.T, raw []byte, at int64) {
		var got []string
		var err error
		cost.Check(t, len(raw), func() {
			var all contacts
			all, err = decodeContacts(raw)
			got = all.order(given, time.Unix(0, at))
		})
		if err != nil {
			return
		}
		if slices.Sort(got); !slices.Equal(got, given) {
			t.Errorf("%v were given, and %v are asked", given, got)
		}
	})
}
