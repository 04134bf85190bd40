package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/memberlist"

	"brink/bench/internal/process"
	"brink/bench/internal/report"
	"brink/bench/internal/testbed"
	"brink/digest"
	"brink/gossip"
)

// How the spread is measured.
const (
	publishesPerTurn = 10
	fullNodes        = 50 // in the largest fleet of whole nodes
	warmUp           = 2  // publishes that do not count: connections are made, and states are told
	// tick is the time between the packets of gossip at its default pace.
	tick = 200 * time.Millisecond
	// unheard is after how long no packet is under way any more that tells of something: whoever has not heard of it by
	// then learns of it in an exchange, or, of bare memberlist, never.
	unheard = 5 * time.Second
)

// teller is a fleet in which something can be told to all.
type teller interface {
	// tell has one node tell something, another one in each round, and returns how long each of the others took to have
	// it. Those that are not to have it any more are left out.
	tell(ctx context.Context, round int) ([]time.Duration, error)
	close() error
}

// way is one way to tell something to as many nodes, and what was seen of it.
type way struct {
	name   string
	open   func() (teller, error)
	others int             // nodes that are told
	each   []time.Duration // until one node had it
	all    []time.Duration // until all nodes had it
	missed int             // publishes of which some node did not hear by packets
	teller teller
}

// spreads measures fleets of all sizes.
func (s *fleetBench) spreads(ctx context.Context, r *report.Report, publishes int) error {
	t := report.Table{
		Title: "Milliseconds until it is in force, p50 / p99",
		Head:  []string{"nodes", "way", "on one node", "on all nodes", "unheard", "load average"},
	}
	p := report.Plot{Name: "fleet-spread", Title: "Until all nodes have it, p99", Unit: "ms"}
	p.Series = []string{"bare memberlist", "gossip", "whole nodes"}
	for _, size := range []int{3, 10, fullNodes, 200} {
		fmt.Fprintf(s.Run.Status, "fleet: %d nodes\n", size)
		ways := s.ways(ctx, size)
		err := tellInTurns(ctx, ways, publishes)
		for _, w := range ways {
			if w.teller != nil {
				err = errors.Join(err, w.teller.close())
			}
		}
		if err != nil {
			return fmt.Errorf("%d nodes: %w", size, err)
		}
		g := report.Group{Name: report.Number(size) + " nodes", Values: []float64{-1, -1, -1}}
		load := process.LoadAverage()
		for i, w := range ways {
			t.Add(report.Number(size), w.name, report.Quantiles(w.each), report.Quantiles(w.all),
				fmt.Sprintf("%d of %d", w.missed, publishes), load)
			if i < len(g.Values) {
				g.Values[i] = float64(report.Quantile(w.all, 0.99)) / float64(time.Millisecond)
			}
		}
		p.Groups = append(p.Groups, g)
		if size == fullNodes {
			r.Aims = append(r.Aims, spreadAim(size, ways))
		}
	}
	r.Tables, r.Plots = append(r.Tables, t), append(r.Plots, p)
	return nil
}

// spreadAim compares whole nodes with the bare broadcast and one fill.
func spreadAim(size int, ways []*way) report.Aim {
	bare, whole, fill := report.Quantile(ways[0].all, 0.99), report.Quantile(ways[2].all, 0.99), report.Quantile(ways[3].all, 0.5)
	limit := bare*3/2 + fill
	return report.Aim{
		What: fmt.Sprintf("in force on all of %d nodes, p99", size),
		Want: fmt.Sprintf("1.5 × %s ms of the bare broadcast + %s ms of a fill = %s ms", report.Millis(bare), report.Millis(fill),
			report.Millis(limit)),
		Got: fmt.Sprintf("%s ms, %.2f × the bare broadcast", report.Millis(whole), float64(whole)/float64(bare)),
		Met: whole <= limit,
	}
}

// ways are what is compared for a size: the floor first.
func (s *fleetBench) ways(ctx context.Context, size int) []*way {
	list := []*way{
		{name: "bare memberlist broadcast", others: size - 1, open: func() (teller, error) { return newMemberlists(size) }},
		{name: "gossip, nothing pulled", others: size - 1, open: func() (teller, error) { return newPointers(ctx, size) }},
	}
	if size > fullNodes {
		return list
	}
	return append(list,
		&way{name: "whole nodes", others: size - 1, open: func() (teller, error) { return s.newNodes(ctx, size) }},
		&way{name: "one fill, asked for at once", others: 1, open: func() (teller, error) { return s.newPair(ctx) }})
}

// tellInTurns has each way tell something, one after the other, so many times over.
func tellInTurns(ctx context.Context, ways []*way, publishes int) error {
	for _, w := range ways {
		var err error
		if w.teller, err = w.open(); err != nil {
			w.teller = nil
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	for round := range warmUp + publishes {
		for _, w := range ways {
			// All heard of what was told last in one tick, and the next tick is not to be the same time after it in each round.
			if err := wait(ctx, rand.N(tick)); err != nil {
				return err
			}
			took, err := w.teller.tell(ctx, round+1)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if round < warmUp {
				continue
			}
			w.each = append(w.each, took...)
			if len(took) < w.others || report.Quantile(took, 1) > unheard {
				w.missed++
			}
			if len(took) == w.others {
				w.all = append(w.all, report.Quantile(took, 1))
			}
		}
	}
	return nil
}

// told returns how long the others took to hear of something, which they have to do within limit.
func told(
	ctx context.Context, news <-chan heard, others int, limit time.Duration, number uint64, since time.Time,
) ([]time.Duration, error) {
	list, err := gather(ctx, news, others, limit, func(h heard) bool { return h.number == number })
	var took []time.Duration
	for _, h := range list {
		took = append(took, h.at.Sub(since))
	}
	return took, err
}

// memberlists are bare memberlist with the settings that package gossip gives it, and no more: whoever hears a message
// for the first time passes it on.
type memberlists struct {
	list []*member
	news chan heard
}

// member is one of them. It is its own delegate.
type member struct {
	number int
	size   int // of the fleet
	list   *memberlist.Memberlist
	queue  memberlist.TransmitLimitedQueue
	last   uint64 // heard; only the goroutine that receives packets uses it
	news   chan<- heard
}

// broadcastSize is that of a broadcast of package gossip by a node with a name of seven bytes.
const broadcastSize = 45 + len(testbed.App+"/production") + len("node-10")

func newMemberlists(size int) (_ *memberlists, err error) {
	f := &memberlists{news: make(chan heard, 1<<12)}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	for i := range size {
		m := &member{number: i, size: size, news: f.news}
		c := memberlist.DefaultLANConfig()
		c.Name, c.Label = fmt.Sprintf("node-%d", i), "brink bench"
		c.BindAddr, c.BindPort, c.AdvertisePort = "127.0.0.1", 0, 0
		c.SecretKey, c.EnableCompression = make([]byte, gossip.KeySize), false
		c.Logger, c.Delegate = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), m
		m.queue.RetransmitMult = c.RetransmitMult
		if m.list, err = memberlist.Create(c); err != nil {
			return nil, err
		}
		m.queue.NumNodes = m.list.NumMembers
		f.list = append(f.list, m)
		if i > 0 {
			if _, err := m.list.Join([]string{f.list[0].list.LocalNode().Address()}); err != nil {
				return nil, err
			}
		}
	}
	return f, f.whole()
}

// whole returns when all know all.
func (f *memberlists) whole() error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for _, m := range f.list {
		for m.list.NumMembers() < len(f.list) {
			select {
			case <-tick.C:
			case <-late:
				return fmt.Errorf("%d of %d members are known", m.list.NumMembers(), len(f.list))
			}
		}
	}
	return nil
}

// tell implements [teller].
func (f *memberlists) tell(ctx context.Context, round int) ([]time.Duration, error) {
	m := f.list[round%len(f.list)]
	since := time.Now()
	m.pass(uint64(round))
	took, err := told(ctx, f.news, len(f.list)-1, unheard, uint64(round), since)
	if errors.Is(err, errLate) {
		err = nil // memberlist alone has nothing to make up for it
	}
	return took, err
}

func (f *memberlists) close() error {
	var errs []error
	for _, m := range f.list {
		errs = append(errs, m.list.Shutdown())
	}
	return errors.Join(errs...)
}

// pass has the member pass a message on.
func (m *member) pass(number uint64) {
	message := make([]byte, broadcastSize)
	binary.BigEndian.PutUint64(message, number)
	m.queue.QueueBroadcast(note(message))
}

// NodeMeta implements [memberlist.Delegate].
func (m *member) NodeMeta(int) []byte { return nil }

// NotifyMsg implements [memberlist.Delegate].
func (m *member) NotifyMsg(b []byte) {
	number := binary.BigEndian.Uint64(b)
	if number <= m.last || int(number)%m.size == m.number {
		return // it was heard before, or has come round
	}
	m.last = number
	m.news <- heard{m.number, number, time.Now()}
	m.pass(number)
}

// GetBroadcasts implements [memberlist.Delegate].
func (m *member) GetBroadcasts(overhead, limit int) [][]byte {
	return m.queue.GetBroadcasts(overhead, limit)
}

// LocalState implements [memberlist.Delegate].
func (m *member) LocalState(bool) []byte { return nil }

// MergeRemoteState implements [memberlist.Delegate].
func (m *member) MergeRemoteState([]byte, bool) {}

// note is a message to all. A new one leaves those before alone: they are hardly under way any more.
type note []byte

// Message implements [memberlist.Broadcast].
func (n note) Message() []byte { return n }

// Finished implements [memberlist.Broadcast].
func (n note) Finished() {}

// Invalidates implements [memberlist.Broadcast].
func (n note) Invalidates(memberlist.Broadcast) bool { return false }

// pointers is a fleet of package gossip whose consumers have at once what they hear of.
type pointers struct {
	list  []*gossip.Gossip
	end   context.CancelFunc
	ended chan error
	news  chan heard
}

func newPointers(ctx context.Context, size int) (_ *pointers, err error) {
	f := &pointers{news: make(chan heard, 1<<12), ended: make(chan error, size)}
	var running context.Context
	running, f.end = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	changed := make(chan struct{}, 1)
	for i := range size {
		var g *gossip.Gossip
		c := gossip.Config{
			Name: fmt.Sprintf("node-%d", i), Fleet: "bench", Bind: "127.0.0.1:0", URL: "http://127.0.0.1:1",
			Keys: [][]byte{make([]byte, gossip.KeySize)},
			Fetch: func(_ context.Context, _ gossip.Member, p gossip.Pointer) {
				f.news <- heard{i, p.Sequence, time.Now()}
				g.Announce(p)
			},
			Changed: func() {
				select {
				case changed <- struct{}{}:
				default:
				}
			},
		}
		if i > 0 {
			c.Join = []string{f.list[0].Self().Address}
		}
		if g, err = gossip.New(c); err != nil {
			return nil, err
		}
		f.list = append(f.list, g)
		go func() { f.ended <- g.Run(running) }()
	}
	late := time.After(patience)
	for _, g := range f.list {
		for len(g.Members()) < size {
			select {
			case <-changed:
			case <-late:
				return nil, fmt.Errorf("%d of %d members are known", len(g.Members()), size)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	return f, nil
}

// tell implements [teller].
func (f *pointers) tell(ctx context.Context, round int) ([]time.Duration, error) {
	since := time.Now()
	f.list[round%len(f.list)].Announce(pointer("production", uint64(round)))
	return told(ctx, f.news, len(f.list)-1, patience, uint64(round), since)
}

func (f *pointers) close() error {
	f.end()
	var errs []error
	for range f.list {
		errs = append(errs, <-f.ended)
	}
	return errors.Join(errs...)
}

func pointer(name string, sequence uint64) gossip.Pointer {
	return gossip.Pointer{
		Kind: gossip.Manifest, Name: testbed.App + "/" + name, Sequence: sequence,
		Digest: digest.Sum(fmt.Appendf(nil, "%s %d", name, sequence)),
	}
}
