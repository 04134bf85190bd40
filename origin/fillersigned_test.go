package origin

import (
	"errors"
	"strings"
	"testing"

	"brink/bench/cost"
	"brink/bundle"
	"brink/digest"
	"brink/store/storetest"
)

func TestFiller_ReadsNoIndexThatWasNotSigned(t *testing.T) {
	b := storetest.Random(t, 9, 1<<20)
	raw := b.Index.Encode()
	bad, good := sourceOf("bad", b), sourceOf("good", b)
	bad.index = lying
	f := fill(t, newFakeStore(), func(c *Config) {
		c.Signed = func(id digest.Digest) []Signed {
			if id != b.ID() {
				t.Errorf("asked for bundle %s", id)
			}
			liar := Signed{Index: digest.Sum([]byte("another tenant's word")), IndexSize: 1}
			return []Signed{liar, {Index: digest.Sum(raw), IndexSize: int64(len(raw))}}
		}
	}, bad, good)
	if err := f.Fill(t.Context(), b.ID()); err != nil {
		t.Fatal(err)
	}
	if bad.fetched.Load() != 0 || f.Stats().Sources["bad"].Faults != 1 {
		t.Errorf("chunks were fetched %d times by an index that was not signed", bad.fetched.Load())
	}
	if got := good.limit.Load(); got != int64(len(raw)) {
		t.Errorf("a source was asked for %d bytes of an index of %d", got, len(raw))
	}
}

// What a source made up is compared with what was signed before anything is built of it.
func TestFiller_DecodesNothingThatASourceMadeUp(t *testing.T) {
	b := storetest.Random(t, 11, 1<<20)
	raw := b.Index.Encode()
	hostile := []byte(`{"files":[` + strings.Repeat("{},", 4<<20) + "{}]}")
	for name, signed := range map[string]Signed{
		"the index": {Index: digest.Sum(raw), IndexSize: int64(len(hostile))},
		"a size":    {Size: int64(len(hostile))},
		"nothing":   {},
	} {
		var err error
		cost.Check(t, 0, func() { _, err = signed.decode(hostile, b.ID()) })
		if !errors.Is(err, ErrFault) {
			t.Errorf("where %s is signed: %v", name, err)
		}
	}
	if _, err := (Signed{Index: digest.Sum(raw), IndexSize: 10}).decode(raw, b.ID()); !errors.Is(err, ErrFault) {
		t.Errorf("an index that is longer than was signed: %v", err)
	}
	if got := (Signed{Size: 2048}).limit(); got != bundle.MaxIndexOf(2048) {
		t.Errorf("an attachment of 2,048 bytes has an index of up to %d", got)
	}
	if got := (Signed{Index: digest.Sum(raw), IndexSize: 1 << 60}).limit(); got != bundle.MaxIndex {
		t.Errorf("a signed size of 1<<60 allows %d bytes", got)
	}
}
