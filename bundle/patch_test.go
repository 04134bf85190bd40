package bundle

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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

func TestPatch_FindsWhatIsFarBack(t *testing.T) {
	old := noise(1, 20<<20) // longer than the 8 MiB window that any client accepts
	next := append(noise(2, 100), old...)
	patch, err := EncodePatch(old, next, digest.SumSHA256(old))
	if err != nil {
		t.Fatal(err)
	}
	if len(patch) > 10_000 {
		t.Errorf("patch of 100 new bytes before 20 MiB takes %d bytes", len(patch))
	}
	if got, err := applyPatch(patch, old, len(next)); err != nil || !bytes.Equal(got, next) {
		t.Errorf("patch gave %d bytes, %v", len(got), err)
	}
}

func TestDecodePatch_RefusesWhatIsNotForIt(t *testing.T) {
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

// TestPatch_IsReadByZstd holds the format against the reference implementation: a dcz body is what
// zstd -d --patch-from reads.
func TestPatch_IsReadByZstd(t *testing.T) {
	zstd, err := exec.LookPath("zstd")
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
	cmd := exec.Command(zstd, "-d", "-q", "-c", "--long=27", "--patch-from=old", "patch.zst")
	cmd.Dir = dir
	got, err := cmd.Output()
	if err != nil || !bytes.Equal(got, next) {
		t.Errorf("zstd gave %d bytes, %v; want %d", len(got), err, len(next))
	}
}
