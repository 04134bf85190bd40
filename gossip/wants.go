package gossip

import (
	"context"
	"slices"
	"sync"
)

// Bounds of what is remembered of pointers that are not held here. What is over is dropped; an exchange tells it again.
const (
	maxWants  = 16384 // names; some 10 MB when all of them are there
	maxClaims = 8     // members for each of them: who holds a pointer, not all who do
)

// wants is what others hold and this node does not: for each kind and name, who claims to hold what. A name is worked
// on by one learner at a time, highest claim first. A claim that led to nothing rests until it is made again in an
// exchange; claims are kept apart by member so that one that cannot be kept does not hide lower ones that can.
type wants struct {
	better func(Pointer) bool               // than what is held; locks the table only
	find   func(name string) (Member, bool) // a member; locks the roster only
	region string

	mu    sync.Mutex
	some  sync.Cond // ready is not empty, or a context is done
	names map[key]*want
	ready []key // with a claim to try, first come first served
}

type want struct {
	best   Pointer // the highest one heard of
	bulk   bool    // best was one of many in an exchange, so the others have it
	busy   bool    // a learner is on it
	queued bool    // it is in ready
	claims []claim
}

type claim struct {
	holder  string
	pointer Pointer
	tried   bool
}

func newWants(better func(Pointer) bool, find func(string) (Member, bool), region string) *wants {
	w := &wants{better: better, find: find, region: region, names: map[key]*want{}}
	w.some.L = &w.mu
	return w
}

// heard is how a claim came here.
type heard int

const (
	broadcasted heard = iota // it may be one of many copies of the same message
	exchanged                // the holder itself says it, now
	inBulk                   // likewise, among many others
)

// hear takes note that holder holds p. It reports whether p is news: higher than anything that was heard of its name;
// and whether there was room for it.
func (w *wants) hear(p Pointer, holder string, how heard) (news, room bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.better(p) {
		return false, true
	}
	k := p.key()
	t := w.names[k]
	if t == nil {
		if len(w.names) >= maxWants && !w.forget() {
			return false, false
		}
		t = &want{best: p, bulk: how == inBulk}
		w.names[k] = t
		news = true
	} else if p.Compare(t.best) > 0 {
		t.best, t.bulk = p, how == inBulk
		news = true
	}
	t.claim(p, holder, how)
	w.line(k, t)
	return news, true
}

// claim enters a claim, or brings one up to date. There is one of each holder: what it says in an exchange counts, and
// of what is broadcast in its name the highest, until that has led to nothing.
func (t *want) claim(p Pointer, holder string, how heard) {
	if i := slices.IndexFunc(t.claims, func(c claim) bool { return c.holder == holder }); i >= 0 {
		c := &t.claims[i]
		if how != broadcasted || p.Compare(c.pointer) > 0 || c.tried && p != c.pointer {
			c.pointer, c.tried = p, false
		}
		return
	}
	if len(t.claims) < maxClaims {
		t.claims = append(t.claims, claim{holder: holder, pointer: p})
		return
	}
	// The one that is missed least is one that led to nothing, and of those the lowest.
	least := slices.MinFunc(t.claims, func(a, b claim) int {
		if a.tried != b.tried {
			if a.tried {
				return -1
			}
			return 1
		}
		return a.pointer.Compare(b.pointer)
	})
	if least.tried || p.Compare(least.pointer) > 0 {
		i := slices.Index(t.claims, least)
		t.claims[i] = claim{holder: holder, pointer: p}
	}
}

// forget makes room for a name by dropping one that rests, and reports whether it found one among a few.
func (w *wants) forget() bool {
	looked := 0
	for k, t := range w.names {
		if !t.busy && !t.queued {
			delete(w.names, k)
			return true
		}
		if looked++; looked == 64 {
			break
		}
	}
	return false
}

// line puts a name in line if there is something to try.
func (w *wants) line(k key, t *want) {
	if !t.busy && !t.queued && slices.ContainsFunc(t.claims, func(c claim) bool { return !c.tried }) {
		t.queued = true
		w.ready = append(w.ready, k)
		w.some.Signal()
	}
}

// settle takes note that p is held now. It reports whether the others have p already, as far as can be known here.
func (w *wants) settle(p Pointer) (quiet bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.names[p.key()]
	if t == nil {
		return false
	}
	quiet = t.bulk && p.Compare(t.best) <= 0
	w.trim(p.key(), t)
	return quiet
}

// trim drops the claims that are not better than what is held, and the name if nothing is left of it.
func (w *wants) trim(k key, t *want) {
	t.claims = slices.DeleteFunc(t.claims, func(c claim) bool { return !w.better(c.pointer) })
	if len(t.claims) == 0 && !t.busy && !t.queued {
		delete(w.names, k)
	}
}

// next waits for a claim to be tried and returns it with the member that makes it. Call done with the pointer
// afterwards. It returns false when ctx is done. The caller has ctx wake all who wait.
func (w *wants) next(ctx context.Context) (Member, Pointer, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ctx.Err() == nil {
		if from, p, ok := w.take(); ok {
			return from, p, true
		}
		w.some.Wait()
	}
	return Member{}, Pointer{}, false
}

// take returns what next does if there is something to try.
func (w *wants) take() (Member, Pointer, bool) {
	for len(w.ready) > 0 {
		k := w.ready[0]
		w.ready = w.ready[1:]
		t := w.names[k]
		t.queued = false
		w.trim(k, t)
		if from, p, ok := w.pick(t); ok {
			t.busy = true
			return from, p, true
		}
	}
	return Member{}, Pointer{}, false
}

// pick chooses the highest claim that was not tried, of equal ones that of a member of this region, and marks it tried.
// Claims of those who are no members now are marked, too.
func (w *wants) pick(t *want) (from Member, p Pointer, found bool) {
	chosen := -1
	for i := range t.claims {
		c := &t.claims[i]
		if c.tried {
			continue
		}
		m, ok := w.find(c.holder)
		if !ok {
			c.tried = true
			continue
		}
		higher := 1
		if chosen >= 0 {
			higher = c.pointer.Compare(p)
		}
		if higher > 0 || higher == 0 && from.Region != w.region && m.Region == w.region {
			chosen, from, p = i, m, c.pointer
		}
	}
	if chosen >= 0 {
		t.claims[chosen].tried = true
	}
	return from, p, chosen >= 0
}

// done ends the work on a name.
func (w *wants) done(k key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.names[k]
	t.busy = false
	w.trim(k, t)
	w.line(k, t) // which does nothing if the name was dropped, as it has no claims then
}

// size is how many names others hold higher pointers of.
func (w *wants) size() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.names)
}

// wakeAll has all who wait in next look at their contexts.
func (w *wants) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.some.Broadcast()
}
