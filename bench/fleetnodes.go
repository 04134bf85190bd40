package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"brink/bench/internal/testbed"
	"brink/channel"
	"brink/gossip"

	edge "brink/node"
	"brink/publish"
)

// nodes are Brink nodes of one fleet in this process, each with a store, HTTP and gossip of its own on loopback.
type nodes struct {
	dir   string
	owner *testbed.Node // keys, and the trust document
	trust []byte
	key   string // file of the fleet's key
	join  string // where the first node gossips
	list  []*runner
	news  chan heard
}

// runner is one of them.
type runner struct {
	*edge.Node

	data  string
	end   context.CancelFunc
	ended chan error
}

// newNodes starts a fleet, and returns when all know all.
func (s *fleetBench) newNodes(ctx context.Context, size int) (_ *nodes, err error) {
	f := &nodes{news: make(chan heard, 1<<12)}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if f.dir, err = os.MkdirTemp(s.Dir, "fleet-*"); err != nil {
		return nil, err
	}
	if f.owner, err = (&testbed.Testbed{Run: s.Run, Dir: f.dir}).NewNode(); err != nil {
		return nil, err
	}
	if f.trust, err = os.ReadFile(f.owner.Trust); err != nil {
		return nil, err
	}
	f.key = filepath.Join(f.dir, "fleet.key")
	if err := os.WriteFile(f.key, []byte(gossip.NewKey()+"\n"), 0o600); err != nil {
		return nil, err
	}
	for i := range size {
		one, err := f.first(i)
		if err != nil {
			return nil, err
		}
		f.list = append(f.list, one)
	}
	return f, f.whole(ctx)
}

// first starts a node for the first time. The port that the others join at has to be known beforehand, so somebody else
// may have it by then, and another one is tried.
func (f *nodes) first(i int) (one *runner, err error) {
	for range 5 {
		if i == 0 {
			if f.join, err = testbed.FreeAddress(); err != nil {
				return nil, err
			}
		}
		one, err = f.start(i, filepath.Join(f.dir, fmt.Sprintf("node-%d", i)))
		if err == nil || i > 0 {
			break
		}
	}
	return one, err
}

// start runs a node on a data folder. Nothing is encoded before a channel moves, and no patches are made: that is
// measured elsewhere.
func (f *nodes) start(i int, data string) (*runner, error) {
	bind := "127.0.0.1:0"
	var join []string
	if i == 0 {
		bind = f.join
	} else {
		join = []string{f.join}
	}
	n, err := edge.New(edge.Config{
		Data: data, Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Trust: [][]byte{f.trust},
		Quota: 256 << 20, Hot: 1 << 20, PatchReleases: -1, Prepare: -1, Drain: -1,
		Fleet: edge.FleetOptions{
			Name: "bench", Node: fmt.Sprintf("node-%d", i), Region: "here", Bind: bind, Join: join, KeyFile: f.key,
		},
		Logger: slog.New(ear{i, f.news}),
	})
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	one := &runner{Node: n, data: data, end: end, ended: make(chan error, 1)}
	go func() { one.ended <- n.Run(ctx) }()
	return one, nil
}

// stop ends a node and waits for it.
func (r *runner) stop() error {
	r.end()
	return <-r.ended
}

func (f *nodes) close() error {
	var ending sync.WaitGroup
	errs := make([]error, len(f.list))
	for i, one := range f.list {
		ending.Go(func() { errs[i] = one.stop() })
	}
	ending.Wait()
	f.list = nil
	return errors.Join(append(errs, os.RemoveAll(f.dir))...)
}

// whole returns when every node has all others as members. It has to ask again and again, as an operator does.
func (f *nodes) whole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, one := range f.list {
		for {
			members, err := membersOf(ctx, one)
			if err == nil && members == len(f.list) {
				break
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return errors.Join(fmt.Errorf("%d of %d nodes know each other", members, len(f.list)), err, ctx.Err())
			}
		}
	}
	return nil
}

// membersOf asks a node how many members it knows.
func membersOf(ctx context.Context, one *runner) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+one.AdminAddr()+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "brink_fleet_members "); ok {
			members := 0
			_, err := fmt.Sscan(text, &members)
			return members, err
		}
	}
	return 0, errors.New("the node does not tell how many members it knows")
}

// publish publishes a small bundle to a channel, at one of the nodes, and waits for as many replicas.
func (f *nodes) publish(ctx context.Context, at int, name string, build uint64, replicas int) (uint64, error) {
	dir := filepath.Join(f.dir, "files")
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	if err := os.CopyFS(dir, testbed.SmallFiles(build)); err != nil {
		return 0, err
	}
	web := testbed.NewClient()
	defer web.CloseIdleConnections()
	p, err := publish.New(publish.Config{
		Node: f.list[at].URL(), Trust: f.trust, Keys: []channel.PrivateKey{f.owner.Key}, HTTP: web, Replicas: replicas,
	})
	if err != nil {
		return 0, err
	}
	result, err := p.Publish(ctx, publish.Request{
		Dir: dir, App: testbed.App, Version: fmt.Sprintf("1.0.%d", build), Channel: name,
	})
	return result.Sequence, err
}

// tell implements [teller].
func (f *nodes) tell(ctx context.Context, round int) ([]time.Duration, error) {
	return f.spread(ctx, round, 0)
}

// spread publishes at one node and returns how long the others took to have it in force, from when that node had.
func (f *nodes) spread(ctx context.Context, round, replicas int) ([]time.Duration, error) {
	at := round % len(f.list)
	sequence, err := f.publish(ctx, at, "production", uint64(round), replicas)
	if err != nil {
		return nil, err
	}
	list, err := gather(ctx, f.news, len(f.list), patience, func(h heard) bool { return h.number == sequence })
	if err != nil {
		return nil, err
	}
	var first time.Time
	for _, h := range list {
		if h.node == at {
			first = h.at
		}
	}
	var took []time.Duration
	for _, h := range list {
		if h.node != at {
			took = append(took, h.at.Sub(first))
		}
	}
	return took, f.serve(ctx, sequence)
}

// serve reports a node that does not serve what it said that it has.
func (f *nodes) serve(ctx context.Context, sequence uint64) error {
	web := testbed.NewClient()
	defer web.CloseIdleConnections()
	for _, one := range f.list {
		p, err := publish.New(publish.Config{
			Node: one.URL(), Trust: f.trust, Keys: []channel.PrivateKey{f.owner.Key}, HTTP: web,
		})
		if err != nil {
			return err
		}
		m, err := p.Channel(ctx, testbed.App, "production")
		if err != nil {
			return err
		}
		if m.Sequence < sequence {
			return fmt.Errorf("%s serves sequence %d and said %d", one.URL(), m.Sequence, sequence)
		}
	}
	return nil
}

// pair is a fleet of two, which shows what bringing in one release costs when nobody has to wait for gossip: the
// publisher asks for two replicas, so the second node is asked for it at once.
type pair struct{ *nodes }

// newPair returns when each of the two knows that the other serves, which they tell after they have become members.
func (s *fleetBench) newPair(ctx context.Context) (_ pair, err error) {
	f, err := s.newNodes(ctx, 2)
	if err != nil {
		return pair{}, err
	}
	build := uint64(0) // goes on rising from node to node: a channel takes no lower version
	for at := range f.list {
		for {
			build++
			_, err := f.publish(ctx, at, "warm", build, 2)
			var few *publish.ReplicasError
			if err == nil {
				break
			}
			if !errors.As(err, &few) || build == 200 {
				return pair{}, errors.Join(err, f.close())
			}
			if err := wait(ctx, 100*time.Millisecond); err != nil {
				return pair{}, errors.Join(err, f.close())
			}
		}
	}
	for {
		select {
		case <-f.news: // of what does not count
		default:
			return pair{f}, nil
		}
	}
}

// tell implements [teller].
func (p pair) tell(ctx context.Context, round int) ([]time.Duration, error) {
	return p.spread(ctx, round, 2)
}
