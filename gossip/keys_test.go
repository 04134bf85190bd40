package gossip

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/memberlist"
	"pgregory.net/rapid"

	"brink/bench/cost"
)

func TestReadKeys_ReadsWhatNewKeyMakes(t *testing.T) {
	one, other := NewKey(), NewKey()
	if one == other {
		t.Fatal("the same key twice")
	}
	keys, err := ReadKeys([]byte("# fleet\n" + one + "\r\n\n  " + other + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := [][]byte{decode(t, one), decode(t, other)}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func decode(t *testing.T, text string) []byte {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestReadKeys_ErrorsDoNotQuoteTheKey(t *testing.T) {
	key := NewKey()
	for _, file := range []string{
		"", "# none\n", key + "\n" + key, key[:len(key)-4], key + "AAAA", "x" + key, strings.Repeat(NewKey()+"\n", 9),
	} {
		keys, err := ReadKeys([]byte(file))
		if err == nil {
			t.Errorf("%q: read %d keys", file, len(keys))
		} else if len(file) > 8 && strings.Contains(err.Error(), file[1:8]) {
			t.Errorf("the error tells the key: %v", err)
		}
	}
}

func FuzzReadKeys(f *testing.F) {
	f.Add([]byte(NewKey() + "\n# x\n" + NewKey()))
	f.Add([]byte(strings.Repeat(NewKey()+"\n", 10_000)))
	f.Fuzz(func(t *testing.T, file []byte) {
		var keys [][]byte
		var err error
		cost.Check(t, len(file), func() { keys, err = ReadKeys(file) })
		if err != nil {
			return
		}
		var again []string
		for _, key := range keys {
			again = append(again, base64.StdEncoding.EncodeToString(key))
		}
		same, err := ReadKeys([]byte(strings.Join(again, "\n")))
		if err != nil || !cmp.Equal(keys, same) {
			t.Errorf("%q: %d keys are %d when written and read again: %v", file, len(keys), len(same), err)
		}
	})
}

// A change of a key ring must not write where memberlist reads without a lock.
func TestReplaceKeys_LeavesWhatReadersSee(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		number := rapid.Custom(func(t *rapid.T) []byte { return testKey(byte(rapid.IntRange(1, 6).Draw(t, "key"))) })
		id := func(key []byte) byte { return key[0] }
		before := rapid.SliceOfNDistinct(number, 1, 5, id).Draw(rt, "before")
		after := rapid.SliceOfNDistinct(number, 1, 5, id).Draw(rt, "after")
		if !hasKey(before, after[0]) || !hasKey(after, before[0]) {
			return // Rekey refuses it
		}
		ring, err := memberlist.NewKeyring(before, before[0])
		if err != nil {
			rt.Fatal(err)
		}
		seen := ring.GetKeys()
		if err := replaceKeys(ring, after); err != nil {
			rt.Fatal(err)
		}
		if !cmp.Equal(seen, before) {
			rt.Errorf("readers of %v see %v now", before, seen)
		}
		got := slices.Clone(ring.GetKeys())
		if !bytes.Equal(got[0], after[0]) {
			rt.Errorf("primary is %d, want %d", got[0][0], after[0][0])
		}
		slices.SortFunc(got, bytes.Compare)
		want := slices.SortedFunc(slices.Values(after), bytes.Compare)
		if !cmp.Equal(want, got) {
			rt.Errorf("%v became %v, want %v", before, got, want)
		}
	})
}

func TestGossip_RekeyRefusesTwoStepsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		g := f.grow(t, 1)[0].gossip
		a, b := testKey(1), testKey(2)
		for _, keys := range [][][]byte{{b}, {b, a}, nil, {a, a}, {a, b[:16]}} {
			if err := g.Rekey(keys); err == nil {
				t.Errorf("%d keys are taken", len(keys))
			}
		}
		if err := g.Rekey([][]byte{b, a}); !errors.Is(err, ErrRotation) {
			t.Errorf("a primary that nobody knows: %v", err)
		}
		if err := g.Rekey([][]byte{a, b}); err != nil {
			t.Errorf("add: %v", err)
		}
		if err := g.Rekey([][]byte{b}); !errors.Is(err, ErrRotation) {
			t.Errorf("use and remove at once: %v", err)
		}
		if diff := cmp.Diff([][]byte{a, b}, g.keyring.GetKeys()); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
		f.stop()
	})
}

// In each step the nodes take the new keys one after the other, with time between them, and the fleet never notices.
func TestFleet_KeysCanBeRotatedWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		nodes := f.grow(t, 4)
		a, b := testKey(1), testKey(2)
		sequence := uint64(0)
		for _, keys := range [][][]byte{{a, b}, {b, a}, {b}} {
			for _, n := range nodes {
				if err := n.gossip.Rekey(keys); err != nil {
					t.Fatal(err)
				}
				sequence++
				n.publish(manifest("shop", sequence))
				f.await(t, func() bool { return f.holdAll(wantAll(manifest("shop", sequence))) })
				pass(time.Minute)
			}
		}
		for _, n := range nodes {
			if s := n.gossip.Stats(); s.Lost > 0 || s.Logged > 0 {
				t.Errorf("%s lost members or had something to complain of: %+v", n.name, s)
			}
		}
		outsider := f.add("n9") // has the former key only
		outsider.start(t)
		pass(10 * time.Minute)
		if diff := cmp.Diff([]string{"n9"}, names(outsider.gossip.Members())); diff != "" {
			t.Errorf("members of the outsider (-want +got):\n%s", diff)
		}
		f.stop()
	})
}

func TestFleet_StrangersNeverBecomeMembers(t *testing.T) {
	strangers := map[string]func(*Config, *node){
		"key":     func(c *Config, _ *node) { c.Keys = [][]byte{testKey(66)} },
		"label":   func(c *Config, _ *node) { c.Fleet = "test2" },
		"network": func(_ *Config, n *node) { n.address = netip.MustParseAddrPort("192.168.7.7:7946") },
	}
	for what, change := range strangers {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				f.config = func(c *Config) { c.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }
				nodes := f.grow(t, 3)
				stranger := f.add("stranger")
				change(&Config{}, stranger)
				f.config = func(c *Config) { change(c, stranger) }
				stranger.start(t)
				// It announces what is higher than all others', and it is asked to join, too.
				stranger.publish(manifest("shop", 99))
				for _, n := range nodes {
					_, _ = n.gossip.list.Join([]string{stranger.address.String()}) // which may well report no error
				}
				pass(10 * time.Minute)
				nodes[0].publish(manifest("shop", 1))
				f.await(t, func() bool { return nodes[2].count() > 0 && nodes[1].count() > 0 })
				pass(10 * time.Minute)
				for _, n := range nodes {
					if diff := cmp.Diff([]string{"n0", "n1", "n2"}, names(n.gossip.Members())); diff != "" {
						t.Errorf("members (-want +got):\n%s", diff)
					}
					if held, _ := n.gossip.Held(Manifest, "com.acme.shop/production"); held != manifest("shop", 1) {
						t.Errorf("%s holds %v", n.name, held)
					}
				}
				f.stop()
			})
		})
	}
}
