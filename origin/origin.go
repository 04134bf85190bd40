// Package origin brings in what a node lacks: from other nodes, from a bucket, from any HTTP server.
//
// The life of one fill: whoever lacks a bundle calls [Filler.Fill]; the first call starts one piece of work and all
// others wait for the same. The work asks the sources in order, begins an ingest with the first index that is the
// bundle's, and has the missing chunks sent in batches. A source that stalls, is down or sends wrong bytes is left for
// the next one, and nothing that came in is asked for again. When the last chunk is here the store rebuilds the
// archive, compares it with the bundle's name, and all who wait are woken.
//
// The invariant: a source is never believed. Every byte goes through the store's one door, and an index that turns out
// to lie is its source's fault, not the bundle's. And a missing bundle costs the sources one fetch, however many want
// it, and one every few seconds when nobody has it.
package origin

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"brink/bundle"
	"brink/digest"
)

// Returned by sources and by the [Filler].
var (
	// ErrNotFound is returned for a bundle that a source does not have, and by the Filler when no source has it.
	ErrNotFound = errors.New("bundle is not there")
	// ErrUnavailable is returned by the Filler when sources may have the bundle, but none of them gave it whole.
	ErrUnavailable = errors.New("no source gave the bundle")
	// ErrBusy is returned by the Filler when too many other bundles are being fetched or wait for it.
	ErrBusy = errors.New("too many bundles are being fetched")
	// ErrClosed is returned by the Filler once Close was called.
	ErrClosed = errors.New("filler is closed")
	// ErrFault is what a source did wrong: its bytes are not what it said they are. It wraps the reason.
	ErrFault = errors.New("source gave wrong bytes")
	// ErrStalled is the cause when a source is left because nothing came.
	ErrStalled = errors.New("source does not move")
)

// Source is where a bundle can be had. It is safe for concurrent use, blocks until it is done or ctx is, and may be
// asked the same again at any time. Nothing that it returns is trusted.
type Source interface {
	// Name tells the source from others, in logs and counts. It does not change.
	Name() string
	// Bundle returns the index of a bundle as it is encoded and, if the source has it, the bundle intent; [ErrNotFound]
	// when the source does not have the bundle. It reads at most limit bytes of the index, returns [ErrFault] for a
	// longer one, and does not decode it. The caller owns both.
	Bundle(ctx context.Context, id digest.Digest, limit int64) (index, intent []byte, err error)
	// Chunks calls put for each chunk of want that the source has, in any order and at most once at a time. A chunk that
	// it lacks is left out and is no error. The frame belongs to the source again when put returns; an error of put ends
	// the call and is returned.
	Chunks(ctx context.Context, index *bundle.Index, want []bundle.Chunk, put func(bundle.Frame) error) error
}

// Signed is what signed statements say of a bundle before anything of it is here. The zero value says nothing.
type Signed struct {
	Index     digest.Digest // of the encoded index; zero: not known
	IndexSize int64         // of the encoded index in bytes; counts if Index is known
	Size      int64         // of the archive in bytes; 0: not known
}

// maxUnknown bounds the encoded index in bytes of a bundle of which nothing signed is known here: a node of the fleet
// asks for it before the channel manifest has come. It allows for some 80,000 files; for a larger one whoever asks goes
// on to another node.
const maxUnknown = 16 << 20

// limit bounds the encoded index in bytes. The statement about an attachment has the size of its archive only.
func (s Signed) limit() int64 {
	switch {
	case !s.Index.IsZero():
		return min(max(s.IndexSize, 0), bundle.MaxIndex)
	case s.Size > 0:
		return bundle.MaxIndexOf(s.Size)
	}
	return maxUnknown
}

// decode reads an index that a source gave, after it was compared with what was signed: nothing else makes the decoder
// read what a source made up.
func (s Signed) decode(raw []byte, id digest.Digest) (*bundle.Index, error) {
	if int64(len(raw)) > s.limit() {
		return nil, fault(fmt.Errorf("index: %d bytes, want at most %d", len(raw), s.limit()))
	}
	if !s.Index.IsZero() && digest.Sum(raw) != s.Index {
		return nil, fault(fmt.Errorf("index: it is not the one that was signed: %w", digest.ErrMismatch))
	}
	index, err := bundle.DecodeIndex(raw)
	if err != nil {
		return nil, fault(err)
	}
	if index.Bundle() != id {
		return nil, fault(fmt.Errorf("index: %w: it is of another bundle", digest.ErrMismatch))
	}
	return index, nil
}

// limitOf bounds the encoded index in bytes by the statement that allows most.
func limitOf(list []Signed) (limit int64) {
	if len(list) == 0 {
		return Signed{}.limit()
	}
	for _, s := range list {
		limit = max(limit, s.limit())
	}
	return limit
}

// decodeAny reads an index that fits one of the statements. Comparing comes first, so only the one that fits costs the
// work of decoding, or one that says nothing of the index.
func decodeAny(list []Signed, raw []byte, id digest.Digest) (*bundle.Index, error) {
	if len(list) == 0 {
		return Signed{}.decode(raw, id)
	}
	var errs []error
	for _, s := range list {
		index, err := s.decode(raw, id)
		if err == nil {
			return index, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// HopsField is the HTTP field by which a request between nodes says how many nodes it has come through.
const HopsField = "Brink-Hops"

// MaxHops is how many nodes a request may come through: the one that a device asked, and the one that owns the bundle
// in the region and may itself have to ask. A node that is asked by a request with as many answers from what it has.
const MaxHops = 2

type hopsKey struct{}

// WithHops returns a context for filling on behalf of a request that came through so many nodes. Sources that are nodes
// send one more.
func WithHops(ctx context.Context, hops int) context.Context {
	return context.WithValue(ctx, hopsKey{}, hops)
}

// Hops returns what [WithHops] put in, 0 if nothing.
func Hops(ctx context.Context) int {
	hops, _ := ctx.Value(hopsKey{}).(int)
	return hops
}

// ParseHops reads the value of [HopsField]: 0 for a request without it, which comes from no node. What is none of 0 to
// 9 counts as [MaxHops], for it has gone wrong somewhere.
func ParseHops(value string) int {
	if value == "" {
		return 0
	}
	if len(value) == 1 {
		if n, err := strconv.Atoi(value); err == nil {
			return n
		}
	}
	return MaxHops
}
