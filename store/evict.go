package store

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math"
	"slices"

	"brink/digest"
	"brink/store/database"
)

// evictScope says how far eviction may go.
type evictScope int

const (
	evictUnreferenced evictScope = iota // blobs that no record refers to
	evictDerived                        // and derived objects
	evictAll                            // and bundles that no channel needs
)

// evict removes what is worth least until n more bytes stay below the low watermark, or at least below the quota. If
// not even that can be had, it removes unreferenced blobs only: emptying the store for something that does not fit in
// it helps nobody. It does nothing when n more bytes are below the high watermark already.
//
// It marks and sweeps. Reference counts would have to survive crashes, and one that is wrong loses a chunk or keeps it
// for ever. See pins for what happens at the same time.
func (s *Store) evict(ctx context.Context, n int64, scope evictScope) error {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	q := s.quota
	if q.over(q.high-n) <= 0 {
		return nil // another one has made room
	}
	wanted, needed := q.over(q.low-n), q.over(q.limit-n)
	generation := s.generation()
	if b := s.barren[scope]; b.generation == generation && needed >= b.needed {
		return nil
	}
	freed, err := s.collect(ctx, wanted, needed, scope)
	if freed == 0 && err == nil {
		s.barren[scope] = barren{generation: generation, needed: needed}
	}
	return err
}

// barren remembers a pass that removed nothing, so that it is not repeated before something has changed.
type barren struct{ generation, needed int64 }

// collect removes wanted bytes, or at least needed, and returns how many it removed. The caller holds sweeping.
func (s *Store) collect(ctx context.Context, wanted, needed int64, scope evictScope) (freed int64, err error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	s.pins.begin()
	defer s.pins.end()
	plan, err := s.plan(ctx, scope)
	if err != nil {
		return 0, err
	}
	last := plan.choose(wanted, needed)
	kept, err := s.removeRecords(ctx, plan.victims[:last])
	if err != nil {
		return 0, err
	}
	for _, v := range kept {
		if err := s.refs(ctx, v, func(d digest.Digest) { plan.mark(d, live) }); err != nil {
			return 0, err
		}
	}
	if freed, err = s.sweep(ctx, plan, last); freed > 0 {
		s.wakeReclaim()
	}
	return freed, err
}

// generation changes whenever something may have become evictable.
func (s *Store) generation() int64 {
	s.catalog.mu.RLock()
	changes := s.catalog.changes
	s.catalog.mu.RUnlock()
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	return 1 + changes + s.pins.releases // not the zero value of barren
}

// victim is a record that may be removed.
type victim struct {
	bundle  *entry[bundleRecord] // this
	id      digest.Digest
	derived *entry[derivedRecord] // or this
	name    string
	used    int64
}

// live is the rank of what must stay. The rank of a victim is its place among the victims, counted from 1; a blob that
// nothing refers to has rank 0.
const live = math.MaxInt32

// plan holds 16 bytes for each blob: the beginning of its name, its size, and the rank of the record that refers to it
// and would be removed last. Two blobs with the same 8 bytes are taken for one, which can only keep garbage.
type plan struct {
	names   []uint64 // ascending
	sizes   []uint32
	ranks   []int32
	victims []victim // the first is worth least
}

// plan finds out what refers to each blob.
func (s *Store) plan(ctx context.Context, scope evictScope) (*plan, error) {
	p := &plan{}
	err := s.blobs.each(ctx, digest.Digest{}, func(d digest.Digest, size int64) bool {
		p.names = append(p.names, prefix(d))
		p.sizes = append(p.sizes, uint32(size))
		return true
	})
	if err != nil {
		return nil, err
	}
	p.ranks = make([]int32, len(p.names))
	stay := s.split(p, scope)
	for i, v := range p.victims {
		if err := s.refs(ctx, v, func(d digest.Digest) { p.mark(d, int32(i+1)) }); err != nil {
			return nil, err
		}
	}
	for _, v := range stay {
		if err := s.refs(ctx, v, func(d digest.Digest) { p.mark(d, live) }); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// split tells records that may go from those that stay.
func (s *Store) split(p *plan, scope evictScope) (stay []victim) {
	c := &s.catalog
	needed := c.needed(s.config.KeepReleases)
	c.mu.RLock()
	defer c.mu.RUnlock()
	var bundles []victim
	for name, e := range c.derived {
		v := victim{derived: e, name: name, used: e.used.Load()}
		if scope >= evictDerived {
			p.victims = append(p.victims, v)
		} else {
			stay = append(stay, v)
		}
	}
	for id, e := range c.bundles {
		v := victim{bundle: e, id: id, used: e.used.Load()}
		if scope >= evictAll && !needed[id] && c.blind == 0 {
			bundles = append(bundles, v)
		} else {
			stay = append(stay, v)
		}
	}
	byUse := func(a, b victim) int {
		return cmp.Or(cmp.Compare(a.used, b.used), cmp.Compare(a.name, b.name), a.id.Compare(b.id))
	}
	slices.SortFunc(p.victims, byUse)
	slices.SortFunc(bundles, byUse)
	p.victims = append(p.victims, bundles...)
	return stay
}

func prefix(d digest.Digest) uint64 {
	var n uint64
	for _, b := range d[:8] {
		n = n<<8 | uint64(b)
	}
	return n
}

func (p *plan) mark(d digest.Digest, rank int32) {
	name := prefix(d)
	i, _ := slices.BinarySearch(p.names, name)
	for ; i < len(p.names) && p.names[i] == name; i++ {
		p.ranks[i] = max(p.ranks[i], rank)
	}
}

// garbage reports whether d is a blob of the plan that goes with the first victims.
func (p *plan) garbage(d digest.Digest, victims int) bool {
	i, found := slices.BinarySearch(p.names, prefix(d))
	return found && p.ranks[i] <= int32(victims)
}

// choose returns how many victims must go.
func (p *plan) choose(wanted, needed int64) int {
	freed := make([]int64, len(p.victims)+1)
	for i, rank := range p.ranks {
		if rank != live {
			freed[rank] += int64(p.sizes[i])
		}
	}
	var sum int64
	for i, n := range freed {
		if sum += n; sum >= wanted {
			return i
		}
	}
	if sum < needed {
		return 0
	}
	return len(p.victims)
}

// refs calls do for every blob that a record refers to. A blob that can not be read refers to nothing: what it referred
// to is lost with it, unless the record says it in another way.
func (s *Store) refs(ctx context.Context, v victim, do func(digest.Digest)) error {
	if v.derived != nil {
		_, err := s.objectRefs(&v.derived.record.Object, do)
		return unlessDamaged(err)
	}
	if _, err := s.objectRefs(&v.bundle.record.Index, do); unlessDamaged(err) != nil {
		return err
	}
	o, err := s.objectRefs(&v.bundle.record.Chunks, do)
	if err == nil {
		err = o.eachDigest(ctx, do)
	}
	if err == nil || unlessDamaged(err) != nil {
		return err
	}
	ix, err := s.index(v.bundle)
	if err != nil {
		return unlessDamaged(err)
	}
	for c := range ix.Chunks() {
		do(c.Digest)
	}
	return nil
}

func unlessDamaged(err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		return nil
	}
	return err
}

func (s *Store) objectRefs(record *object, do func(digest.Digest)) (*Object, error) {
	for _, d := range record.names() {
		do(d)
	}
	o, err := s.blobs.open(*record)
	if err != nil {
		return nil, err
	}
	for _, d := range o.parts {
		do(d)
	}
	return o, nil
}

// eachDigest reads the object as a list of digests.
func (o *Object) eachDigest(ctx context.Context, do func(digest.Digest)) error {
	pieces := o.inPieces()
	defer pieces.close()
	for offset := int64(0); offset < o.size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		piece, err := pieces.Piece(offset)
		if err != nil {
			return err
		}
		for _, d := range splitDigests(piece) {
			do(d)
		}
		offset += int64(len(piece))
	}
	return nil
}

// removeRecords removes the records of the victims and returns those that it had to keep: needed by now, or made anew.
func (s *Store) removeRecords(ctx context.Context, victims []victim) (kept []victim, err error) {
	const batch = 256 // records in a transaction
	for some := range slices.Chunk(victims, batch) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		stay, err := s.removeSome(some)
		if err != nil {
			return nil, err
		}
		kept = append(kept, stay...)
	}
	return kept, nil
}

func (s *Store) removeSome(victims []victim) (kept []victim, err error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	needed := s.catalog.needed(s.config.KeepReleases)
	var c change
	gone := make(map[digest.Digest]bool)
	var names []string
	for _, v := range victims {
		switch {
		case v.derived != nil && s.catalog.object(v.name) == v.derived:
			names = append(names, v.name)
			c.remove = append(c.remove, v.derived.key, usedKind+v.derived.key)
		case v.bundle != nil && s.catalog.bundle(v.id) == v.bundle && !needed[v.id] && !s.pins.has(v.id):
			gone[v.id] = true
			c.remove = append(c.remove, v.bundle.key, usedKind+v.bundle.key, intentKind+v.id.String())
		default:
			kept = append(kept, v)
		}
	}
	if len(c.remove) == 0 {
		return kept, nil
	}
	if err := s.records.acknowledge(c); err != nil {
		return nil, err
	}
	s.catalog.change(func() {
		for _, name := range names {
			delete(s.catalog.derived, name)
		}
		maps.DeleteFunc(s.catalog.bundles, func(id digest.Digest, _ *entry[bundleRecord]) bool { return gone[id] })
	})
	s.evictedDerived.Add(int64(len(names)))
	s.evictedBundles.Add(int64(len(gone)))
	return kept, nil
}

// sweep removes the garbage of the plan that is not pinned, and returns how many bytes that was.
func (s *Store) sweep(ctx context.Context, p *plan, victims int) (freed int64, err error) {
	const window, batch = 8192, 256 // blobs listed at once, and removed in one transaction
	var first digest.Digest
	for more := true; more; {
		var garbage []digest.Digest
		more = false
		seen := 0
		err := s.blobs.each(ctx, first, func(d digest.Digest, _ int64) bool {
			if seen == window {
				first, more = d, true
				return false
			}
			seen++
			if p.garbage(d, victims) {
				garbage = append(garbage, d)
			}
			return true
		})
		if err != nil {
			return freed, err
		}
		for some := range slices.Chunk(garbage, batch) {
			n, err := s.blobs.remove(some)
			freed += n
			if err != nil {
				return freed, err
			}
		}
	}
	return freed, nil
}

// remove removes the blobs that are not pinned, and returns how many bytes that was.
func (b *blobs) remove(names []digest.Digest) (freed int64, err error) {
	b.pins.mu.Lock()
	defer b.pins.mu.Unlock()
	var count int64
	err = b.db.Update(func(txn database.Txn) error {
		for _, d := range names {
			if b.pins.held(d) {
				continue
			}
			item, err := txn.Get(d[:])
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			freed += item.Footprint()
			count++
			if err := txn.Delete(slices.Clone(d[:])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	b.quota.grow(-freed, -count)
	b.evictedBytes.Add(freed)
	b.evictedBlobs.Add(count)
	return freed, nil
}
