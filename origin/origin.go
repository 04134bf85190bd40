// Package origin fetches bundles that a node lacks: from other nodes, from a bucket, or from any HTTP server.
//
// The life of one fill: the first call of [Filler.Fill] for a bundle starts a task, and later calls wait for the same
// task. The task requests the bundle from the sources in order, starts an ingest with the first valid index, and
// fetches the missing chunks in batches. If a source stalls, is down or sends wrong bytes, the task continues with the
// next one, without fetching anything twice. After the last chunk the store rebuilds the archive and compares its
// digest with the bundle, and the waiting calls return.
//
// The invariant: no source is trusted. The store verifies every byte, and a wrong index is blamed on the source that
// sent it. A missing bundle is fetched once, however many calls wait for it, and a bundle that no source has causes one
// attempt every few seconds.
//
// The package is part of the node and not an API for other modules.
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
	// ErrNotFound is returned for a bundle that a source does not have, and by the Filler if no source has it.
	ErrNotFound = errors.New("bundle not found")
	// ErrUnavailable is returned by the Filler if sources may have the bundle, but it could not be fetched completely.
	ErrUnavailable = errors.New("bundle could not be fetched from any source")
	// ErrBusy is returned by the Filler if too many other bundles are being fetched or wait to be.
	ErrBusy = errors.New("too many bundles are being fetched")
	// ErrClosed is returned by the Filler after Close.
	ErrClosed = errors.New("filler is closed")
	// ErrFault is returned for a source that sent wrong bytes. It is wrapped with the reason.
	ErrFault = errors.New("source sent wrong bytes")
	// ErrStalled is returned for a source that sent nothing for too long.
	ErrStalled = errors.New("source stalled")
)

// Source is a place from which bundles can be fetched. It is safe for concurrent use. Its methods block until they are
// done or ctx is, and can be repeated. Nothing that it returns is trusted.
type Source interface {
	// Name identifies the source in logs and statistics. It does not change.
	Name() string
	// Bundle returns the encoded index of a bundle and, if the source has it, the bundle intent. It returns [ErrNotFound]
	// if the source does not have the bundle, and [ErrFault] if the index has more than limit bytes. It does not decode
	// the index. The caller owns both results.
	Bundle(ctx context.Context, id digest.Digest, limit int64) (index, intent []byte, err error)
	// Chunks calls put for each chunk of want that the source has, in any order, and not concurrently. It skips chunks
	// that it lacks without an error. The frame is valid until put returns. Chunks stops at an error of put and returns
	// it.
	Chunks(ctx context.Context, index *bundle.Index, want []bundle.Chunk, put func(bundle.Frame) error) error
}

// Signed is what a signed statement says about a bundle that is not in the store yet. The zero value says nothing.
type Signed struct {
	Index     digest.Digest // of the encoded index; zero: unknown
	IndexSize int64         // of the encoded index in bytes; used if Index is known
	Size      int64         // of the archive in bytes; 0: unknown
}

// maxUnknown bounds, in bytes, the encoded index of a bundle about which no signed statement is known, as when a node
// of the fleet requests a bundle before this node has the channel manifest. It suffices for some 80,000 files; a node
// that requests a larger bundle continues with another source.
const maxUnknown = 16 << 20

// limit returns the bound of the encoded index in bytes. For an attachment only the size of its archive is signed.
func (s Signed) limit() int64 {
	switch {
	case !s.Index.IsZero():
		return min(max(s.IndexSize, 0), bundle.MaxIndex)
	case s.Size > 0:
		return bundle.MaxIndexOf(s.Size)
	}
	return maxUnknown
}

// decode decodes an index from a source after comparing it with what was signed, so that the decoder does not read
// forged bytes.
func (s Signed) decode(raw []byte, id digest.Digest) (*bundle.Index, error) {
	if int64(len(raw)) > s.limit() {
		return nil, fault(fmt.Errorf("index: %d bytes, want at most %d", len(raw), s.limit()))
	}
	if !s.Index.IsZero() && digest.Sum(raw) != s.Index {
		return nil, fault(fmt.Errorf("index is not the signed one: %w", digest.ErrMismatch))
	}
	index, err := bundle.DecodeIndex(raw)
	if err != nil {
		return nil, fault(err)
	}
	if index.Bundle() != id {
		return nil, fault(fmt.Errorf("index is of another bundle: %w", digest.ErrMismatch))
	}
	return index, nil
}

// limitOf returns the largest bound of the encoded index, in bytes, of the statements.
func limitOf(list []Signed) (limit int64) {
	if len(list) == 0 {
		return Signed{}.limit()
	}
	for _, s := range list {
		limit = max(limit, s.limit())
	}
	return limit
}

// decodeAny decodes an index that matches one of the statements. They are compared before decoding, so the index is
// decoded only for a statement that matches or does not have the index.
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

// HopsField is the HTTP field with the number of nodes through which a request between nodes has come.
const HopsField = "Brink-Hops"

// MaxHops is how many nodes may forward a request: the node that the device asked, and the owner of the bundle in the
// region. A node answers a request with that many hops from its own store.
const MaxHops = 2

type hopsKey struct{}

// WithHops returns a context for filling on behalf of a request with that many hops. [Peer] sends one more.
func WithHops(ctx context.Context, hops int) context.Context {
	return context.WithValue(ctx, hopsKey{}, hops)
}

// Hops returns the hops of [WithHops], or 0.
func Hops(ctx context.Context) int {
	hops, _ := ctx.Value(hopsKey{}).(int)
	return hops
}

// ParseHops parses the value of [HopsField]. It returns 0 for a request without the field, which does not come from a
// node, and [MaxHops] for anything but 0 to 9, which indicates an error.
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
