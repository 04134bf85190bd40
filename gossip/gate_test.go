package gossip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"brink/bench/cost"
)

// open returns a Gossip on the loopback that does not run.
func open(t *testing.T, change ...func(*Config)) *Gossip {
	t.Helper()
	c := Config{Name: "n0", Fleet: "test", Keys: [][]byte{testKey(1)}, Bind: "127.0.0.1:0"}
	for _, f := range change {
		f(&c)
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func dial(t *testing.T, g *Gossip) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", g.self.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// opening returns the beginning of a stream that states a length.
func opening(l *labels, length uint32) []byte {
	b := append([]byte(labelHead), (*l.valid.Load())[0][:]...)
	return binary.BigEndian.AppendUint32(append(b, encrypted), length)
}

// One who has the label and no key states 19 MiB on each of many streams: that costs next to nothing.
func TestGate_LengthsOfStrangersReserveNothing(t *testing.T) {
	g := open(t)
	zeros := make([]byte, 64<<10)
	used := cost.Of(func() {
		for range 20 {
			c := dial(t, g)
			_, err := c.Write(opening(g.labels, 19<<20))
			for err == nil {
				_, err = c.Write(zeros) // until it is refused
			}
		}
	})
	if used > 4<<20 {
		t.Errorf("20 streams had the node allocate %d bytes", used)
	}
	if got := g.Stats().Barred; got != 20 {
		t.Errorf("%d of 20 streams are counted as refused", got)
	}
}

// Silent streams of strangers are few, and the rest is closed at once.
func TestGate_BoundsStreamsOfStrangers(t *testing.T) {
	g := open(t, func(c *Config) { c.Pace.Dial = time.Hour }) // which would keep them
	for i := range 3 * addressStreams {
		c := dial(t, g)
		if i < addressStreams {
			continue
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("stream %d of one address is not closed", i+1)
		}
	}
	if got := g.Stats().Barred; got != 2*addressStreams {
		t.Errorf("%d streams are counted as refused", got)
	}
}

// testGate is a gate over nothing, whose members have the addresses that are given.
func testGate(members ...string) *gate {
	return &gate{
		labels: newLabels("test", [][]byte{testKey(1)}), open: map[netip.Addr]int{}, count: &atomic.Int64{},
		report: func(net.Addr, error) {},
		known: func(ip netip.Addr) int {
			return len(slices.DeleteFunc(slices.Clone(members), func(m string) bool { return m != ip.String() }))
		},
	}
}

func TestGate_StrangersTakeNoPlacesOfMembers(t *testing.T) {
	t.Parallel()
	g := testGate("10.0.0.1", "10.0.0.2", "10.0.0.2")
	var releases []func()
	fill := func(ip string) int {
		for n := 0; ; n++ {
			release, err := g.acquireStream(netip.MustParseAddr(ip))
			if err != nil {
				return n
			}
			releases = append(releases, release)
		}
	}
	got := []int{fill("192.0.2.1"), fill("192.0.2.2"), fill("192.0.2.3"), fill("10.0.0.1"), fill("10.0.0.2")}
	want := []int{addressStreams, strangerStreams - addressStreams, 0, memberStreams, 2 * memberStreams}
	if !slices.Equal(got, want) {
		t.Errorf("streams are %v, want %v", got, want)
	}
	for _, release := range releases {
		release()
	}
	if len(g.open) != 0 || g.strangers != 0 {
		t.Errorf("after all have ended %v and %d are counted", g.open, g.strangers)
	}
}

func TestGate_ClosesStreamsFromOtherNetworks(t *testing.T) {
	under, err := listen(t.Context(), &memberlist.Config{BindAddr: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	g := open(t, func(c *Config) {
		c.Allow, c.Advertise = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "10.0.0.1:7946"
		c.Transport = under
	})
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", under.GetAutoBindPort()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a stream from outside is not closed")
	}
	if got := g.Stats().Barred; got != 1 {
		t.Errorf("%d streams are counted as refused", got)
	}
}

func TestNew_RefusesNetworksWithoutTheNodeItself(t *testing.T) {
	_, err := New(Config{
		Name: "n0", Fleet: "test", Keys: [][]byte{testKey(1)}, Bind: "127.0.0.1:0",
		Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	})
	if err == nil || !strings.Contains(err.Error(), "allowed networks") {
		t.Errorf("New returned %v", err)
	}
}

// The label changes with the fleet and with the key, and in a rotation each node takes what any other sends.
func TestLabels_FollowTheKeys(t *testing.T) {
	t.Parallel()
	a, b := testKey(1), testKey(2)
	steps := [][][]byte{{a}, {a, b}, {b, a}, {b}}
	packet := func(l *labels) []byte {
		p := append([]byte(labelHead+l.own), "sealed"...)
		if err := l.write(p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for i := range len(steps) - 1 {
		before, after := newLabels("test", steps[i]), newLabels("test", steps[i+1])
		for _, pair := range [][2]*labels{{before, after}, {after, before}, {before, before}, {after, after}} {
			if rest, err := pair[1].strip(packet(pair[0])); err != nil || string(rest) != "sealed" {
				t.Errorf("step %d: a packet is taken as %q, %v", i, rest, err)
			}
		}
	}
	one := newLabels("test", steps[0])
	for what, p := range map[string][]byte{
		"another key":   packet(newLabels("test", steps[3])),
		"another fleet": packet(newLabels("test2", steps[0])),
		"memberlist's":  []byte(labelHead + one.own + "sealed"),
		"the name":      append([]byte{244, 10}, "brink testsealed and more"...),
		"none":          []byte("sealed and of some length"),
		"nothing":       nil,
	} {
		if _, err := one.strip(p); !errors.Is(err, errLabel) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := one.write([]byte("no label of memberlist's")); err == nil {
		t.Error("something was sent without a label")
	}
}

// What nodes send each other stays below the bound, or large fleets would fall apart.
func TestStream_ExchangesFitTheBound(t *testing.T) {
	const members = 20
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		var longest atomic.Int64
		f.config = func(c *Config) {
			c.Name += strings.Repeat("n", MaxName-len(c.Name))
			c.Region, c.Version = strings.Repeat("r", MaxRegion), strings.Repeat("v", MaxVersion)
			c.URL += "/" + strings.Repeat("u", MaxURL-1-len(c.URL))
			c.Transport = recorder{c.Transport, &longest}
		}
		f.grow(t, members)
		pass(time.Minute)
		bound := int64(maxStream - (maxNodes-members)*maxNodeState)
		if got := longest.Load(); got > bound || got < bound*8/10 {
			t.Errorf("an exchange of %d members has %d bytes, want about %d and no more", members, got, bound)
		}
		f.stop()
	})
}

// recorder is a transport that tells the longest of what is written to streams.
type recorder struct {
	memberlist.Transport
	longest *atomic.Int64
}

func (r recorder) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	conn, err := r.Transport.DialTimeout(address, timeout)
	return recorded{conn, r.longest}, err
}

type recorded struct {
	net.Conn
	longest *atomic.Int64
}

func (r recorded) Write(b []byte) (int, error) {
	r.longest.Store(max(r.longest.Load(), int64(len(b))))
	return r.Conn.Write(b)
}

func FuzzReadOpening(f *testing.F) {
	l := newLabels("test", [][]byte{testKey(1)})
	for _, length := range []uint32{0, 1, maxStream, maxStream + 1, 19 << 20, 1<<32 - 1} {
		f.Add(append(opening(l, length), "sealed"...), false)
		f.Add(append(opening(l, length), "sealed"...)[len(labelHead)+labelSize:], true)
	}
	f.Add([]byte(labelHead), false)
	f.Fuzz(func(t *testing.T, b []byte, answer bool) {
		var got []byte
		cost.Check(t, len(b), func() {
			s := &stream{Conn: pipe{bytes.NewReader(b)}, gate: testGate(), outgoing: answer, release: func() {}}
			got, _ = io.ReadAll(s)
		})
		if len(got) == 0 {
			return
		}
		head := len(labelHead) + labelSize
		if answer {
			head = 0
		}
		if !bytes.HasPrefix(b[head:], got) || len(got) < encryptedHead || len(got) > encryptedHead+maxStream {
			t.Errorf("of %x memberlist reads %x", b, got)
		}
	})
}

// pipe is a connection of which only reading works.
type pipe struct{ io.Reader }

func (pipe) Write([]byte) (int, error)        { return 0, net.ErrClosed }
func (pipe) Close() error                     { return nil }
func (pipe) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (pipe) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (pipe) SetDeadline(time.Time) error      { return nil }
func (pipe) SetReadDeadline(time.Time) error  { return nil }
func (pipe) SetWriteDeadline(time.Time) error { return nil }
