package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"brink/bench/internal/testbed"
	"brink/digest"
	"brink/gossip"
)

// pointers is a fleet of package gossip whose nodes have what is announced as soon as they receive the pointer.
type pointers struct {
	list   []*gossip.Gossip
	cancel context.CancelFunc
	ended  chan error
	news   chan arrival
}

func newPointers(ctx context.Context, size int) (_ *pointers, err error) {
	f := &pointers{news: make(chan arrival, 1<<12), ended: make(chan error, size)}
	var running context.Context
	running, f.cancel = context.WithCancel(context.Background())
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
				f.news <- arrival{i, p.Sequence, time.Now()}
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
	late := time.After(maxWait)
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

// announce implements [announcer].
func (f *pointers) announce(ctx context.Context, round int) ([]time.Duration, error) {
	since := time.Now()
	f.list[round%len(f.list)].Announce(pointer("production", uint64(round)))
	return delays(ctx, f.news, len(f.list)-1, maxWait, uint64(round), since)
}

func (f *pointers) close() error {
	f.cancel()
	var errs []error
	for range f.list {
		errs = append(errs, <-f.ended)
	}
	return errors.Join(errs...)
}

// pointer returns a pointer to a manifest that does not exist.
func pointer(name string, sequence uint64) gossip.Pointer {
	return gossip.Pointer{
		Kind: gossip.Manifest, Name: testbed.App + "/" + name, Sequence: sequence,
		Digest: digest.Sum(fmt.Appendf(nil, "%s %d", name, sequence)),
	}
}
