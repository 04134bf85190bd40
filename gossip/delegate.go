package gossip

import (
	"bytes"

	"github.com/hashicorp/memberlist"
)

// Bounds of what waits to be worked on. Broadcasts come in bursts of all channels that were published at once; a state
// or a page comes with a connection.
const (
	maxMailed  = 4096 // broadcasts of at most maxBroadcast bytes
	maxStates  = 64
	maxPages   = 64 // of at most maxPage bytes
	maxLetters = 64 // to be sent
)

// mail is what came in for the clerk, copied, and what goes out with the couriers.
type mail struct {
	broadcasts, states, pages chan []byte
	letters                   chan letter
}

func newMail() *mail {
	return &mail{
		broadcasts: make(chan []byte, maxMailed),
		states:     make(chan []byte, maxStates),
		pages:      make(chan []byte, maxPages),
		letters:    make(chan letter, maxLetters),
	}
}

// delegate is what memberlist calls, on the goroutines that receive packets and hold its locks: nothing here blocks,
// calls the consumer, or calls memberlist. It may still be called shortly after the end.
type delegate Gossip

// NodeMeta implements [memberlist.Delegate].
func (d *delegate) NodeMeta(limit int) []byte {
	meta := appendMeta(make([]byte, 0, maxMeta), (*Gossip)(d).Self())
	if len(meta) > limit { // memberlist would panic; Config.Validate sees to it that this cannot be
		return nil
	}
	return meta
}

// NotifyMsg implements [memberlist.Delegate]. The bytes are memberlist's.
func (d *delegate) NotifyMsg(b []byte) {
	d.count.bytesIn.Add(int64(len(b)))
	box, most := d.mail.pages, maxPage
	if len(b) >= 2 && b[1] == broadcastType {
		box, most = d.mail.broadcasts, maxBroadcast
	}
	if len(b) > most {
		d.count.refused.Add(1)
		return
	}
	d.put(box, b)
}

// MergeRemoteState implements [memberlist.Delegate]. The bytes are memberlist's.
func (d *delegate) MergeRemoteState(b []byte, join bool) {
	d.count.bytesIn.Add(int64(len(b)))
	if len(b) > maxState {
		d.count.refused.Add(1)
		return
	}
	d.put(d.mail.states, b)
}

func (d *delegate) put(box chan<- []byte, b []byte) {
	select {
	case box <- bytes.Clone(b):
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
	s := d.table.summed()
	b := appendState(make([]byte, 0, maxState), &s, d.config.Name)
	d.count.bytesOut.Add(int64(len(b)))
	return b
}

// NotifyAlive implements [memberlist.AliveDelegate]: who says of itself what cannot be read is no member.
func (d *delegate) NotifyAlive(node *memberlist.Node) error {
	m := Member{Name: node.Name}
	return parseMeta(node.Meta, &m)
}

// NotifyJoin implements [memberlist.EventDelegate].
func (d *delegate) NotifyJoin(node *memberlist.Node) { d.members.enter(node) }

// NotifyUpdate implements [memberlist.EventDelegate].
func (d *delegate) NotifyUpdate(node *memberlist.Node) { d.members.enter(node) }

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

// broadcast is a message to all, as memberlist's queue wants it: a newer one of its name takes its place.
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

// maxQueued bounds the broadcasts that are under way. While this node is alone nothing leaves the queue, and what was
// sent most often is dropped first.
const maxQueued = 1024

// broadcast tells a few members, and they others, that holder holds p.
func (g *Gossip) broadcast(p Pointer, holder string) {
	b := makeBroadcast(p, holder)
	g.queue.QueueBroadcast(&broadcast{name: p.Kind.String() + " " + p.Name, message: b})
	if g.queue.NumQueued() > maxQueued {
		g.count.dropped.Add(1)
		g.queue.Prune(maxQueued)
	}
}
