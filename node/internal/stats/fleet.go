package stats

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"brink/node/internal/serve"
	"brink/node/tally"
	"brink/origin"
	"brink/protocol"
)

// askWait bounds how long another node may take to send its counts.
const askWait = 5 * time.Second

// Fleet gives access to the other nodes.
type Fleet interface {
	// Others returns the other nodes that serve. It does not block.
	Others() []origin.Member
	// Request sends a request to another node, and waits until ctx ends for the answer of at most limit bytes.
	Request(ctx context.Context, to origin.Member, method, target string, body []byte, limit int64) ([]byte, error)
}

// GetStats answers GET /v1/fleet/stats?app=&days= with the counts of an app on this node. The caller has checked that a
// node of the fleet asks.
func (s *Stats) GetStats(r *serve.Request) error {
	days, err := r.QueryArgs().GetUint("days")
	if err != nil {
		return serve.Problem(protocol.CodeBadRequest, "days is not a number", "")
	}
	snapshot, err := s.Snapshot(string(r.QueryArgs().Peek("app")), days)
	if err != nil {
		return err
	}
	r.SetContentType("application/octet-stream")
	r.SetBody(snapshot.Append(nil))
	return nil
}

// sum merges the snapshots of all nodes of the fleet, and returns the names of nodes that did not answer.
func (s *Stats) sum(ctx context.Context, app string, days int) (*tally.Snapshot, []string, error) {
	sum, err := s.Snapshot(app, days)
	if err != nil || s.Fleet == nil {
		return sum, nil, err
	}
	target := protocol.FleetStatsPath + "?" + url.Values{"app": {app}, "days": {strconv.Itoa(days)}}.Encode()
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	var (
		asking sync.WaitGroup
		mu     sync.Mutex
		silent []string
	)
	for _, m := range s.Fleet.Others() {
		asking.Go(func() {
			raw, err := s.Fleet.Request(ctx, m, http.MethodGet, target, nil, protocol.MaxFleetAnswer)
			var part *tally.Snapshot
			if err == nil {
				part, err = tally.ParseSnapshot(raw)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.Logger.Warn("cannot get statistics from node", "node", m.Name, "error", err)
				silent = append(silent, m.Name)
				return
			}
			sum.Merge(part)
		})
	}
	asking.Wait()
	return sum, silent, nil
}
