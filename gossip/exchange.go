package gossip

import (
	"context"
	"iter"
	"slices"
	"time"
)

// How two tables become the same. In an exchange of memberlist's, A and B have each other's sums; let A be the one
// whose name is lower. For every bucket whose sums differ, A sends a list of all that it holds there, and B does
// nothing. B learns from the list what is higher than its own, and answers with an offer of what A does not have or
// has lower, from which A learns. So each pointer travels in one direction only, and both sides know what the other
// one holds. Nobody keeps state for it: a list says for which range of hashes it is complete, so that it can be
// answered by itself, and any part that is lost is made up for by the next exchange.

// forwardMost is how many news of one page are passed on. More of them are no news: this node was away, or is new, and
// the others have had them for long.
const forwardMost = 32

// letter is what a courier is to send to another member: a list of the buckets, or an answer to the sections of its
// list.
type letter struct {
	to      string
	buckets []uint8
	answer  []section
}

// clerk reads what came in. It calls nothing that blocks.
func (g *Gossip) clerk(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-g.mail.broadcasts:
			g.read(b)
		case b := <-g.mail.pages:
			g.read(b)
		case b := <-g.mail.states:
			g.compare(b)
		}
	}
}

func (g *Gossip) read(b []byte) {
	m, err := parseMessage(b)
	if err != nil {
		g.count.refused.Add(1)
		return
	}
	if m.sender == g.config.Name {
		return // a broadcast that has come round
	}
	if _, ok := g.members.find(m.sender); !ok {
		// It may be a member that is not known here yet; the next exchange tells what it held.
		g.count.dropped.Add(1)
		return
	}
	switch m.kind {
	case broadcastType:
		g.learn(m.pointers, m.sender, broadcasted)
	case offerType:
		g.learn(m.pointers, m.sender, exchanged)
	case listType:
		for _, s := range m.sections {
			m.pointers = append(m.pointers, s.pointers...)
		}
		g.learn(m.pointers, m.sender, exchanged)
		g.post(letter{to: m.sender, answer: m.sections})
	}
}

// learn hands on to the learners what is higher than what is held here, and passes on what is news.
func (g *Gossip) learn(list []Pointer, holder string, how heard) {
	if g.config.Learned == nil {
		return
	}
	higher := list[:0]
	for _, p := range list {
		if g.better(p) {
			higher = append(higher, p)
		}
	}
	if len(higher) > forwardMost {
		how = inBulk
	}
	for _, p := range higher {
		news, room := g.wants.hear(p, holder, how)
		if !room {
			g.count.dropped.Add(1)
		}
		if news && how != inBulk {
			g.broadcast(p, holder)
		}
	}
}

// compare takes the sums of another member and has a list sent if it is for this node to begin.
func (g *Gossip) compare(b []byte) {
	theirs, sender, err := parseState(b)
	if err != nil {
		g.count.refused.Add(1)
		return
	}
	g.count.exchanges.Add(1)
	ours := g.table.summed()
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
		g.post(letter{to: sender, buckets: differ})
	}
}

func (g *Gossip) post(l letter) {
	select {
	case g.mail.letters <- l:
	default:
		g.count.dropped.Add(1)
	}
}

// courier sends letters. It may block as long as Pace.Dial for each page.
func (g *Gossip) courier(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-g.mail.letters:
			for page := range g.pages(l) {
				if ctx.Err() != nil || !g.send(l.to, page) {
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
		// A member that cannot be reached is memberlist's to find out about, and the next exchange begins again.
		g.config.Logger.Debug("exchange broke off", "member", to, "error", err)
		return false
	}
	g.count.bytesOut.Add(int64(len(page)))
	return true
}

// pages makes the pages of a letter, one at a time.
func (g *Gossip) pages(l letter) iter.Seq[[]byte] {
	if l.answer != nil {
		return g.offers(l.answer)
	}
	return g.lists(l.buckets)
}

// lists yields pages of all that is held in the buckets.
func (g *Gossip) lists(differ []uint8) iter.Seq[[]byte] {
	head := appendText([]byte{wireVersion, listType}, g.config.Name)
	return func(yield func([]byte) bool) {
		page := slices.Clone(head)
		for _, bucket := range differ {
			lo := uint64(bucket) << 56
			last := lo | (1<<56 - 1)
			list := g.table.between(lo, last)
			s := section{lo: lo}
			size := 0
			for i, h := range list {
				s.pointers = append(s.pointers, h.pointer)
				size += pointerSize(h.pointer)
				// A cut between equal hashes would leave some of them in no section.
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

// offers yields pages of what is held here and is missing from, or lower in, the sections of another node.
func (g *Gossip) offers(sections []section) iter.Seq[[]byte] {
	head := appendText([]byte{wireVersion, offerType}, g.config.Name)
	return func(yield func([]byte) bool) {
		page := slices.Clone(head)
		for _, s := range sections {
			theirs := make(map[key]Pointer, len(s.pointers))
			for _, p := range s.pointers {
				theirs[p.key()] = p
			}
			for _, h := range g.table.between(s.lo, s.hi) {
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

// learner calls Config.Learned, for one name at a time.
func (g *Gossip) learner(ctx context.Context) {
	defer context.AfterFunc(ctx, g.wants.wakeAll)()
	for {
		from, p, ok := g.wants.next(ctx)
		if !ok {
			return
		}
		g.count.offered.Add(1)
		g.config.Learned(ctx, from, p)
		g.wants.done(p.key())
	}
}

// herald tells the others of this node's state, and the consumer of members that came and went.
func (g *Gossip) herald(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.members.changed:
			g.config.Changed()
		case <-g.stated:
			// It blocks until a member was told, or for that long; the state is in the next exchange in any case.
			if err := g.list.UpdateNode(time.Second); err != nil {
				g.config.Logger.Debug("state was not told yet", "error", err)
			}
		}
	}
}
