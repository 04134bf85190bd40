package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"brink/bench/cost"
)

func addresses(list ...string) []netip.AddrPort {
	var parsed []netip.AddrPort
	for _, text := range list {
		parsed = append(parsed, netip.MustParseAddrPort(text))
	}
	return parsed
}

func TestAddressBook_ListsFormerMembersAfterPresentOnes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers")
	self := netip.MustParseAddrPort("10.0.0.9:1")
	b, err := loadAddressBook(path, self)
	if err != nil {
		t.Fatal(err)
	}
	list := addresses("10.0.0.1:1", "10.0.0.2:1", "[2001:db8::1]:7")
	b.update(map[netip.AddrPort]bool{list[0]: true})
	b.update(map[netip.AddrPort]bool{list[1]: true})
	b.update(map[netip.AddrPort]bool{list[1]: true, list[2]: true})
	b.update(map[netip.AddrPort]bool{}) // all are gone: this node is cut off, or the last one
	if err := b.save(); err != nil {
		t.Fatal(err)
	}
	again, err := loadAddressBook(path, list[1]) // from which this node itself is left out
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"[2001:db8::1]:7", "10.0.0.1:1"}, texts(again.known)); diff != "" {
		t.Errorf("known (-want +got):\n%s", diff)
	}
}

func texts(list []netip.AddrPort) []string {
	var all []string
	for _, a := range list {
		all = append(all, a.String())
	}
	return all
}

func TestAddressBook_IsBounded(t *testing.T) {
	b, err := loadAddressBook("", netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxKnown {
		b.update(map[netip.AddrPort]bool{netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1): true})
	}
	if len(b.known) != maxKnown {
		t.Errorf("%d addresses, want %d", len(b.known), maxKnown)
	}
	last := b.known[0]
	for range maxFailures {
		b.recordFailure(last)
	}
	if len(b.known) != maxKnown-1 || b.known[0] == last {
		t.Errorf("%v is still known", last)
	}
}

func TestAddressBook_UsesTheRestOfADamagedFile(t *testing.T) {
	got := parseAddresses([]byte("10.0.0.1:1\n\x00\x00garbage\n10.0.0.1:1\n10.0.0.2:0\n\n[::1]:5\r\n10.0.0.3:99999\n10.0.0.4"))
	if diff := cmp.Diff([]string{"10.0.0.1:1", "[::1]:5"}, texts(got)); diff != "" {
		t.Errorf("known (-want +got):\n%s", diff)
	}
}

func FuzzBook(f *testing.F) {
	f.Add([]byte("10.0.0.1:1\n[::1]:5\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cost.Check(t, len(text), func() { parseAddresses(text) })
		b := &addressBook{known: parseAddresses(text)}
		if len(b.known) > maxKnown {
			t.Errorf("%d addresses", len(b.known))
		}
		if diff := cmp.Diff(texts(b.known), texts(parseAddresses([]byte(b.format())))); diff != "" {
			t.Errorf("read, written and read (-want +got):\n%s", diff)
		}
	})
}

// A node that is started again finds its fleet by the file alone.
func TestGossip_FindsTheFleetByItsFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		path := filepath.Join(t.TempDir(), "peers")
		nodes := f.grow(t, 3)
		late := f.add("n3")
		f.config = func(c *Config) { c.Peers = path }
		late.start(t)
		f.await(t, f.whole)
		late.stop()
		nodes[0].stop() // whom it was told to join
		f.config = func(c *Config) { c.Peers, c.Join = path, nil }
		late.start(t)
		f.await(t, f.whole)
		if got, err := os.ReadFile(path); err != nil || strings.Count(string(got), "\n") != 3 {
			t.Errorf("file has %q, %v", got, err)
		}
		f.stop()
	})
}

func TestGossip_LogsThatTheFileCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		var log bytes.Buffer
		nodes := f.grow(t, 1)
		f.config = func(c *Config) {
			c.Peers, c.Logger = filepath.Join(t.TempDir(), "no", "such"), slog.New(slog.NewTextHandler(&log, nil))
		}
		f.add("n1").start(t)
		f.await(t, f.whole)
		f.stop()
		if len(nodes) != 1 || !strings.Contains(log.String(), "cannot write the last known members") {
			t.Errorf("log: %s", log.String())
		}
	})
}

// A host may stand for many nodes, most of which are down; and what it stands for may come later.
func TestGossip_JoinsAHostOfManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		nodes := f.grow(t, 2)
		began := time.Now()
		f.config = func(c *Config) {
			c.Join = []string{"other.example", "fleet.example:7946"}
			c.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
				if host != "fleet.example" || time.Since(began) < 5*time.Minute {
					return nil, errors.New("no such host")
				}
				var all []netip.Addr
				for i := range 20 {
					all = append(all, netip.MustParseAddr(fmt.Sprint("10.77.0.", i)))
				}
				return append(all, nodes[1].address.Addr()), nil
			}
		}
		f.add("n2").start(t)
		f.await(t, f.whole)
		f.stop()
	})
}

// What does not fit is dropped and counted, and memberlist goes on: nothing reads the inbox here.
func TestDelegate_NeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		g, err := New(Config{Name: "n0", Fleet: "test", Keys: [][]byte{testKey(1)}, Transport: f.network.Transport(f.fresh())})
		if err != nil {
			t.Fatal(err)
		}
		d := (*delegate)(g)
		b := encodeBroadcast(manifest("shop", 1), "n1")
		for range maxBroadcasts + 5 {
			d.NotifyMsg(b)
		}
		for range maxPages + 5 {
			d.NotifyMsg([]byte{wireVersion, listType})
		}
		for range maxStates + 5 {
			d.MergeRemoteState(d.LocalState(false), false)
		}
		for range maxTransfers + 5 {
			g.enqueue(transfer{to: "n1"})
		}
		if s := g.Stats(); s.Dropped != 20 || s.Refused != 0 {
			t.Errorf("%+v, want 20 dropped", s)
		}
		d.NotifyMsg(make([]byte, maxPage+1))
		d.NotifyMsg(append([]byte{wireVersion, broadcastType}, make([]byte, maxBroadcast)...))
		d.MergeRemoteState(make([]byte, maxState+1), false)
		if s := g.Stats(); s.Refused != 3 {
			t.Errorf("%+v, want 3 refused", s)
		}
		b[2] = 0xff // memberlist uses its bytes again
		if m, err := parseMessage(<-g.inbox.broadcasts); err != nil || m.sender != "n1" {
			t.Errorf("%+v, %v: the inbox has no copy", m, err)
		}
		for i := range uint64(2 * maxQueued) {
			g.broadcast(manifest(fmt.Sprint("app", i), 1), "n0")
		}
		if s := g.Stats(); s.Queued != maxQueued {
			t.Errorf("%d broadcasts are queued, want %d", s.Queued, maxQueued)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		pass(time.Minute)
	})
}

func TestLogHandler_UsesTheLevelOfMemberlist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		g := &Gossip{config: Config{Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
			Level: slog.LevelInfo,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))}}
		h := g.newLogHandler()
		log := func(line string) { // as slog's adapter for memberlist does
			if err := h.Handle(t.Context(), slog.NewRecord(time.Now(), slog.LevelError, line, 0)); err != nil {
				t.Fatal(err)
			}
		}
		for _, line := range []string{
			"[DEBUG] memberlist: dropped", "[INFO] memberlist: one", "[WARN] memberlist: two", "[ERR] memberlist: three",
			"Err: four", "[ERR] five",
		} {
			log(line)
		}
		want := "level=INFO msg=one of=memberlist\nlevel=WARN msg=two of=memberlist\nlevel=WARN msg=three of=memberlist\n" +
			"level=INFO msg=\"Err: four\" of=memberlist\nlevel=WARN msg=five of=memberlist\n"
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		for range 1000 {
			log("[ERR] memberlist: a stranger knocks")
		}
		if logged, muted := g.count.logged.Load(), g.count.muted.Load(); logged != linesAtOnce || muted != 1005-linesAtOnce {
			t.Errorf("%d lines are logged and %d muted", logged, muted)
		}
	})
}
