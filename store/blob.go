package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"brink/bundle"
	"brink/digest"
	"brink/store/internal/database"
)

// blobs stores chunks, and the parts of larger objects, under the digest of their plain bytes.
type blobs struct {
	db    *database.DB
	codec *bundle.Codec
	quota *quota
	pins  *pins
	sick  *quarantine

	// writing serializes the writers of one blob, so that it is written and accounted for once. Lock order: pins.mu, then
	// one of these.
	writing [64]sync.Mutex
	buffers sync.Pool // of *[]byte: envelopes that are being written
	readers sync.Pool // of *buffers: the memory of readers

	evictedBytes, evictedBlobs atomic.Int64
}

func (b *blobs) lock(d digest.Digest) *sync.Mutex { return &b.writing[d[0]%64] }

// frame returns the blob d as it is stored, in the memory of r. With sum it verifies the checksum of the envelope;
// otherwise it checks only the header, and the caller must verify the digest of the plain bytes.
func (b *blobs) frame(r *database.LogReader, d digest.Digest, sum bool) (bundle.Frame, error) {
	var value []byte
	err := b.db.Read(d[:], func(item database.Item) (err error) {
		if value, err = r.Value(item); err != nil {
			return err
		}
		return checkHeader(d, value)
	})
	if err != nil {
		return bundle.Frame{}, fmt.Errorf("blob %s: %w", d.Short(), err)
	}
	if sum {
		err = checkSum(d, value)
	}
	return openEnvelope(d, value), err
}

// plain returns the verified bytes of d. The caller owns them.
func (b *blobs) plain(d digest.Digest) ([]byte, error) {
	r := Reader{blobs: b}
	defer r.Close()
	data, err := r.plain(d)
	return slices.Clone(data), err
}

// sealed returns the frame of d, verified by the checksum of its envelope, in the memory of r.
func (b *blobs) sealed(r *database.LogReader, d digest.Digest) (bundle.Frame, error) {
	f, err := b.frame(r, d, true)
	if err != nil {
		return bundle.Frame{}, b.failed(d, err)
	}
	return f, nil
}

// failed quarantines a damaged blob and returns the error for its reader.
func (b *blobs) failed(d digest.Digest, err error) error {
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	b.setAside(d, err)
	return fmt.Errorf("%w: %w", ErrNotFound, err)
}

// known reports whether there is a blob d, without reading its bytes.
func (b *blobs) known(d digest.Digest) (bool, error) { return b.db.Has(d[:]) }

// has reports whether there is a blob d whose envelope has a valid header. It quarantines one with an invalid header.
func (b *blobs) has(d digest.Digest) (bool, error) {
	err := b.db.Read(d[:], func(item database.Item) error {
		return item.Value(func(v []byte) error { return checkHeader(d, v) })
	})
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, ErrNotFound):
		return false, nil
	case errors.Is(err, ErrDamaged):
		b.setAside(d, err)
		return false, nil
	}
	return false, err
}

// put writes f, unless it is there already, and accounts for it. The caller must have verified f and pinned its digest.
// The blob is visible on return, and durable after db.Sync.
func (b *blobs) put(f bundle.Frame) error {
	mu := b.lock(f.Digest)
	mu.Lock()
	defer mu.Unlock()
	if found, err := b.known(f.Digest); err != nil || found {
		return err
	}
	if err := b.quota.writable(int64(len(f.Data))); err != nil {
		return err
	}
	buffer, _ := b.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	*buffer = appendEnvelope((*buffer)[:0], f)
	err := b.db.Update(func(txn database.Txn) error { return txn.Set(f.Digest[:], *buffer) })
	if err != nil {
		return fmt.Errorf("write blob %s: %w", f.Digest.Short(), err) // Badger may still use the buffer
	}
	b.buffers.Put(buffer)
	b.quota.grow(footprint(int64(len(f.Data))), 1)
	return nil
}

// setAside quarantines the blob d: it removes it, unless it was repaired since it was read. The caller must not hold a
// lock.
func (b *blobs) setAside(d digest.Digest, reason error) {
	b.pins.mu.Lock() // excludes the sweep, which also accounts for what it removes
	defer b.pins.mu.Unlock()
	mu := b.lock(d)
	mu.Lock()
	defer mu.Unlock()
	f, err := b.frame(&database.LogReader{Mapped: true}, d, true) // confirm the damage through Badger, see Mapped
	if err == nil {
		_, err = b.codec.Plain(f) // only the plain bytes may be wrong
	}
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrClosed) {
		return
	}
	if b.quota.roomForUpkeep() {
		var size int64
		err = b.db.Update(func(txn database.Txn) error {
			item, err := txn.Get(d[:])
			if err != nil {
				return err
			}
			size = item.Footprint()
			return txn.Delete(slices.Clone(d[:]))
		})
		if err == nil {
			b.quota.grow(-size, -1)
		}
	}
	b.sick.add(d, reason)
}

// remove removes the blobs that are not pinned, and returns the number of freed bytes.
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

// each calls do with the digest and the accounted size of every blob from first on, in order, until do returns false.
func (b *blobs) each(ctx context.Context, first digest.Digest, do func(d digest.Digest, size int64) bool) error {
	err := b.db.Each(nil, first[:], func(item database.Item) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(item.Key()) != digest.Size {
			return nil // a key of the database itself
		}
		if !do(digest.Digest(item.Key()), item.Footprint()) {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// scanWindow is how many names are listed at once.
const scanWindow = 1024

// errEnough stops a scan or a list.
var errEnough = errors.New("enough")

// scan calls do for every blob from first on. It ignores ErrNotFound from do: the blob was quarantined or evicted. No
// iterator is open while do runs, because it would prevent removing value log files.
func (b *blobs) scan(ctx context.Context, first digest.Digest, do func(digest.Digest) error) error {
	for more := true; more; {
		names := make([]digest.Digest, 0, scanWindow)
		more = false
		err := b.each(ctx, first, func(d digest.Digest, _ int64) bool {
			if len(names) == scanWindow {
				first, more = d, true
				return false
			}
			names = append(names, d)
			return true
		})
		if err != nil {
			return err
		}
		for _, d := range names {
			err := do(d)
			if errors.Is(err, errEnough) {
				return nil
			}
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}
