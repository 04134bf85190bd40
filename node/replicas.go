package node

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"brink/channel"
	"brink/gossip"
	"brink/protocol"
)

// replicaWait bounds how long a publisher waits for other nodes to hold what it published.
const replicaWait = 60 * time.Second

// replicas is on how many nodes, and in how many regions, a release is to be durable before its publisher is told.
type replicas struct{ nodes, regions int }

// wanted reads what a publisher asks for.
func (n *Node) wanted(r *request) (replicas, error) {
	want := replicas{nodes: 1, regions: 1}
	for field, into := range map[string]*int{protocol.FieldReplicas: &want.nodes, protocol.FieldRegions: &want.regions} {
		value := string(r.Request.Header.Peek(field))
		if value == "" {
			continue
		}
		number, err := strconv.Atoi(value)
		if err != nil || number < 1 || number > protocol.MaxReplicas {
			return want, problem(protocol.CodeBadRequest,
				fmt.Sprintf("%s is %q, not a number from 1 to %d", field, value, protocol.MaxReplicas), "")
		}
		*into = number
	}
	if want.nodes > 1 && n.fleet == nil {
		return want, problem(protocol.CodeBadRequest, "this node belongs to no fleet, so there can be no other replica",
			"start it with --fleet, or publish without --replicas")
	}
	return want, nil
}

func (w replicas) met(by []protocol.Replica) bool {
	regions := map[string]bool{}
	for _, one := range by {
		regions[one.Region] = true
	}
	return len(by) >= w.nodes && len(regions) >= w.regions
}

// replicate returns when so many nodes hold m durably as are wanted, or when no more will in time. It returns those
// that do, this one first, and nothing when only this one was wanted. It waits for members that are starting, or were
// when this node last heard of them: whoever has just started a fleet has its nodes counted.
func (n *Node) replicate(m *channel.Manifest, want replicas) []protocol.Replica {
	if n.fleet == nil || want.nodes <= 1 && want.regions <= 1 {
		return nil
	}
	self := protocol.Replica{Node: n.fleet.config.Node, Region: n.fleet.config.Region}
	have := []protocol.Replica{self}
	ctx, cancel := context.WithTimeout(n.ctx, replicaWait)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel() // those that are not needed any more take it from what they hear by gossip
	asked := map[string]bool{}
	answers := make(chan *protocol.Replica, protocol.MaxReplicas)
	for waiting := 0; ; {
		change := n.fleet.change()
		for _, other := range spread(n.fleet.others(), self.Region) {
			if asked[other.Name] || len(asked) == cap(answers) {
				continue
			}
			asked[other.Name] = true
			waiting++
			asking.Go(func() { answers <- n.askHold(ctx, other, m) })
		}
		if want.met(have) || waiting == 0 && !n.fleet.starting() {
			return have
		}
		select {
		case one := <-answers:
			waiting--
			if one != nil {
				have = append(have, *one)
			}
		case <-change:
		case <-ctx.Done():
			return have
		}
	}
}

// askHold asks another node to hold a manifest, and returns nil if it does not.
func (n *Node) askHold(ctx context.Context, other gossip.Member, m *channel.Manifest) *protocol.Replica {
	question := protocol.Hold{
		App: m.App, Channel: m.Channel, Order: m.Order(), Statement: m.Statement(), Bundle: m.Release.Bundle,
		From: n.fleet.config.Node,
	}
	var answer protocol.Replica
	if err := n.askJSON(ctx, other, http.MethodPost, protocol.FleetHoldPath, question, &answer); err != nil {
		if ctx.Err() == nil {
			n.config.Logger.Warn("node does not hold what was published", "node", other.Name, "error", err)
		}
		return nil
	}
	return &protocol.Replica{Node: other.Name, Region: other.Region} // who it is, is known better than it says
}

// spread orders members so that the regions take turns, that of the node last: the first few are in as many regions as
// there are.
func spread(members []gossip.Member, own string) []gossip.Member {
	var regions []string
	byRegion := map[string][]gossip.Member{}
	for _, m := range members {
		if byRegion[m.Region] == nil && m.Region != own {
			regions = append(regions, m.Region)
		}
		byRegion[m.Region] = append(byRegion[m.Region], m)
	}
	regions = append(regions, own)
	ordered := make([]gossip.Member, 0, len(members))
	for len(ordered) < len(members) {
		for _, region := range regions {
			if list := byRegion[region]; len(list) > 0 {
				ordered, byRegion[region] = append(ordered, list[0]), list[1:]
			}
		}
	}
	return ordered
}
