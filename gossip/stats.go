package gossip

import "sync/atomic"

// Stats is what a Gossip has done since it was opened, and how it is now.
type Stats struct {
	Members int // known to be alive, or suspected to have crashed; this node included
	Health  int // memberlist's health score of this node: 0 is well, up to 7 when it does not keep up or hears nothing
	Held    int // pointers that this node has announced
	Wanted  int // names of which others hold higher pointers than this node
	Queued  int // broadcasts under way

	Lost            int64 // members that left or were declared dead
	Conflicts       int64 // times that another node had the name of one here
	Dropped         int64 // messages for which a queue had no room, or that named no member
	Refused         int64 // messages that could not be read
	Barred          int64 // packets and streams that were refused before anything of them was decrypted
	Offered         int64 // calls of Config.Learned
	Exchanges       int64 // states of other members that were compared
	Reconciliations int64 // of these, those that differed
	Joined, Unheard int64 // attempts to reach a known node that is not a member, and those that failed
	BytesIn         int64 // of this package's messages, without what memberlist adds
	BytesOut        int64 // likewise; a broadcast counts each time that it is sent
	Logged, Muted   int64 // lines of memberlist's log that were handed on, and that were too many
}

// counters are what Stats is made of.
type counters struct {
	lost, conflicts, dropped, refused, barred, offered atomic.Int64
	exchanges, reconciliations                         atomic.Int64
	joined, unheard                                    atomic.Int64
	bytesIn, bytesOut                                  atomic.Int64
	logged, muted                                      atomic.Int64
}

// Stats may be called at any time, and locks what it reads only for a moment.
func (g *Gossip) Stats() Stats {
	return Stats{
		Members:         g.members.size(),
		Health:          g.list.GetHealthScore(),
		Held:            g.table.size(),
		Wanted:          g.wants.size(),
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
