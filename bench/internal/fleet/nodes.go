package fleet

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

// nodes are the Brink nodes of one fleet in this process, each with its own store, HTTP and gossip on loopback.
type nodes struct {
	dir   string
	owner *testbed.Node // keys, and the trust document
	trust []byte
	key   string // file of the fleet's key
	join  string // gossip address of the first node
	list  []*runningNode
	news  chan arrival
}

// runningNode is one of the nodes.
type runningNode struct {
	*edge.Node

	data   string
	cancel context.CancelFunc
	ended  chan error
}

// newNodes starts a fleet, and returns when all nodes are members of each other.
func (s *bench) newNodes(ctx context.Context, size int) (_ *nodes, err error) {
	f := &nodes{news: make(chan arrival, 1<<12)}
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
		one, err := f.startNew(i)
		if err != nil {
			return nil, err
		}
		f.list = append(f.list, one)
	}
	return f, f.waitMembers(ctx)
}

// startNew starts a node for the first time. The port of the first one must be chosen beforehand, so another program
// may be using it by then, and another port is tried.
func (f *nodes) startNew(i int) (one *runningNode, err error) {
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

// start starts a node on a data folder. It encodes nothing before a channel moves and makes no patches: other parts
// measure that.
func (f *nodes) start(i int, data string) (*runningNode, error) {
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
		Logger: slog.New(movedHandler{i, f.news}),
	})
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	one := &runningNode{Node: n, data: data, cancel: end, ended: make(chan error, 1)}
	go func() { one.ended <- n.Run(ctx) }()
	return one, nil
}

// stop stops a node and waits for it.
func (r *runningNode) stop() error {
	r.cancel()
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

// waitMembers waits until every node has all others as members. It polls the metrics.
func (f *nodes) waitMembers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, one := range f.list {
		for {
			members, err := countMembers(ctx, one)
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

// countMembers requests from a node how many members it knows.
func countMembers(ctx context.Context, one *runningNode) (int, error) {
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
	return 0, errors.New("the node has no metric brink_fleet_members")
}

// publish publishes a small bundle to a channel on one of the nodes, waits for replicas, and returns the sequence.
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

// announce implements [announcer].
func (f *nodes) announce(ctx context.Context, round int) ([]time.Duration, error) {
	return f.publishRound(ctx, round, 0)
}

// publishRound publishes on one node and returns how long after it the others had the release in force.
func (f *nodes) publishRound(ctx context.Context, round, replicas int) ([]time.Duration, error) {
	at := round % len(f.list)
	sequence, err := f.publish(ctx, at, "production", uint64(round), replicas)
	if err != nil {
		return nil, err
	}
	list, err := collect(ctx, f.news, len(f.list), maxWait, func(h arrival) bool { return h.number == sequence })
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
	return took, f.checkServed(ctx, sequence)
}

// checkServed returns an error for a node that does not serve what it has logged.
func (f *nodes) checkServed(ctx context.Context, sequence uint64) error {
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
			return fmt.Errorf("%s serves sequence %d and logged %d", one.URL(), m.Sequence, sequence)
		}
	}
	return nil
}
