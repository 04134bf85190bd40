package gossip

import (
	"bytes"

	"github.com/hashicorp/memberlist"
)

// Lengths of the queues. Broadcasts arrive in bursts, one for each channel that is published at the same time; a state
// or a page needs a connection.
const (
	maxBroadcasts = 4096 // of at most maxBroadcast bytes
	maxStates     = 64
	maxPages      = 64 // of at most maxPage bytes
	maxTransfers  = 64
)

// inbox has copies of the messages that were received and are not processed yet; see receiveLoop.
type inbox struct{ broadcasts, states, pages chan []byte }

func newInbox() inbox {
	return inbox{
		broadcasts: make(chan []byte, maxBroadcasts),
		states:     make(chan []byte, maxStates),
		pages:      make(chan []byte, maxPages),
	}
}

// delegate implements the callbacks of memberlist, which calls them on the goroutines that receive packets, with its
// locks held: nothing here blocks, calls the consumer, or calls memberlist. Calls may still come shortly after
// [Gossip.Close].
type delegate Gossip

// NodeMeta implements [memberlist.Delegate].
func (d *delegate) NodeMeta(limit int) []byte {
	meta := appendMeta(make([]byte, 0, maxMeta), (*Gossip)(d).Self())
	if len(meta) > limit { // memberlist would panic; Config.Validate prevents it
		return nil
	}
	return meta
}

// NotifyMsg implements [memberlist.Delegate]. Memberlist owns the bytes.
func (d *delegate) NotifyMsg(b []byte) {
	d.count.bytesIn.Add(int64(len(b)))
	queue, limit := d.inbox.pages, maxPage
	if len(b) >= 2 && b[1] == broadcastType {
		queue, limit = d.inbox.broadcasts, maxBroadcast
	}
	if len(b) > limit {
		d.count.refused.Add(1)
		return
	}
	d.enqueue(queue, b)
}

// MergeRemoteState implements [memberlist.Delegate]. Memberlist owns the bytes.
func (d *delegate) MergeRemoteState(b []byte, join bool) {
	d.count.bytesIn.Add(int64(len(b)))
	if len(b) > maxState {
		d.count.refused.Add(1)
		return
	}
	d.enqueue(d.inbox.states, b)
}

func (d *delegate) enqueue(queue chan<- []byte, b []byte) {
	select {
	case queue <- bytes.Clone(b):
	default:
		d.count.dropped.Add(1)
	}
}

// GetBroadcasts implements [memberlist.Delegate].
func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	list := d.queue.GetBroadcasts(overhead, limit)
	for _, b := range list {
		d.count.bytesOut.Add(int64(len(b)))
	}
	return list
}

// LocalState implements [memberlist.Delegate].
func (d *delegate) LocalState(join bool) []byte {
	s := d.table.getSums()
	b := appendState(make([]byte, 0, maxState), &s, d.config.Name)
	d.count.bytesOut.Add(int64(len(b)))
	return b
}

// NotifyAlive implements [memberlist.AliveDelegate]: it refuses a node whose meta is malformed.
func (d *delegate) NotifyAlive(node *memberlist.Node) error {
	m := Member{Name: node.Name}
	return parseMeta(node.Meta, &m)
}

// NotifyJoin implements [memberlist.EventDelegate].
func (d *delegate) NotifyJoin(node *memberlist.Node) { d.members.put(node) }

// NotifyUpdate implements [memberlist.EventDelegate].
func (d *delegate) NotifyUpdate(node *memberlist.Node) { d.members.put(node) }

// NotifyLeave implements [memberlist.EventDelegate].
func (d *delegate) NotifyLeave(node *memberlist.Node) {
	if d.members.remove(node.Name) {
		d.count.lost.Add(1)
	}
}

// NotifyConflict implements [memberlist.ConflictDelegate]: two nodes have the same name.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	if d.count.conflicts.Add(1) == 1 { // it goes on as long as both are there
		d.config.Logger.Error("two nodes have the same name", "name", existing.Name,
			"address", existing.Address(), "other", other.Address())
	}
}

// broadcast is a message to all in memberlist's queue, in which a newer one of the same name replaces it.
type broadcast struct {
	name    string
	message []byte
}

// Name implements [memberlist.NamedBroadcast].
func (b *broadcast) Name() string { return b.name }

// Message implements [memberlist.Broadcast].
func (b *broadcast) Message() []byte { return b.message }

// Finished implements [memberlist.Broadcast].
func (b *broadcast) Finished() {}

// Invalidates implements [memberlist.Broadcast].
func (b *broadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(memberlist.NamedBroadcast)
	return ok && o.Name() == b.name
}

// maxQueued bounds the queue of broadcasts. While this node is alone nothing leaves the queue; what was sent most often
// is dropped first.
const maxQueued = 1024

// broadcast queues for all members, through a few of them, the message that holder has p.
func (g *Gossip) broadcast(p Pointer, holder string) {
	b := encodeBroadcast(p, holder)
	g.queue.QueueBroadcast(&broadcast{name: p.Kind.String() + " " + p.Name, message: b})
	if g.queue.NumQueued() > maxQueued {
		g.count.dropped.Add(1)
		g.queue.Prune(maxQueued)
	}
}
