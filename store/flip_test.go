package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"brink/bundle"
	"brink/digest"
	"brink/store"
	"brink/store/storetest"
)

// What is in the folder that is damaged: two bundles, a manifest that replaced another, a trust document, states, one of
// which replaced another, and a derived object.
var flipKey = store.DerivedKey{Source: digest.Digest{1}, Kind: "zstd"}

func flipBundles(t testing.TB) []*storetest.Bundle {
	return []*storetest.Bundle{storetest.Random(t, 1, 400<<10), storetest.Random(t, 2, 200<<10)}
}

func flipDerived() []byte { return storetest.Noise(77, 400<<10) }

func fillForFlips(t *testing.T, s *store.Store) {
	all := flipBundles(t)
	for _, b := range all {
		if err := storetest.Publish(t.Context(), s, b, []byte("intent")); err != nil {
			t.Fatal(err)
		}
	}
	raw, m := storetest.Manifest(t, crashApp, crashChannel, 1, all[0])
	if err := s.PutManifest(t.Context(), raw, m, digest.Digest{}); err != nil {
		t.Fatal(err)
	}
	next, m := storetest.Manifest(t, crashApp, crashChannel, 2, all[1], all[0])
	if err := s.PutManifest(t.Context(), next, m, digest.Sum(raw)); err != nil {
		t.Fatal(err)
	}
	if err := s.PutTrust(t.Context(), "acme", []byte("trust"), digest.Digest{}); err != nil {
		t.Fatal(err)
	}
	if err := s.PutState(t.Context(), map[string][]byte{"stats/a": []byte("old")}); err != nil {
		t.Fatal(err)
	}
	if err := s.PutState(t.Context(), map[string][]byte{"stats/a": []byte("new"), "stats/b": []byte("b")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutDerived(t.Context(), flipKey, bytes.NewReader(flipDerived())); err != nil {
		t.Fatal(err)
	}
}

// readAll opens a damaged folder, reads all that was in it, and works on with it. It panics when it reads wrong bytes:
// what it reads must be right, or not there, or an error.
func readAll(dir string) {
	var t silent
	s, err := store.Open(store.Config{Dir: dir, MinFree: 1 << 20, Quota: 64 << 20})
	if err != nil {
		if !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrFormat) {
			t.Fatalf("Open = %v, want ErrCorrupt or ErrFormat", err)
		}
		fmt.Println("refused:", err)
		return
	}
	check := func(what string, got []byte, err error, want []byte) {
		switch {
		case err == nil && !bytes.Equal(got, want):
			t.Fatalf("WRONG BYTES: %s", what)
		case err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrDamaged):
			t.Fatalf("%s: %v", what, err)
		case err != nil:
			fmt.Println("lost:", what, err)
		}
	}
	ctx := context.Background()
	all := flipBundles(t)
	for _, b := range all {
		id := b.ID().String()
		known, err := s.Bundle(b.ID())
		var raw []byte
		if err == nil {
			raw = known.Index.Encode()
		}
		check("index of "+id, raw, err, b.Index.Encode())
		intent, err := s.Intent(b.ID())
		check("intent of "+id, intent, err, []byte("intent"))
		for c := range b.Index.Chunks() {
			// The frame first: a plain read may set it aside.
			f, err := s.Frame(ctx, c.Digest)
			check("frame "+c.Digest.String(), f.Data, err, b.Frames[c.Digest].Data)
			plain, err := s.Chunk(ctx, c)
			if err == nil && digest.Sum(plain) != c.Digest {
				t.Fatalf("WRONG BYTES: chunk %s", c.Digest)
			}
			check("chunk", nil, err, nil)
		}
	}
	manifest, err := s.Manifest(crashApp, crashChannel)
	want, _ := storetest.Manifest(t, crashApp, crashChannel, 2, all[1], all[0])
	check("manifest", manifest, err, want)
	trust, err := s.Trust("acme")
	check("trust document", trust, err, []byte("trust"))
	for key, want := range map[string]string{"stats/a": "new", "stats/b": "b"} {
		value, err := s.State(key)
		check("state "+key, value, err, []byte(want))
	}
	for key, value := range s.States("") {
		if again, err := s.State(key); err != nil || !bytes.Equal(again, value) {
			t.Fatalf("WRONG BYTES: States yields %q for %s: %v", value, key, err)
		}
	}
	var derived []byte
	o, err := s.Derived(flipKey)
	if err == nil {
		derived, err = io.ReadAll(o.Reader())
	}
	check("derived object", derived, err, flipDerived())

	if _, err := s.Verify(ctx, nil); err != nil {
		t.Fatalf("Verify: %v", err)
	}
	for _, b := range all {
		if err := storetest.Publish(ctx, s, b, nil); err != nil {
			t.Fatalf("publish again: %v", err)
		}
		storetest.CheckBundle(t, s, b)
	}
	if _, err := s.GC(ctx); err != nil && !errors.Is(err, bundle.ErrMalformed) {
		fmt.Println("GC:", err) // it is refused after some damage, and says so
	}
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	fmt.Println("fine")
}

// Bytes are flipped, and files cut, in every file of a folder that was closed and of one whose process died.
func TestOpen_AnyDamage(t *testing.T) {
	dir := t.TempDir()
	live, clean := filepath.Join(dir, "live"), filepath.Join(dir, "clean")
	s, err := store.Open(store.Config{Dir: clean, MinFree: 1 << 20, Quota: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	fillForFlips(t, s)
	if err := copySparse(live, clean); err != nil { // as kill -9 leaves it
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	type damage struct {
		folder, file string
		at           int64 // is flipped, or with cut the new length
		cut          bool
	}
	var all []damage
	rnd := rand.New(rand.NewPCG(5, 6))
	for _, folder := range []string{live, clean} {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			file, _ := filepath.Rel(folder, path)
			size := int64(len(bytes.TrimRight(raw, "\x00"))) // the rest is a hole
			for _, at := range []int64{0, 1, 7, 12, 21, 22, 23, 24, 60, size - 1, size - 3, size - 5, size - 25, size / 2} {
				all = append(all, damage{folder: folder, file: file, at: at})
			}
			for range 4 {
				all = append(all, damage{folder: folder, file: file, at: rnd.Int64N(size + 1)})
			}
			for _, length := range []int64{0, size / 2, size - 1} {
				all = append(all, damage{folder: folder, file: file, at: length, cut: true})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if os.Getenv("BRINK_E2E") == "" { // all of them take two minutes
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:60]
	}
	if testing.Short() {
		all = all[:15]
	}
	var mu sync.Mutex
	results := make(map[string]int)
	var work sync.WaitGroup
	for i := range 2 {
		work.Go(func() {
			for n := i; n < len(all); n += 2 {
				d := all[n]
				target := filepath.Join(dir, fmt.Sprint("damaged", i))
				if err := os.RemoveAll(target); err != nil {
					t.Error(err)
				}
				if err := copySparse(target, d.folder); err != nil {
					t.Error(err)
				}
				if err := harm(filepath.Join(target, d.file), d.at, d.cut); err != nil {
					t.Error(err)
				}
				cmd := startChild(t, "read", target)
				cmd.WaitDelay = time.Second
				timer := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() }) // it hangs
				out, err := cmd.CombinedOutput()
				timer.Stop()
				if err != nil {
					t.Errorf("%s of %s, byte %d, cut %v: %v\n%s", d.file, filepath.Base(d.folder), d.at, d.cut, err, tail(out))
				}
				mu.Lock()
				results[filepath.Base(d.folder)+" "+d.file+": "+outcome(string(out))]++
				mu.Unlock()
			}
		})
	}
	work.Wait()
	for _, line := range slices.Sorted(maps.Keys(results)) {
		t.Logf("%3d %s", results[line], line)
	}
}

func outcome(out string) string {
	switch {
	case strings.Contains(out, "refused:"):
		return "refused"
	case strings.Contains(out, "lost:"):
		return "lost something"
	default:
		return "lost nothing"
	}
}

func tail(out []byte) []byte { return out[max(0, len(out)-3000):] }

func harm(path string, at int64, cut bool) error {
	if cut {
		return os.Truncate(path, max(0, at))
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [1]byte
	if n, _ := f.ReadAt(b[:], max(0, at)); n == 0 {
		return nil
	}
	b[0] ^= 0x10
	_, err = f.WriteAt(b[:], max(0, at))
	return err
}

// copySparse copies a folder without the holes that its files end with.
func copySparse(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, bytes.TrimRight(raw, "\x00"), 0o600); err != nil {
			return err
		}
		return os.Truncate(target, int64(len(raw)))
	})
}
