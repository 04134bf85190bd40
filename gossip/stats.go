package gossip

import "sync/atomic"

// Stats has the counters of a Gossip since [New], and its present state.
type Stats struct {
	Members int // alive or suspected to have crashed; this node included
	Health  int // memberlist's health score of this node: 0 is healthy; up to 7 if it is overloaded or hears nothing
	Held    int // pointers that this node has announced
	Wanted  int // names for which others have higher pointers than this node
	Queued  int // broadcasts in the queue

	Lost            int64 // members that left or were declared dead
	Conflicts       int64 // reports of two nodes with the same name
	Dropped         int64 // messages for which a queue had no room, or whose sender is not a member
	Refused         int64 // malformed messages
	Barred          int64 // packets and streams that were refused before decryption
	Offered         int64 // calls of Config.Fetch
	Exchanges       int64 // states of other members that were compared
	Reconciliations int64 // of these, those that differed
	Joined, Unheard int64 // attempts to reach a known node that is not a member, and those that failed
	BytesIn         int64 // of this package's messages, without memberlist's overhead
	BytesOut        int64 // likewise; a broadcast counts each time it is sent
	Logged, Muted   int64 // lines of memberlist that were logged, and that exceeded the rate limit
}

// counters are the counters of Stats.
type counters struct {
	lost, conflicts, dropped, refused, barred, offered atomic.Int64
	exchanges, reconciliations                         atomic.Int64
	joined, unheard                                    atomic.Int64
	bytesIn, bytesOut                                  atomic.Int64
	logged, muted                                      atomic.Int64
}

// Stats returns the present counters. It is cheap: it holds locks only briefly.
func (g *Gossip) Stats() Stats {
	return Stats{
		Members:         g.members.size(),
		Health:          g.list.GetHealthScore(),
		Held:            g.table.size(),
		Wanted:          g.pending.size(),
		Queued:          g.queue.NumQueued(),
		Lost:            g.count.lost.Load(),
		Conflicts:       g.count.conflicts.Load(),
		Dropped:         g.count.dropped.Load(),
		Refused:         g.count.refused.Load(),
		Barred:          g.count.barred.Load(),
		Offered:         g.count.offered.Load(),
		Exchanges:       g.count.exchanges.Load(),
		Reconciliations: g.count.reconciliations.Load(),
		Joined:          g.count.joined.Load(),
		Unheard:         g.count.unheard.Load(),
		BytesIn:         g.count.bytesIn.Load(),
		BytesOut:        g.count.bytesOut.Load(),
		Logged:          g.count.logged.Load(),
		Muted:           g.count.muted.Load(),
	}
}
