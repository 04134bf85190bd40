package bundle

import (
	"testing"

	"pgregory.net/rapid"

	"brink/digest"
)

// cuts returns the chunks of data by digest.
func cuts(data []byte) (list []Chunk) {
	for len(data) > 0 {
		n := cut(data)
		list = append(list, Chunk{Digest: digest.Sum(data[:n]), Size: int64(n)})
		data = data[n:]
	}
	return list
}

func TestCut_IsWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := noise(rapid.Uint64Range(0, 1000).Draw(t, "seed"), rapid.IntRange(1, 3<<20).Draw(t, "size"))
		list := cuts(data)
		for i, c := range list {
			if c.Size > MaxChunk || (c.Size < MinChunk && i < len(list)-1) {
				t.Fatalf("chunk %d of %d has %d bytes", i, len(list), c.Size)
			}
		}
	})
}

func TestCut_AverageIsNearAvgChunk(t *testing.T) {
	list := cuts(noise(7, 64<<20))
	if avg := (64 << 20) / len(list); avg < AvgChunk*3/4 || avg > AvgChunk*3/2 {
		t.Errorf("average chunk of noise is %d bytes, want about %d", avg, AvgChunk)
	}
}

func TestCut_AnEditChangesFewChunks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := noise(rapid.Uint64Range(0, 1000).Draw(t, "seed"), 4<<20)
		at := rapid.IntRange(0, len(data)).Draw(t, "at")
		insert := noise(99, rapid.IntRange(1, 5000).Draw(t, "insert"))
		edited := append(append(append([]byte{}, data[:at]...), insert...), data[at:]...)
		had := map[Chunk]bool{}
		for _, c := range cuts(data) {
			had[c] = true
		}
		fresh := 0
		for _, c := range cuts(edited) {
			if !had[c] {
				fresh++
			}
		}
		// One edit spoils the chunk it is in; normalised chunking meets the old cuts again within a few more.
		if fresh > 12 {
			t.Fatalf("an insert of %d bytes at %d made %d fresh chunks", len(insert), at, fresh)
		}
	})
}

func TestCut_Golden(t *testing.T) {
	h := digest.NewHasher()
	for _, c := range cuts(noise(3, 8<<20)) {
		h.Write(c.Digest[:])
	}
	const want = "57425cdaf0aea397dd191bb71041f444847e1817b25c63b08373859092a20d53" // must never change for schema 1
	if got := h.Digest().String(); got != want {
		t.Errorf("cuts = %s, want %s", got, want)
	}
}
