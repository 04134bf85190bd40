package gossip

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"brink/bench/cost"
	"brink/channel"
	"brink/digest"
)

// longest returns a pointer and a holder with the longest names that may be.
func longest() (Pointer, string) {
	return Pointer{
		Kind:     Manifest,
		Name:     strings.Repeat("a", channel.MaxApp) + "/" + strings.Repeat("c", channel.MaxChannel),
		Sequence: math.MaxUint64,
		Digest:   digest.Sum(nil),
	}, strings.Repeat("n", MaxName)
}

func TestBroadcast_IsSmall(t *testing.T) {
	p, holder := longest()
	if got := len(encodeBroadcast(p, holder)); got != maxBroadcast {
		t.Errorf("the longest has %d bytes, want maxBroadcast, which is %d", got, maxBroadcast)
	}
	p.Name = "com.example.company.department.application.of.theirs/production-europe-west-canary-of-the-week"
	holder = "node-17.eu-west-1.edge.brink.example.com"
	if got := len(encodeBroadcast(p, holder)); got >= 200 {
		t.Errorf("one with long names has %d bytes, want less than 200", got)
	}
}

// Memberlist never drops a broadcast that does not fit into a packet, so the longest one must arrive.
func TestBroadcast_LongestFitsThePackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p, holder := longest()
		f.config = func(c *Config) {
			c.Fleet = strings.Repeat("f", MaxFleet)
			c.Region, c.Version = strings.Repeat("r", MaxRegion), strings.Repeat("v", MaxVersion)
			c.URL += "/" + strings.Repeat("u", MaxURL-1-len(c.URL))
			c.Pace.Exchange = limit * 2 // which must not help
		}
		first := f.add(holder)
		first.start(t)
		inner := f.config
		f.config = func(c *Config) { inner(c); c.Join = []string{first.address.String()} }
		for _, name := range []string{"n1", "n2"} {
			f.add(name).start(t)
		}
		f.await(t, f.whole)
		first.publish(p)
		f.await(t, func() bool { return f.holdAll(wantAll(p)) })
		f.stop()
	})
}

func TestMeta_LongestIsBelowTheLimitOfMemberlist(t *testing.T) {
	m := Member{
		Name: strings.Repeat("n", MaxName), Region: strings.Repeat("r", MaxRegion),
		URL:   "https://host/" + strings.Repeat("u", MaxURL-len("https://host/")),
		State: Draining, Version: strings.Repeat("v", MaxVersion),
	}
	meta := appendMeta(nil, m)
	if len(meta) > maxMeta || maxMeta > 512 {
		t.Errorf("meta has %d bytes, maxMeta is %d", len(meta), maxMeta)
	}
	got := Member{Name: m.Name}
	if err := parseMeta(append(meta, "from the future"...), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("meta when read (-want +got):\n%s", diff)
	}
}

func TestConfig_ValidateBoundsWhatTravels(t *testing.T) {
	good := Config{Name: "n", Fleet: "f", Keys: [][]byte{testKey(1)}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*Config){
		"no name":         func(c *Config) { c.Name = "" },
		"long name":       func(c *Config) { c.Name = strings.Repeat("n", MaxName+1) },
		"path in name":    func(c *Config) { c.Name = "a/b" },
		"no fleet":        func(c *Config) { c.Fleet = "" },
		"long fleet":      func(c *Config) { c.Fleet = strings.Repeat("f", MaxFleet+1) },
		"long region":     func(c *Config) { c.Region = strings.Repeat("r", MaxRegion+1) },
		"long URL":        func(c *Config) { c.URL = "http://h/" + strings.Repeat("u", MaxURL) },
		"relative URL":    func(c *Config) { c.URL = "/x" },
		"URL of a file":   func(c *Config) { c.URL = "file:///x" },
		"URL with secret": func(c *Config) { c.URL = "http://a:b@h/" },
		"long version":    func(c *Config) { c.Version = strings.Repeat("v", MaxVersion+1) },
		"control":         func(c *Config) { c.Version = "1\n2" },
		"no key":          func(c *Config) { c.Keys = nil },
		"short key":       func(c *Config) { c.Keys = [][]byte{{1}} },
		"bind to a name":  func(c *Config) { c.Bind = "localhost:1" },
		"bind no port":    func(c *Config) { c.Bind = "127.0.0.1" },
		"advertise all":   func(c *Config) { c.Advertise = ":7946" },
		"join nothing":    func(c *Config) { c.Join = []string{""} },
		"join bad port":   func(c *Config) { c.Join = []string{"host:99999"} },
		"negative pace":   func(c *Config) { c.Pace.Probe = -1 },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	for _, join := range []string{"host", "host:1", "10.0.0.1", "10.0.0.1:2", "::1", "[::1]", "[::1]:3"} {
		c := good
		c.Join = []string{join}
		if err := c.Validate(); err != nil {
			t.Errorf("join %q: %v", join, err)
		}
	}
}

func drawPointer(t *rapid.T) Pointer {
	p := Pointer{
		Kind:     rapid.SampledFrom([]Kind{Manifest, Trust, Journal}).Draw(t, "kind"),
		Name:     rapid.StringMatching(`[a-z][a-z0-9]{0,3}`).Draw(t, "name"),
		Sequence: rapid.Uint64Range(0, 5).Draw(t, "sequence"),
		Digest:   digest.Digest{rapid.ByteRange(1, 3).Draw(t, "digest")},
	}
	if p.Kind == Manifest {
		p.Name += "/beta"
	}
	return p
}

func TestMessages_AreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(drawPointer), 1, 20).Draw(rt, "pointers")
		got, err := parseMessage(encodeBroadcast(list[0], "n1"))
		want := message{kind: broadcastType, sender: "n1", pointers: list[:1]}
		if err != nil || !reflect.DeepEqual(want, got) {
			rt.Errorf("broadcast %+v, %v, want %+v", got, err, want)
		}
		offer := appendText([]byte{wireVersion, offerType}, "n1")
		for _, p := range list {
			offer = appendPointer(offer, p)
		}
		got, err = parseMessage(offer)
		want = message{kind: offerType, sender: "n1", pointers: list}
		if err != nil || !reflect.DeepEqual(want, got) {
			rt.Errorf("offer %+v, %v, want %+v", got, err, want)
		}
		var s sums
		for i := range s {
			s[i] = rapid.Uint64().Draw(rt, "sum")
		}
		sums, sender, err := parseState(appendState(nil, &s, "n1"))
		if err != nil || sums != s || sender != "n1" {
			rt.Errorf("state of %s, %v", sender, err)
		}
	})
}

func TestMessage_WithSomethingNewKeepsTheRest(t *testing.T) {
	offer := appendText([]byte{wireVersion, offerType}, "n1")
	offer = appendPointer(offer, Pointer{Kind: 77, Name: "of a later version", Sequence: 1, Digest: digest.Sum(nil)})
	offer = appendPointer(offer, Pointer{Kind: Manifest, Name: "no channel", Sequence: 1, Digest: digest.Sum(nil)})
	offer = appendPointer(offer, manifest("shop", 1))
	got, err := parseMessage(offer)
	if diff := cmp.Diff([]Pointer{manifest("shop", 1)}, got.pointers); diff != "" || err != nil {
		t.Errorf("pointers (-want +got), %v:\n%s", err, diff)
	}
}

func TestMessage_ListThatLiesAboutItsRangeIsRefused(t *testing.T) {
	p := manifest("shop", 1)
	h := p.key().hash()
	head := appendText([]byte{wireVersion, listType}, "n1")
	if _, err := parseMessage(appendSection(head, section{lo: h, hi: h, pointers: []Pointer{p}})); err != nil {
		t.Errorf("a true one: %v", err)
	}
	for _, s := range []section{
		{lo: h + 1, hi: h + 2, pointers: []Pointer{p}},
		{lo: h, hi: h - 1},
		{lo: h, hi: h ^ 1<<56 | 1<<63},
	} {
		if _, err := parseMessage(appendSection(head, s)); err == nil {
			t.Errorf("section %x to %x is taken", s.lo, s.hi)
		}
	}
}

func FuzzMessage(f *testing.F) {
	p, holder := longest()
	f.Add(encodeBroadcast(p, holder))
	h := p.key().hash()
	f.Add(appendSection(appendText([]byte{wireVersion, listType}, "n1"), section{lo: h, hi: h | 1, pointers: []Pointer{p}}))
	f.Add(appendPointer(appendText([]byte{wireVersion, offerType}, "n1"), manifest("shop", 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		cost.Check(t, len(b), func() { _, _ = parseMessage(b) })
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		for _, s := range m.sections {
			m.pointers = append(m.pointers, s.pointers...)
		}
		if len(m.pointers)*minPointer > len(b) {
			t.Errorf("%d pointers from %d bytes", len(m.pointers), len(b))
		}
		for _, p := range m.pointers {
			if err := p.check(); err != nil {
				t.Errorf("%+v: %v", p, err)
			}
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add(appendState(nil, &sums{1, 2, 3}, "n1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		cost.Check(t, len(b), func() { _, _, _ = parseState(b) })
		if s, sender, err := parseState(b); err == nil && string(appendState(nil, &s, sender)) != string(b) {
			t.Errorf("%x is read as something else", b)
		}
	})
}

func FuzzMeta(f *testing.F) {
	f.Add("n1", appendMeta(nil, Member{Region: "eu", URL: "https://h:1/x", State: Ready, Version: "1.2.3"}))
	f.Fuzz(func(t *testing.T, name string, meta []byte) {
		m := Member{Name: name}
		cost.Check(t, len(meta), func() { _ = parseMeta(meta, &Member{Name: name}) })
		if parseMeta(meta, &m) != nil {
			return
		}
		again := Member{Name: name}
		if err := parseMeta(appendMeta(nil, m), &again); err != nil || again != m {
			t.Errorf("%+v is %+v when written and read: %v", m, again, err)
		}
		c := Config{Name: m.Name, Region: m.Region, URL: m.URL, Version: m.Version, Fleet: "f", Keys: [][]byte{testKey(1)}}
		if err := c.Validate(); err != nil {
			t.Errorf("a member %+v that could not be: %v", m, err)
		}
	})
}
