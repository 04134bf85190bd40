package bundle

import (
	"encoding/binary"

	"brink/digest"
)

// Sizes of a chunk in bytes. They are part of [Schema]: other sizes would cut the same file elsewhere.
const (
	MinChunk = 16 << 10
	AvgChunk = 64 << 10
	MaxChunk = 256 << 10
)

// The masks of normalised chunking, level 2 (FastCDC, Xia et al., USENIX ATC 2016, section 4.3; IEEE TPDS 2020): a
// stricter one before the average size and a laxer one after it. They test the top bits because the hash shifts left:
// the higher a bit, the more of the last bytes it depends on.
const (
	maskBeforeAvg = (1<<18 - 1) << (64 - 18)
	maskAfterAvg  = (1<<14 - 1) << (64 - 14)
)

// gear has one random number per byte value. It is computed from the digest, so that no table has to be trusted or
// copied, and is never changed.
//
//nolint:gochecknoglobals // Go has no constant arrays
var gear = func() (table [256]uint64) {
	for i := range table {
		d := digest.Sum([]byte{byte(i)})
		table[i] = binary.LittleEndian.Uint64(d[:8])
	}
	return table
}()

// cut returns the length of the first chunk of data. If data is shorter than [MaxChunk], it must end where the file
// ends.
func cut(data []byte) int {
	n := min(len(data), MaxChunk)
	if n <= MinChunk {
		return n
	}
	var hash uint64
	i := MinChunk
	for avg := min(n, AvgChunk); i < avg; i++ {
		hash = hash<<1 + gear[data[i]]
		if hash&maskBeforeAvg == 0 {
			return i + 1
		}
	}
	for ; i < n; i++ {
		hash = hash<<1 + gear[data[i]]
		if hash&maskAfterAvg == 0 {
			return i + 1
		}
	}
	return n
}
