package node

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"brink/node/serve"
	"brink/node/tally"
	"brink/protocol"
)

// fleetStats answers GET /v1/fleet/stats?app=&days=: what came to this node of an app, for another one to add up.
func (n *Node) fleetStats(r *serve.Request) error {
	if err := n.fromFleet(r, nil); err != nil {
		return err
	}
	days, err := r.QueryArgs().GetUint("days")
	if err != nil {
		return serve.Problem(protocol.CodeBadRequest, "days is no number", "")
	}
	snapshot, err := n.Stats(string(r.QueryArgs().Peek("app")), days)
	if err != nil {
		return err
	}
	r.SetContentType("application/octet-stream")
	r.SetBody(snapshot.Append(nil))
	return nil
}

// sumStats adds up what came to all nodes of the fleet, and names those that could not be asked.
func (n *Node) sumStats(ctx context.Context, app string, days int) (*tally.Snapshot, []string, error) {
	sum, err := n.Stats(app, days)
	if err != nil || n.fleet == nil {
		return sum, nil, err
	}
	target := protocol.FleetStatsPath + "?" + url.Values{"app": {app}, "days": {strconv.Itoa(days)}}.Encode()
	ctx, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	var (
		asking sync.WaitGroup
		mu     sync.Mutex
		silent []string
	)
	for _, m := range n.fleet.others() {
		asking.Go(func() {
			raw, err := n.ask(ctx, m, http.MethodGet, target, nil, protocol.MaxFleetAnswer)
			var part *tally.Snapshot
			if err == nil {
				part, err = tally.ParseSnapshot(raw)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				n.config.Logger.Warn("node tells no statistics", "node", m.Name, "error", err)
				silent = append(silent, m.Name)
				return
			}
			sum.Merge(part)
		})
	}
	asking.Wait()
	return sum, silent, nil
}
