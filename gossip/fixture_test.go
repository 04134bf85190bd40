package gossip

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"brink/digest"
	"brink/gossip/gossiptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is how long, on a bubble's clock, a fleet may take for what it must do sometime.
const limit = 30 * time.Minute

// fleet is some nodes in a synctest bubble, so that minutes of the default pace pass at once.
type fleet struct {
	network *gossiptest.Network
	config  func(*Config) // changes what new nodes begin with
	pulse   chan struct{} // something has changed

	mu      sync.Mutex
	nodes   map[string]*node
	serving map[netip.AddrPort]*node
	side    map[netip.AddrPort]int
	genuine map[Pointer]bool // what a check of the content would find to be in order
	fault   error            // the first breach of a promise
	ports   uint16
}

// node is a consumer of package gossip: what it has is kept over restarts, as a store keeps it.
type node struct {
	fleet   *fleet
	name    string
	address netip.AddrPort
	gossip  *Gossip // nil: it is down
	wire    *gossiptest.Transport
	cancel  context.CancelFunc
	ended   chan struct{}

	mu   sync.Mutex
	has  map[key]Pointer
	busy map[key]bool
}

func newFleet() *fleet {
	return &fleet{
		network: gossiptest.New(), config: func(*Config) {}, pulse: make(chan struct{}, 1),
		nodes: map[string]*node{}, serving: map[netip.AddrPort]*node{}, genuine: map[Pointer]bool{},
	}
}

func testKey(b byte) []byte { return bytes.Repeat([]byte{b}, KeySize) }

// fresh returns an address that nobody had.
func (f *fleet) fresh() netip.AddrPort {
	f.ports++
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(f.ports >> 8), byte(f.ports)}), DefaultPort)
}

// add makes a node that is down.
func (f *fleet) add(name string) *node {
	n := &node{fleet: f, name: name, address: f.fresh(), has: map[key]Pointer{}, busy: map[key]bool{}}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[name] = n
	return n
}

// grow starts nodes n0, n1 ... that know the first one, and waits until all know all.
func (f *fleet) grow(t testing.TB, size int) []*node {
	t.Helper()
	list := make([]*node, size)
	for i := range list {
		list[i] = f.add(fmt.Sprintf("n%d", i))
		list[i].start(t)
	}
	f.await(t, f.whole)
	return list
}

func (n *node) start(t testing.TB) {
	t.Helper()
	if err := n.tryStart(); err != nil {
		t.Fatal(err)
	}
}

func (n *node) tryStart() error {
	f := n.fleet
	n.wire = f.network.Transport(n.address)
	c := Config{
		Name: n.name, Fleet: "test", URL: "http://" + n.address.Addr().String(), Keys: [][]byte{testKey(1)},
		Fetch: n.fetch, Changed: func() { signal(f.pulse) }, Transport: n.wire,
	}
	f.mu.Lock()
	if first := f.nodes["n0"]; first != nil && first != n {
		c.Join = []string{first.address.String()}
	}
	f.mu.Unlock()
	f.config(&c)
	g, err := New(c)
	if err != nil {
		return err
	}
	n.mu.Lock()
	for _, p := range n.has {
		g.Announce(p)
	}
	n.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	f.mu.Lock()
	n.gossip, n.cancel, n.ended = g, cancel, make(chan struct{})
	f.serving[n.address] = n
	f.mu.Unlock()
	go func() {
		defer close(n.ended)
		if err := g.Run(ctx); err != nil {
			f.breach("%s ended: %v", n.name, err)
		}
	}()
	return nil
}

func (n *node) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.has)
}

// stop ends a node in order.
func (n *node) stop() {
	if n.gossip == nil {
		return
	}
	n.cancel()
	<-n.ended
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()
	delete(n.fleet.serving, n.address)
	n.gossip = nil
}

// crash takes a node off the network before it can say anything.
func (n *node) crash() {
	if n.gossip != nil {
		_ = n.wire.Shutdown()
		n.stop()
	}
}

// stop ends all nodes, and waits for what memberlist started: after its shutdown a probe may still wait for its time.
func (f *fleet) stop() {
	for _, n := range f.nodes {
		n.stop()
	}
	pass(time.Minute)
}

func (f *fleet) breach(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault == nil {
		f.fault = fmt.Errorf(format, args...)
	}
	signal(f.pulse)
}

func (f *fleet) cut(side map[netip.AddrPort]int) {
	f.network.Cut(side)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.side = maps.Clone(side)
}

// await returns when reached is true, which it looks at each time that a node of the fleet has learned something.
func (f *fleet) await(t testing.TB, reached func() bool) {
	t.Helper()
	if err := f.tryAwait(reached); err != nil {
		t.Fatal(err)
	}
}

func (f *fleet) tryAwait(reached func() bool) error {
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		f.mu.Lock()
		fault := f.fault
		f.mu.Unlock()
		if fault != nil {
			return fault
		}
		if reached() {
			return nil
		}
		select {
		case <-f.pulse:
		case <-late.C:
			return fmt.Errorf("not reached within %v: %s", limit, f.describe())
		}
	}
}

func (f *fleet) describe() string {
	text := ""
	for name, n := range f.nodes {
		if n.gossip != nil {
			text += fmt.Sprintf("\n%s %+v", name, n.gossip.Stats())
		}
	}
	return text
}

// pass lets time go by on the clock of the bubble.
func pass(d time.Duration) { <-time.After(d) }

func (f *fleet) running() []*node {
	var list []*node
	for _, n := range f.nodes {
		if n.gossip != nil {
			list = append(list, n)
		}
	}
	return list
}

// whole reports whether all running nodes have each other as members, and no one else.
func (f *fleet) whole() bool {
	running := f.running()
	for _, n := range running {
		if len(n.gossip.Members()) != len(running) {
			return false
		}
	}
	return true
}

// holdAll reports whether all running nodes hold what is wanted.
func (f *fleet) holdAll(want map[key]Pointer) bool {
	for _, n := range f.running() {
		for k, p := range want {
			if held, ok := n.gossip.Held(k.kind, k.name); !ok || held != p {
				return false
			}
		}
	}
	return true
}

// highest returns, for each name, the highest pointer that a running node has.
func (f *fleet) highest() map[key]Pointer {
	want := map[key]Pointer{}
	for _, n := range f.running() {
		n.mu.Lock()
		for k, p := range n.has {
			if former, ok := want[k]; !ok || p.Compare(former) > 0 {
				want[k] = p
			}
		}
		n.mu.Unlock()
	}
	return want
}

// publish has a node hold p and say so.
func (n *node) publish(p Pointer) {
	n.fleet.mu.Lock()
	n.fleet.genuine[p] = true
	n.fleet.mu.Unlock()
	n.keep(p)
}

// keep is what a store does: a lower manifest never replaces a higher one.
func (n *node) keep(p Pointer) {
	n.mu.Lock()
	former, ok := n.has[p.key()]
	if ok && p.Compare(former) <= 0 {
		n.mu.Unlock()
		return
	}
	n.has[p.key()] = p
	n.mu.Unlock()
	n.gossip.Announce(p)
	if held, ok := n.gossip.Held(p.Kind, p.Name); !ok || held.Compare(p) < 0 {
		n.fleet.breach("%s announced %v and holds %v", n.name, p, held)
	}
	signal(n.fleet.pulse)
}

// fetch fetches what a pointer points at, if the member that is named has it and can be reached, and checks it.
func (n *node) fetch(ctx context.Context, from Member, p Pointer) {
	f, k := n.fleet, p.key()
	n.mu.Lock()
	if n.busy[k] {
		f.breach("%s is told of %v twice at once", n.name, k)
	}
	n.busy[k] = true
	former, ok := n.has[k]
	n.mu.Unlock()
	if ok && p.Compare(former) <= 0 {
		f.breach("%s has %v and is told of %v", n.name, former, p)
	}
	address, err := netip.ParseAddrPort(from.Address)
	if err != nil {
		f.breach("member %+v: %v", from, err)
	}
	pass(5 * time.Millisecond) // a request over HTTP
	f.mu.Lock()
	source := f.serving[address]
	reached := source != nil && source.name == from.Name && f.side[address] == f.side[n.address] && f.genuine[p]
	f.mu.Unlock()
	if reached {
		source.mu.Lock()
		there, ok := source.has[k]
		source.mu.Unlock()
		reached = ok && there.Compare(p) >= 0
		p = there // it may be higher by now
	}
	n.mu.Lock()
	delete(n.busy, k)
	n.mu.Unlock()
	if reached && ctx.Err() == nil {
		n.keep(p)
	}
}

func manifest(name string, sequence uint64) Pointer {
	return Pointer{
		Kind: Manifest, Name: "com.acme." + name + "/production", Sequence: sequence,
		Digest: digest.Sum(fmt.Appendf(nil, "%s %d", name, sequence)),
	}
}

func wantAll(list ...Pointer) map[key]Pointer {
	want := map[key]Pointer{}
	for _, p := range list {
		want[p.key()] = p
	}
	return want
}

func names(members []Member) []string {
	var list []string
	for _, m := range members {
		list = append(list, m.Name)
	}
	slices.Sort(list)
	return list
}
