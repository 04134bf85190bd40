package store

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"

	"brink/digest"
)

// victim is a record that may be removed.
type victim struct {
	bundle  *entry[bundleRecord] // this
	id      digest.Digest
	derived *entry[derivedRecord] // or this
	name    string
	used    int64
}

// live is the rank of blobs that must not be removed: those of records that stay, and pinned ones, from which a pass
// must not expect any room. The rank of a victim is its position among the victims, starting at 1; an unreferenced blob
// has rank 0.
const live = math.MaxInt32

// plan needs 16 bytes for each blob: a prefix of its digest, its size, and the highest rank of the records that refer
// to it. Two blobs with the same prefix of 8 bytes are treated as one, which can only retain garbage.
type plan struct {
	names   []uint64 // ascending
	sizes   []uint32
	ranks   []int32
	victims []victim // the least valuable first
}

// plan finds which records refer to each blob.
func (e *evictor) plan(ctx context.Context, scope evictScope) (*plan, error) {
	p := &plan{}
	err := e.blobs.each(ctx, digest.Digest{}, func(d digest.Digest, size int64) bool {
		p.names = append(p.names, prefix(d))
		p.sizes = append(p.sizes, uint32(size))
		rank := int32(0)
		if e.pins.has(d) {
			rank = live
		}
		p.ranks = append(p.ranks, rank)
		return true
	})
	if err != nil {
		return nil, err
	}
	stay := e.split(p, scope)
	for i, v := range p.victims {
		if err := e.refs(ctx, v, func(d digest.Digest) { p.mark(d, int32(i+1)) }); err != nil {
			return nil, err
		}
	}
	for _, v := range stay {
		if err := e.refs(ctx, v, func(d digest.Digest) { p.mark(d, live) }); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// split adds the records that may be removed to the plan, and returns the others.
func (e *evictor) split(p *plan, scope evictScope) (stay []victim) {
	needed, known := e.signed.needed(e.keep), e.signed.known()
	var bundles []victim
	e.derived.catalog.each(func(name string, object *entry[derivedRecord]) {
		v := victim{derived: object, name: name, used: object.used.Load()}
		if scope >= evictDerived {
			p.victims = append(p.victims, v)
		} else {
			stay = append(stay, v)
		}
	})
	e.bundles.catalog.each(func(id digest.Digest, bundle *entry[bundleRecord]) {
		v := victim{bundle: bundle, id: id, used: bundle.used.Load()}
		if scope >= evictAll && !needed[id] && known && !e.pins.has(id) {
			bundles = append(bundles, v)
		} else {
			stay = append(stay, v)
		}
	})
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

// garbage reports whether d is a blob of the plan that can be removed together with the first victims.
func (p *plan) garbage(d digest.Digest, victims int) bool {
	i, found := slices.BinarySearch(p.names, prefix(d))
	return found && p.ranks[i] <= int32(victims)
}

// choose returns how many victims must be removed.
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

// refs calls do for every blob that a record refers to. References in a blob that cannot be read are lost with it,
// unless they can be found in another way.
func (e *evictor) refs(ctx context.Context, v victim, do func(digest.Digest)) error {
	if v.derived != nil {
		_, err := e.objectRefs(&v.derived.record.Object, do)
		return unlessDamaged(err)
	}
	if _, err := e.objectRefs(&v.bundle.record.Index, do); unlessDamaged(err) != nil {
		return err
	}
	o, err := e.objectRefs(&v.bundle.record.Chunks, do)
	if err == nil {
		err = o.eachDigest(ctx, do)
	}
	if err == nil || unlessDamaged(err) != nil {
		return err
	}
	ix, err := e.bundles.index(v.bundle)
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

func (e *evictor) objectRefs(record *object, do func(digest.Digest)) (*Object, error) {
	for _, d := range record.names() {
		do(d)
	}
	o, err := e.blobs.open(*record)
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
