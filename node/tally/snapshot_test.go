package tally

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"brink/bench/cost"
)

// node is one node that counts.
type node struct {
	name  string
	tally *Tally
	looks []*Snapshot // at it, oldest first
}

func (n *node) look() {
	n.looks = append(n.looks, &Snapshot{App: app, Nodes: map[string]*Part{n.name: n.tally.Part(app)}})
}

// Whatever the order, the grouping and the number of times in which looks at nodes are merged: the sum is that of the
// last look at each.
func TestSnapshot_MergesInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		want := Counts{}
		everyone := newDevices()
		var looks []*Snapshot
		for i := range rapid.IntRange(1, 4).Draw(t, "nodes") {
			n := &node{name: fmt.Sprint("node", i)}
			n.tally, _ = New(Config{
				Claimed: func(string) bool { return true }, Known: func(_, _ string) bool { return true }, Now: c.Now,
			})
			for range rapid.IntRange(1, 3).Draw(t, "looks") {
				devices := rapid.IntRange(0, 900).Draw(t, "devices")
				first := rapid.IntRange(0, 5000).Draw(t, "first")
				for d := range devices {
					version := fmt.Sprintf("1.0.%d", d%3)
					device := fmt.Sprint(first + d)
					n.tally.Check(app, version, Update, device)
					want[Cell{version, CheckUpdate}]++
					everyone.add(hashOf(app, device))
				}
				n.look()
			}
			looks = append(looks, n.looks...)
		}
		merged := merge(t, append(looks, looks...))
		summary := merged.Sum()
		got := Counts{}
		for _, day := range summary.Days {
			for _, count := range day.Counts {
				if count.Action == CheckUpdate {
					got[count.Cell] = count.Count
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("sum (-want +got):\n%s", diff)
		}
		var devices uint64
		for _, month := range summary.Months {
			devices += month.Devices
		}
		if devices != everyone.Count() {
			t.Fatalf("%d devices, want %d as if all had come to one node", devices, everyone.Count())
		}
		again, err := ParseSnapshot(merged.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(summary, again.Sum()); diff != "" {
			t.Fatalf("on its way it became (-want +got):\n%s", diff)
		}
	})
}

// merge merges in an order and a grouping that are drawn.
func merge(t *rapid.T, looks []*Snapshot) *Snapshot {
	chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
	chance.Shuffle(len(looks), func(i, j int) { looks[i], looks[j] = looks[j], looks[i] })
	groups := make([]*Snapshot, 3)
	for i := range groups {
		groups[i] = &Snapshot{App: app}
	}
	for _, look := range looks {
		groups[chance.IntN(len(groups))].Merge(look)
	}
	for _, group := range groups[1:] {
		groups[0].Merge(group)
	}
	return groups[0]
}

func TestSnapshot_MergeDoesNotChangeTheOther(t *testing.T) {
	n := &node{name: "a", tally: start(t, newClock())}
	n.tally.Check(app, "1.0.0", Update, "x")
	n.look()
	n.tally.Check(app, "1.0.0", Update, "y")
	n.look()
	before := n.looks[0].Append(nil)
	sum := &Snapshot{App: app}
	sum.Merge(n.looks[0])
	sum.Merge(n.looks[1])
	if !bytes.Equal(before, n.looks[0].Append(nil)) {
		t.Error("what was merged has changed")
	}
}

func TestSummary_IsTheSameInJSON(t *testing.T) {
	c := newClock()
	n := &node{name: "a", tally: start(t, c)}
	n.tally.Check(app, "1.0.0", Update, "x")
	c.add(24 * time.Hour)
	n.tally.Check(app, "1.0.0", Update, "y")
	n.look()
	want := n.looks[0].Sum()
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Summary
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	if len(want.Days) != 2 || want.Days[0].Day < want.Days[1].Day {
		t.Errorf("days = %v, want the newest first", want.Days)
	}
}

func TestCounts_WorstPageFitsIntoAState(t *testing.T) {
	worst := Counts{}
	name := func(i, size int) string { return fmt.Sprintf("%0*d", size, i) }
	for version := range MaxVersions + 2 {
		for action := range MaxCells / (MaxVersions + 2) {
			worst[Cell{name(version, MaxVersion), name(action*6, MaxAction)}] = MaxCount + 1
		}
	}
	for action := range maxActions - 2 {
		worst[Cell{name(0, MaxVersion), name(action, MaxAction)}] = MaxCount
	}
	for cell := range worst {
		if len(worst) <= MaxCells {
			break
		}
		if cell.Version != name(0, MaxVersion) {
			delete(worst, cell)
		}
	}
	raw := worst.encode()
	if len(raw) > MaxCounts || MaxCounts > 64<<10 || maxDevices > 64<<10 {
		t.Errorf("a day takes %d bytes of %d", len(raw), MaxCounts)
	}
	if got, err := ParseCounts(raw); err != nil || len(got) != len(worst) {
		t.Errorf("ParseCounts = %d cells, %v", len(got), err)
	}
}

// example returns a snapshot with a bit of everything.
func example(t testing.TB, devices int) *Snapshot {
	c := newClock()
	n := &node{name: "a", tally: start(t, c)}
	for i := range devices {
		n.tally.Check(app, fmt.Sprintf("1.0.%d", i%3), Outcome(i%5), fmt.Sprint(i))
	}
	c.add(8 * 24 * time.Hour)
	n.tally.Event(Event{App: app, Action: "set", Device: "x"})
	n.look()
	other := &node{name: "b", tally: start(t, c)}
	other.tally.Event(Event{App: app, Version: "1.0.0", Action: "strange", Device: "x"})
	other.look()
	n.looks[0].Merge(other.looks[0])
	return n.looks[0]
}

func FuzzParseSnapshot(f *testing.F) {
	f.Add(example(f, 10).Append(nil))
	f.Add(example(f, 20_000).Append(nil))
	f.Add((&Snapshot{App: app}).Append(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		cost.Check(t, len(raw), func() { _, _ = ParseSnapshot(raw) })
		s, err := ParseSnapshot(raw)
		if err != nil {
			return
		}
		again, err := ParseSnapshot(s.Append(nil))
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if diff := cmp.Diff(s.Sum(), again.Sum()); diff != "" {
			t.Fatalf("it became (-want +got):\n%s", diff)
		}
		again.Merge(s)
		if diff := cmp.Diff(s.Sum(), again.Sum()); diff != "" {
			t.Fatalf("merged with itself it became (-want +got):\n%s", diff)
		}
	})
}

func FuzzParseCounts(f *testing.F) {
	for _, counts := range example(f, 10).Nodes["a"].Days {
		f.Add(counts.encode())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		cost.Check(t, len(raw), func() { _, _ = ParseCounts(raw) })
		counts, err := ParseCounts(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(counts.encode(), raw) {
			t.Fatal("a page has two forms")
		}
	})
}

func TestParseCounts_AcceptsOnlyTheCanonicalForm(t *testing.T) {
	for want, raw := range map[string][]byte{
		"taken":   {1, 1, 1, 'v', 1, 1, 'a', 1, 0, 7},
		"refused": {1, 1, 1, 'v', 1, 1, 'a', 1, 0, 0x87, 0}, // the same count in two bytes
		"unused":  {1, 2, 1, 'v', 1, 'w', 1, 1, 'a', 1, 0, 7, 0},
		"zero":    {1, 1, 1, 'v', 1, 1, 'a', 1, 0, 0},
		"order":   {1, 2, 1, 'w', 1, 'v', 1, 1, 'a', 1, 0, 7, 1, 0, 7},
		"longer":  {1, 1, 1, 'v', 1, 1, 'a', 1, 0, 7, 0},
		"later":   {2, 1, 1, 'v', 1, 1, 'a', 1, 0, 7},
	} {
		counts, err := ParseCounts(raw)
		if (err == nil) != (want == "taken") || err == nil && counts[Cell{"v", "a"}] != 7 {
			t.Errorf("%s: ParseCounts(%v) = %v, %v", want, raw, counts, err)
		}
	}
}

func TestDevices_HaveOneEncoding(t *testing.T) {
	for _, n := range []int{1, 100, 3000, 20_000} {
		up, down := newDevices(), newDevices()
		for i := range n {
			up.add(hashOf(app, fmt.Sprint(i)))
			down.add(hashOf(app, fmt.Sprint(n-1-i)))
		}
		if !bytes.Equal(up.encode(), down.encode()) {
			t.Errorf("%d devices have another encoding in another order", n)
		}
	}
}

func TestParseDevices_RefusesOtherPrecisions(t *testing.T) {
	for _, change := range []func([]byte) []byte{
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { return append(b, 0) },
		func(b []byte) []byte { b[0] = 1; return b },
		func(b []byte) []byte { b[1] = 12; return b },
		func([]byte) []byte { return nil },
	} {
		d := newDevices()
		d.add(hashOf(app, "x"))
		if _, err := parseDevices(change(d.encode())); err == nil {
			t.Error("a sketch of another kind was taken")
		}
	}
}
