package plugin

import (
	"regexp"
	"testing"

	"brink/bench/cost"
	"brink/digest"

	"pgregory.net/rapid"
)

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func draw(t *rapid.T) (d digest.Digest) {
	copy(d[:], rapid.SliceOfN(rapid.Byte(), digest.Size, digest.Size).Draw(t, "digest"))
	return d
}

// Devices keep these for years: another value would have every one of them fetch what it has.
func TestIdentity_Golden(t *testing.T) {
	d := digest.Sum([]byte("a bundle"))
	if got := Snapshot(d); got != "ff62a870-53a2-8b01-8e09-a5d8ff7f309c" {
		t.Errorf("Snapshot = %s", got)
	}
	if got := Build(d); got != 1645174633 {
		t.Errorf("Build = %d", got)
	}
}

func TestSnapshot_IsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		text := Snapshot(d)
		if !uuid.MatchString(text) {
			t.Fatalf("%s is no UUID of version 8", text)
		}
		if b, ok := parseSnapshot(text); !ok || b != masked(d) {
			t.Fatalf("%s is read as %x", text, b)
		}
		other := draw(t)
		if masked(other) != masked(d) && Snapshot(other) == text {
			t.Fatalf("two snapshots are %s", text)
		}
	})
}

func TestBuild_FitsAnIntegerOf32BitsAndIsNeverNone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if n := Build(draw(t)); n < 1 || n > 1<<31-1 {
			t.Fatalf("build %d", n)
		}
	})
	var low, high digest.Digest
	for i := range high {
		high[i] = 0xff
	}
	for _, d := range []digest.Digest{low, high} {
		if n := Build(d); n < 1 || n > 1<<31-1 {
			t.Errorf("build %d", n)
		}
	}
}

func FuzzSnapshot(f *testing.F) {
	f.Add("66192f03-8627-492c-b4cf-22775be368dc")
	f.Add("66192f03-8627-492c-b4cf-22775be36-dc")
	f.Add("------------------------------------")
	f.Fuzz(func(t *testing.T, text string) {
		b, ok := parseSnapshot(text)
		cost.Check(t, len(text), func() { b, ok = parseSnapshot(text) })
		if ok != regexp.MustCompile(`^(?i)[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$`).MatchString(text) {
			t.Errorf("%q is read as %x, %t", text, b, ok)
		}
	})
}
