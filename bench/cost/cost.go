// Package cost limits what parsers may allocate for their input.
//
// Bytes from the network or a disk may be crafted to be as expensive as possible: a list of empty objects, a length
// without content, deeply nested names. Reading any input must allocate no more than a small multiple of its size, so
// that a client that sends little cannot use much memory. The life of one call: [Check] runs the parser, compares the
// bytes allocated with [Limit] of the input's length, and fails the test if there are more. Every fuzz target of a
// parser calls it with each of its inputs.
//
// The invariant: all allocations of the program while the parser ran are counted, whether retained or not and in any
// goroutine. No allocation of the parser is missed. Allocations of other code at the same time are counted too, so
// tests that call this package must not run in parallel with others.
//
// The package imports nothing of Brink, so that the tests of every other package may import it.
package cost

import "runtime"

const (
	// factor is how many bytes may be allocated for each byte of input. A parser of JSON copies text, decodes Base64 and
	// grows slices by doubling; the dearest of this repository takes 12.
	factor = 16

	// fixed is how many bytes may be allocated for any input: decoders, tables, and messages of errors.
	fixed = 1 << 20
)

// T is the part of [testing.TB] that this package needs.
type T interface {
	Helper()
	Errorf(format string, args ...any)
}

// Limit returns how many bytes may be allocated to read an input of that many bytes.
func Limit(input int) int64 { return factor*int64(input) + fixed }

// Of returns how many bytes the program allocates while f runs. Of what is allocated under the race detector it counts
// a part, as if the detector were not there.
func Of(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc-before.TotalAlloc) / raceFactor
}

// Check fails the test when f, which reads an input of that many bytes, allocates more than [Limit] allows. It calls f
// a second time before it does.
func Check(t T, input int, f func()) {
	t.Helper()
	AtMost(t, Limit(input), f)
}

// AtMost is [Check] for a parser that has a reason to allocate more: it fails the test when f allocates more than limit
// bytes, twice in a row. Once does not count, because it may have made what later calls find made, or somebody else may
// have allocated.
func AtMost(t T, limit int64, f func()) {
	t.Helper()
	first := Of(f)
	if first <= limit {
		return
	}
	if second := Of(f); second > limit {
		t.Errorf("%d bytes were allocated, and %d again; want at most %d", first, second, limit)
	}
}
