package gossip

import (
	"context"
	"iter"
	"slices"
	"time"
)

// How two tables are reconciled. In an exchange of memberlist's, A and B receive each other's sums; let A be the node
// whose name is lower. For every bucket whose sums differ, A sends a list of all its pointers in the bucket, and B
// sends nothing. B finds in the list the pointers that are higher than its own, and answers with an offer of those that
// A lacks or has lower. So each pointer is sent in one direction only, and each side knows what the other has. An
// exchange has no state: a list states the range of hashes for which it is complete, so it can be answered without
// context, and the next exchange repairs what is lost.

// maxForwarded is how many new pointers of one page are forwarded. If there are more, this node was offline or is new,
// and the others have had the pointers for some time.
const maxForwarded = 32

// transfer is a task of sendLoop: to send another member a list of buckets, or the answer to the sections of its list.
type transfer struct {
	to      string
	buckets []uint8
	answer  []section
}

// receiveLoop processes what the inbox has received. It calls nothing that blocks.
func (g *Gossip) receiveLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-g.inbox.broadcasts:
			g.receiveMessage(b)
		case b := <-g.inbox.pages:
			g.receiveMessage(b)
		case b := <-g.inbox.states:
			g.receiveState(b)
		}
	}
}

func (g *Gossip) receiveMessage(b []byte) {
	m, err := parseMessage(b)
	if err != nil {
		g.count.refused.Add(1)
		return
	}
	if m.sender == g.config.Name {
		return // a broadcast of this node that came back
	}
	if _, ok := g.members.find(m.sender); !ok {
		// It may be a member that is not known here yet: the next exchange repeats its pointers.
		g.count.dropped.Add(1)
		return
	}
	switch m.kind {
	case broadcastType:
		g.receive(m.pointers, m.sender, fromBroadcast)
	case offerType:
		g.receive(m.pointers, m.sender, fromExchange)
	case listType:
		for _, s := range m.sections {
			m.pointers = append(m.pointers, s.pointers...)
		}
		g.receive(m.pointers, m.sender, fromExchange)
		g.enqueue(transfer{to: m.sender, answer: m.sections})
	}
}

// receive queues for fetchLoop the pointers that are higher than this node's, and forwards those that are new.
func (g *Gossip) receive(list []Pointer, holder string, from source) {
	if g.config.Fetch == nil {
		return
	}
	higher := list[:0]
	for _, p := range list {
		if g.isNewer(p) {
			higher = append(higher, p)
		}
	}
	if len(higher) > maxForwarded {
		from = fromBulk
	}
	for _, p := range higher {
		isNew, added := g.pending.add(p, holder, from)
		if !added {
			g.count.dropped.Add(1)
		}
		if isNew && from != fromBulk {
			g.broadcast(p, holder)
		}
	}
}

// receiveState compares the sums of another member with this node's, and queues a list if this node is to send one.
func (g *Gossip) receiveState(b []byte) {
	theirs, sender, err := parseState(b)
	if err != nil {
		g.count.refused.Add(1)
		return
	}
	g.count.exchanges.Add(1)
	ours := g.table.getSums()
	var differ []uint8
	for i := range ours {
		if ours[i] != theirs[i] {
			differ = append(differ, uint8(i))
		}
	}
	if len(differ) == 0 || sender == g.config.Name {
		return
	}
	g.count.reconciliations.Add(1)
	if g.config.Name < sender {
		g.enqueue(transfer{to: sender, buckets: differ})
	}
}

func (g *Gossip) enqueue(t transfer) {
	select {
	case g.outbox <- t:
	default:
		g.count.dropped.Add(1)
	}
}

// sendLoop sends what is in the outbox. It may block for up to Pace.Dial for each page.
func (g *Gossip) sendLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-g.outbox:
			for page := range g.pages(t) {
				if ctx.Err() != nil || !g.send(t.to, page) {
					break
				}
			}
		}
	}
}

func (g *Gossip) send(to string, page []byte) bool {
	node, ok := g.members.node(to)
	if !ok {
		return false
	}
	if err := g.list.SendReliable(node, page); err != nil {
		// Memberlist detects members that cannot be reached, and the next exchange starts again.
		g.config.Logger.Debug("exchange with a member failed", "member", to, "error", err)
		return false
	}
	g.count.bytesOut.Add(int64(len(page)))
	return true
}

// pages yields the encoded pages of a transfer, one at a time.
func (g *Gossip) pages(t transfer) iter.Seq[[]byte] {
	if t.answer != nil {
		return g.offers(t.answer)
	}
	return g.lists(t.buckets)
}

// lists yields pages of all pointers in the buckets.
func (g *Gossip) lists(differ []uint8) iter.Seq[[]byte] {
	head := appendText([]byte{wireVersion, listType}, g.config.Name)
	return func(yield func([]byte) bool) {
		page := slices.Clone(head)
		for _, bucket := range differ {
			lo := uint64(bucket) << 56
			last := lo | (1<<56 - 1)
			list := g.table.list(lo, last)
			s := section{lo: lo}
			size := 0
			for i, h := range list {
				s.pointers = append(s.pointers, h.pointer)
				size += pointerSize(h.pointer)
				// If equal hashes were split, those after the cut would be in no section.
				if len(page)+sectionHead+size < pageSize || i+1 == len(list) || list[i+1].hash == h.hash {
					continue
				}
				s.hi = h.hash
				if !yield(appendSection(page, s)) {
					return
				}
				page, s, size = slices.Clone(head), section{lo: h.hash + 1}, 0
			}
			s.hi = last
			page = appendSection(page, s)
			if len(page) >= pageSize {
				if !yield(page) {
					return
				}
				page = slices.Clone(head)
			}
		}
		if len(page) > len(head) {
			yield(page)
		}
	}
}

// offers yields pages of this node's pointers that are missing from, or lower in, the sections of another node.
func (g *Gossip) offers(sections []section) iter.Seq[[]byte] {
	head := appendText([]byte{wireVersion, offerType}, g.config.Name)
	return func(yield func([]byte) bool) {
		page := slices.Clone(head)
		for _, s := range sections {
			theirs := make(map[key]Pointer, len(s.pointers))
			for _, p := range s.pointers {
				theirs[p.key()] = p
			}
			for _, h := range g.table.list(s.lo, s.hi) {
				if p, ok := theirs[h.pointer.key()]; ok && h.pointer.Compare(p) <= 0 {
					continue
				}
				page = appendPointer(page, h.pointer)
				if len(page) < pageSize {
					continue
				}
				if !yield(page) {
					return
				}
				page = slices.Clone(head)
			}
		}
		if len(page) > len(head) {
			yield(page)
		}
	}
}

// fetchLoop calls Config.Fetch, for one name at a time.
func (g *Gossip) fetchLoop(ctx context.Context) {
	defer context.AfterFunc(ctx, g.pending.notifyAll)()
	for {
		from, p, ok := g.pending.next(ctx)
		if !ok {
			return
		}
		g.count.offered.Add(1)
		g.config.Fetch(ctx, from, p)
		g.pending.done(p.key())
	}
}

// notifyLoop sends the other nodes this node's state, and calls Config.Changed when members have changed.
func (g *Gossip) notifyLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.members.toNotify:
			g.config.Changed()
		case <-g.stateChanged:
			// It blocks until the state was sent to a member, or for a second; the next exchange has the state in any case.
			if err := g.list.UpdateNode(time.Second); err != nil {
				g.config.Logger.Debug("state was not sent yet", "error", err)
			}
		}
	}
}
