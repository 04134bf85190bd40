package gossip

import (
	"context"
	"slices"
	"sync"
)

// Bounds of pending. What does not fit is dropped; a later exchange repeats it.
const (
	maxPending = 16384 // names, in some 10 MB
	maxClaims  = 8     // members for each name: some that have a pointer, not all
)

// pending is the set of pointers that other members claim to have and that are higher than this node's, by kind and
// name. Each name is fetched by one goroutine at a time, highest claim first. A claim that was tried is not tried again
// until the member repeats it in an exchange. There is one claim for each member, so that a false one does not hide
// true ones of lower pointers.
type pending struct {
	isNewer func(Pointer) bool               // than this node's; locks the table only
	find    func(name string) (Member, bool) // a member; locks the members only
	region  string

	mu       sync.Mutex
	nonEmpty sync.Cond // ready is not empty, or a context is done
	names    map[key]*entry
	ready    []key // names with a claim to try, in the order in which they were queued
}

// entry is what is pending for one name.
type entry struct {
	highest Pointer // of all claims so far
	bulk    bool    // highest was one of many in an exchange, so the other nodes have it
	busy    bool    // it is being fetched
	queued  bool    // it is in ready
	claims  []claim
}

type claim struct {
	holder  string
	pointer Pointer
	tried   bool
}

func newPending(isNewer func(Pointer) bool, find func(string) (Member, bool), region string) *pending {
	s := &pending{isNewer: isNewer, find: find, region: region, names: map[key]*entry{}}
	s.nonEmpty.L = &s.mu
	return s
}

// source is how a claim was received.
type source int

const (
	fromBroadcast source = iota // it may be one of many copies of the same message
	fromExchange                // the holder itself sent it just now
	fromBulk                    // likewise, among many others
)

// add records that holder has p. It reports whether p is higher than all earlier claims of its name, and whether it was
// added: that is, whether there was room.
func (s *pending) add(p Pointer, holder string, from source) (isNew, added bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isNewer(p) {
		return false, true
	}
	k := p.key()
	e := s.names[k]
	if e == nil {
		if len(s.names) >= maxPending && !s.evict() {
			return false, false
		}
		e = &entry{highest: p, bulk: from == fromBulk}
		s.names[k] = e
		isNew = true
	} else if p.Compare(e.highest) > 0 {
		e.highest, e.bulk = p, from == fromBulk
		isNew = true
	}
	e.addClaim(p, holder, from)
	s.enqueue(k, e)
	return isNew, true
}

// addClaim adds a claim, or updates that of the same holder. What the holder sends in an exchange replaces its claim; a
// broadcast replaces it only if it is higher, or if the claim was tried.
func (e *entry) addClaim(p Pointer, holder string, from source) {
	if i := slices.IndexFunc(e.claims, func(c claim) bool { return c.holder == holder }); i >= 0 {
		c := &e.claims[i]
		if from != fromBroadcast || p.Compare(c.pointer) > 0 || c.tried && p != c.pointer {
			c.pointer, c.tried = p, false
		}
		return
	}
	if len(e.claims) < maxClaims {
		e.claims = append(e.claims, claim{holder: holder, pointer: p})
		return
	}
	// Replace a claim that was tried rather than one that was not, and then the lowest.
	least := slices.MinFunc(e.claims, func(a, b claim) int {
		if a.tried != b.tried {
			if a.tried {
				return -1
			}
			return 1
		}
		return a.pointer.Compare(b.pointer)
	})
	if least.tried || p.Compare(least.pointer) > 0 {
		i := slices.Index(e.claims, least)
		e.claims[i] = claim{holder: holder, pointer: p}
	}
}

// evict drops a name with nothing to try, and reports whether it found one among the first few.
func (s *pending) evict() bool {
	checked := 0
	for k, e := range s.names {
		if !e.busy && !e.queued {
			delete(s.names, k)
			return true
		}
		if checked++; checked == 64 {
			break
		}
	}
	return false
}

// enqueue appends a name to ready if it has a claim to try.
func (s *pending) enqueue(k key, e *entry) {
	if !e.busy && !e.queued && slices.ContainsFunc(e.claims, func(c claim) bool { return !c.tried }) {
		e.queued = true
		s.ready = append(s.ready, k)
		s.nonEmpty.Signal()
	}
}

// recordHeld drops the claims that p makes obsolete, now that this node has p. It reports whether the other nodes are
// known to have p already.
func (s *pending) recordHeld(p Pointer) (known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.names[p.key()]
	if e == nil {
		return false
	}
	known = e.bulk && p.Compare(e.highest) <= 0
	s.trim(p.key(), e)
	return known
}

// trim drops the claims that are not higher than this node's pointer, and the name if no claim is left.
func (s *pending) trim(k key, e *entry) {
	e.claims = slices.DeleteFunc(e.claims, func(c claim) bool { return !s.isNewer(c.pointer) })
	if len(e.claims) == 0 && !e.busy && !e.queued {
		delete(s.names, k)
	}
}

// next waits for a claim to try, and returns its pointer and the member that made it. The caller must call done with
// the key of the pointer afterwards. It returns false if ctx is done; call notifyAll then, or it does not notice.
func (s *pending) next(ctx context.Context) (Member, Pointer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ctx.Err() == nil {
		if from, p, ok := s.tryNext(); ok {
			return from, p, true
		}
		s.nonEmpty.Wait()
	}
	return Member{}, Pointer{}, false
}

// tryNext is next without waiting.
func (s *pending) tryNext() (Member, Pointer, bool) {
	for len(s.ready) > 0 {
		k := s.ready[0]
		s.ready = s.ready[1:]
		e := s.names[k]
		e.queued = false
		s.trim(k, e)
		if from, p, ok := s.choose(e); ok { // which marks the claim
			e.busy = true
			return from, p, true
		}
	}
	return Member{}, Pointer{}, false
}

// choose returns the highest claim that was not tried, of equal ones that of a member of this region, and marks it as
// tried. It also marks the claims of nodes that are not members any more.
func (s *pending) choose(e *entry) (from Member, p Pointer, found bool) {
	chosen := -1
	for i := range e.claims {
		c := &e.claims[i]
		if c.tried {
			continue
		}
		m, ok := s.find(c.holder)
		if !ok {
			c.tried = true
			continue
		}
		higher := 1
		if chosen >= 0 {
			higher = c.pointer.Compare(p)
		}
		if higher > 0 || higher == 0 && from.Region != s.region && m.Region == s.region {
			chosen, from, p = i, m, c.pointer
		}
	}
	if chosen >= 0 {
		e.claims[chosen].tried = true
	}
	return from, p, chosen >= 0
}

// done records that the fetch of a name has finished.
func (s *pending) done(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.names[k]
	e.busy = false
	s.trim(k, e)
	s.enqueue(k, e) // does nothing if trim has dropped the name, which then has no claims
}

// size returns the number of names for which others have higher pointers.
func (s *pending) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.names)
}

// notifyAll makes all waiting calls of next check their contexts.
func (s *pending) notifyAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nonEmpty.Broadcast()
}
