package fleet

import (
	"context"
	"errors"
	"time"

	"brink/publish"
)

// pair is a fleet of two, which shows how long a node takes to fetch one release without waiting for gossip: the
// publisher requires two replicas, so the second node is asked to fetch it at once.
type pair struct{ *nodes }

// newPair starts a pair, and returns when each node knows that the other one serves, which is after they are members.
func (s *bench) newPair(ctx context.Context) (_ pair, err error) {
	f, err := s.newNodes(ctx, 2)
	if err != nil {
		return pair{}, err
	}
	build := uint64(0) // rises from node to node, because a channel refuses a lower version
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
		case <-f.news: // of the publishes above
		default:
			return pair{f}, nil
		}
	}
}

// announce implements [announcer].
func (p pair) announce(ctx context.Context, round int) ([]time.Duration, error) {
	return p.publishRound(ctx, round, 2)
}
