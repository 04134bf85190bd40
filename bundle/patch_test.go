package bundle

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"brink/digest"
)

func applyPatch(patch, old []byte, limit int) ([]byte, error) {
	r, err := DecodePatch(bytes.NewReader(patch), old, digest.SumSHA256(old))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, int64(limit)+1))
}

func TestPatch_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old := noise(rapid.Uint64Range(0, 99).Draw(t, "seed"), rapid.IntRange(0, 60_000).Draw(t, "old"))
		at := rapid.IntRange(0, len(old)).Draw(t, "at")
		next := append(append(append([]byte{}, old[at:]...), noise(5, rapid.IntRange(0, 999).Draw(t, "more"))...), old[:at]...)
		patch, err := EncodePatch(old, next, digest.SumSHA256(old))
		if err != nil {
			t.Fatal(err)
		}
		got, err := applyPatch(patch, old, len(next))
		if err != nil || !bytes.Equal(got, next) {
			t.Fatalf("patch gave %d bytes, %v; want %d", len(got), err, len(next))
		}
		if len(patch) > 2500 {
			t.Fatalf("moving one part of %d bytes made a patch of %d", len(old), len(patch))
		}
	})
}

func TestPatch_FindsDistantMatches(t *testing.T) {
	old := noise(1, 9<<20) // longer than the 8 MiB window that any client accepts
	next := append(noise(2, 100), old...)
	patch, err := EncodePatch(old, next, digest.SumSHA256(old))
	if err != nil {
		t.Fatal(err)
	}
	if len(patch) > 10_000 {
		t.Errorf("patch of 100 new bytes before 9 MiB takes %d bytes", len(patch))
	}
	if got, err := applyPatch(patch, old, len(next)); err != nil || !bytes.Equal(got, next) {
		t.Errorf("patch gave %d bytes, %v", len(got), err)
	}
}

func TestDecodePatch_RefusesOtherPatches(t *testing.T) {
	old, other, next := noise(1, 5000), noise(2, 5000), noise(3, 5000)
	patch, err := EncodePatch(old, next, digest.SumSHA256(old))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := applyPatch(patch, other, len(next)); !errors.Is(err, ErrMalformed) {
		t.Errorf("another dictionary: %v, want ErrMalformed", err)
	}
	for n := range patch {
		if got, err := applyPatch(patch[:n], old, len(next)); err == nil && bytes.Equal(got, next) {
			t.Fatalf("patch cut at %d of %d was accepted as whole", n, len(patch))
		}
	}
	if _, err := EncodePatch(make([]byte, MaxPatch+1), next, digest.SHA256{}); !errors.Is(err, ErrNoPatch) {
		t.Errorf("a dictionary over the bound: %v, want ErrNoPatch", err)
	}
}

func TestApplyPatch_ReturnsTheBytesOrAnError(t *testing.T) {
	old, next := noise(1, 5000), append(noise(3, 700), noise(1, 5000)[1000:]...)
	name := digest.SumSHA256(old)
	patch, err := EncodePatch(old, next, name)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(next))
	if got, err := ApplyPatch(patch, old, name, size); err != nil || !bytes.Equal(got, next) {
		t.Errorf("patch gave %d bytes, %v; want %d", len(got), err, size)
	}
	if _, err := ApplyPatch(patch, old, digest.SHA256{1}, size); !errors.Is(err, ErrMalformed) {
		t.Errorf("another dictionary: %v, want ErrMalformed", err)
	}
	for _, other := range []int64{-1, 0, size - 1, size + 1, MaxPatch + 1} {
		if _, err := ApplyPatch(patch, old, name, other); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes, of which %d were wanted: %v, want ErrMalformed", size, other, err)
		}
	}
	for n := range patch {
		if _, err := ApplyPatch(patch[:n], old, name, size); !errors.Is(err, ErrMalformed) {
			t.Fatalf("patch cut at %d of %d: %v, want ErrMalformed", n, len(patch), err)
		}
	}
}

// TestApplyPatch_AcceptsAnyAllowedWindow has a patch of another encoder: its window is larger than its content.
func TestApplyPatch_AcceptsAnyAllowedWindow(t *testing.T) {
	old, next := noise(1, 5000), noise(2, 300)
	name := digest.SumSHA256(old)
	patch := bytes.NewBuffer(append([]byte(patchMagic), name[:]...))
	encoder, err := zstd.NewWriter(patch, zstd.WithEncoderDictRaw(0, old), zstd.WithWindowSize(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := encoder.Write(next); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(encoder.Flush(), encoder.Close()); err != nil {
		t.Fatal(err)
	}
	if got, err := ApplyPatch(patch.Bytes(), old, name, 300); err != nil || !bytes.Equal(got, next) {
		t.Errorf("patch gave %d bytes, %v", len(got), err)
	}
}

// TestPatch_NeedsNoLargerWindowThanClientsAccept holds the bound of RFC 9842, section 5.
func TestPatch_NeedsNoLargerWindowThanClientsAccept(t *testing.T) {
	for name, size := range map[string]struct{ old, next int }{
		"tiny":                 {0, 1},
		"small":                {5000, 4700},
		"as large as both":     {5 << 20, 6 << 20},
		"large dictionary":     {12 << 20, 13 << 20},
		"beyond what one sees": {1 << 20, 9 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			old, next := make([]byte, size.old), make([]byte, size.next) // the content is of no concern
			patch, err := EncodePatch(old, next, digest.SHA256{})
			if err != nil {
				t.Fatal(err)
			}
			var h zstd.Header
			if err := h.Decode(patch[patchHeaderSize:]); err != nil {
				t.Fatal(err)
			}
			window := h.WindowSize
			if h.SingleSegment {
				window = h.FrameContentSize
			}
			if bound := uint64(max(8<<20, size.old+size.old/4)); window > bound {
				t.Errorf("window %d, and clients have %d", window, bound)
			}
			if h.FrameContentSize != uint64(size.next) || h.DictionaryID != 0 {
				t.Errorf("header says %+v", h)
			}
		})
	}
}

// TestPatch_StartsABlockAtEachLargeFile has an archive whose second and fourth file are large.
func TestPatch_StartsABlockAtEachLargeFile(t *testing.T) {
	archive := func(seed uint64) []byte {
		files := fstest.MapFS{}
		for i, size := range []int{1000, largeFile, largeFile - 1, largeFile + 5000} {
			files[string(rune('a'+i))] = &fstest.MapFile{Data: noise(seed+uint64(i), size)}
		}
		var b bytes.Buffer
		if err := (Folder{FS: files}).WriteArchive(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	old, next := archive(1), archive(2)
	cuts := parts(next)
	if len(cuts) != 3 || !bytes.Equal(bytes.Join(cuts, nil), next) {
		t.Fatalf("%d parts, want 3 that make the archive", len(cuts))
	}
	for i, part := range cuts[1:] {
		if want := []byte{'b', 'd'}[i]; part[0] != want {
			t.Errorf("part %d begins with file %q, want %q", i+1, part[0], want)
		}
	}
	patch, err := EncodePatch(old, next, digest.SumSHA256(old))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := applyPatch(patch, old, len(next)); err != nil || !bytes.Equal(got, next) {
		t.Errorf("patch gave %d bytes, %v", len(got), err)
	}
}

// TestPatch_IsReadByZstd holds the format against the reference implementation: a dcz body is what
// zstd -d --patch-from reads.
func TestPatch_IsReadByZstd(t *testing.T) {
	program, err := exec.LookPath("zstd")
	if err != nil {
		if os.Getenv("BRINK_CI") == "1" {
			t.Fatal("zstd is missing, and CI must have it")
		}
		t.Skip("skipped: needs the zstd command")
	}
	old := noise(1, 3<<20)
	next := append(noise(2, 1000), old[1<<20:]...)
	patch, err := EncodePatch(old, next, digest.SumSHA256(old))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"old": old, "patch.zst": patch} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "-d", "-q", "-c", "--long=27", "--patch-from=old", "patch.zst")
	cmd.Dir = dir
	got, err := cmd.Output()
	if err != nil || !bytes.Equal(got, next) {
		t.Errorf("zstd gave %d bytes, %v; want %d", len(got), err, len(next))
	}
}
