package tally

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// ErrMalformed is returned for bytes that this package has not written.
var ErrMalformed = errors.New("malformed statistics")

// MaxCount is the maximum of a counter: the largest integer that every JSON reader represents exactly.
const MaxCount = 1<<53 - 1

// sum adds two counts, up to MaxCount.
func sum(a, b uint64) uint64 { return min(min(a, MaxCount)+min(b, MaxCount), MaxCount) }

// Cell identifies a counter. An unknown version is "".
type Cell struct {
	Version string `json:"version"`
	Action  string `json:"action"`
}

func (c Cell) compare(o Cell) int {
	return cmp.Or(cmp.Compare(c.Version, o.Version), cmp.Compare(c.Action, o.Action))
}

// Counts are the counts of a day.
type Counts map[Cell]uint64

// merge keeps the higher count of each cell: of two states of one page, that is the later one.
func (c Counts) merge(other Counts) {
	for cell, n := range other {
		c[cell] = max(c[cell], n)
	}
}

func (c Counts) cells() []Cell { return slices.SortedFunc(maps.Keys(c), Cell.compare) }

// The encoding of a day, numbers as varints (LEB128, shortest form):
//
//	1                               the version of the encoding
//	number of versions, then each   its length, its bytes; in ascending order
//	number of actions, then each    the same
//	for each version                number of its cells, then each: action, as the difference to the previous one
//	                                minus one (the first: the action itself), and the count
//
// The encoding is canonical: every name is used, every count is above 0.
const countsVersion = 1

// maxActions bounds the actions of a day: known ones and others.
const maxActions = 192

// MaxCounts bounds an encoded day, in bytes: all names at their longest, all counts at their highest.
const MaxCounts = 16 + (MaxVersions+2)*(MaxVersion+4) + maxActions*(MaxAction+1) + MaxCells*(2+8)

// encode returns the encoding. It omits counts of 0.
func (c Counts) encode() []byte {
	cells := c.cells()
	cells = slices.DeleteFunc(cells, func(cell Cell) bool { return c[cell] == 0 })
	versions := map[string][]Cell{}
	actions := map[string]int{}
	for _, cell := range cells {
		versions[cell.Version] = append(versions[cell.Version], cell)
		actions[cell.Action] = 0
	}
	b := []byte{countsVersion}
	names := slices.Sorted(maps.Keys(versions))
	b = appendNames(b, names)
	sorted := slices.Sorted(maps.Keys(actions))
	for i, action := range sorted {
		actions[action] = i
	}
	b = appendNames(b, sorted)
	for _, version := range names {
		b = binary.AppendUvarint(b, uint64(len(versions[version])))
		next := 0
		for _, cell := range versions[version] {
			b = binary.AppendUvarint(b, uint64(actions[cell.Action]-next))
			b = binary.AppendUvarint(b, min(c[cell], MaxCount))
			next = actions[cell.Action] + 1
		}
	}
	return b
}

func appendNames(b []byte, names []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, name := range names {
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
	}
	return b
}

// ParseCounts decodes a day. The error is [ErrMalformed].
func ParseCounts(raw []byte) (Counts, error) {
	if len(raw) > MaxCounts {
		return nil, fmt.Errorf("%w: a day of %d bytes", ErrMalformed, len(raw))
	}
	r := reader{rest: raw}
	if v := r.number(1 << 32); v != countsVersion {
		return nil, fmt.Errorf("%w: version %d of a day", ErrMalformed, v)
	}
	versions := r.names(MaxVersions+2, MaxVersion)
	actions := r.names(maxActions, MaxAction)
	counts := Counts{}
	for _, version := range versions {
		next := uint64(0)
		for range r.number(uint64(len(actions))) {
			action := next + r.number(maxActions)
			n := r.number(MaxCount)
			if action >= uint64(len(actions)) || len(counts) >= MaxCells {
				r.fail()
			}
			if r.failed {
				break
			}
			counts[Cell{Version: version, Action: actions[action]}] = n
			next = action + 1
		}
	}
	// Refuse encodings that are not canonical, so that equal pages have equal bytes.
	if r.failed || len(r.rest) > 0 || !bytes.Equal(counts.encode(), raw) {
		return nil, fmt.Errorf("%w: a day", ErrMalformed)
	}
	return counts, nil
}

// reader decodes the encodings of this package. After the first failure it returns zeros.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) fail() { r.failed, r.rest = true, nil }

// number reads a number of at most limit.
func (r *reader) number(limit uint64) uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > limit {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// bytes reads a length of at most limit, and that many bytes, which share memory with the input.
func (r *reader) bytes(limit int) []byte {
	n := r.number(uint64(limit))
	if n > uint64(len(r.rest)) {
		r.fail()
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// names reads up to most names, of up to longest bytes each, in ascending order.
func (r *reader) names(most, longest int) []string {
	n := r.number(uint64(most))
	var names []string
	for range n {
		name := string(r.bytes(longest))
		if len(names) > 0 && name <= names[len(names)-1] {
			r.fail()
		}
		if r.failed {
			return nil
		}
		names = append(names, name)
	}
	return names
}
