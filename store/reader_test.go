package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"brink/bundle"
	"brink/digest"
)

// noiseAndText stores blobs that are stored raw, and ones that are compressed.
func noiseAndText(t *testing.T, s *Store) map[digest.Digest][]byte {
	t.Helper()
	noise, codec := rand.NewChaCha8([32]byte{}), bundle.NewCodec()
	blobs := make(map[digest.Digest][]byte)
	for i := range 20 {
		plain := bytes.Repeat([]byte{byte(i)}, 1000*i)
		if i%2 == 0 {
			_, _ = noise.Read(plain) // it never fails
		}
		f := codec.Frame(plain)
		if err := s.blobs.put(f); err != nil {
			t.Fatal(err)
		}
		blobs[f.Digest] = plain
	}
	return blobs
}

// Readers use their memory again, and that of others; what Chunk and Frame of the store return is the caller's.
func TestReader_KeepsOutOfWhatOthersOwn(t *testing.T) {
	s := openStore(t, Config{})
	blobs := noiseAndText(t, s)
	owned := make(map[digest.Digest][]byte)
	frames := make(map[digest.Digest]bundle.Frame)
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			r := s.Reader()
			defer r.Close()
			for d, want := range blobs {
				if got, err := r.Chunk(t.Context(), bundle.Chunk{Digest: d}); err != nil || !bytes.Equal(got, want) {
					t.Errorf("Chunk of a reader = %d bytes, %v, want %d", len(got), err, len(want))
				}
				if f, err := r.Frame(t.Context(), d); err != nil || f.Digest != d {
					t.Errorf("Frame of a reader = %v, %v", f.Digest.Short(), err)
				}
			}
		})
	}
	for d := range blobs {
		var err, failed error
		owned[d], err = s.Chunk(t.Context(), bundle.Chunk{Digest: d})
		frames[d], failed = s.Frame(t.Context(), d)
		if err := errors.Join(err, failed); err != nil {
			t.Error(err)
		}
	}
	work.Wait()
	for d, want := range blobs {
		if !bytes.Equal(owned[d], want) {
			t.Errorf("what Chunk returned was written to")
		}
		if plain, err := s.blobs.codec.Plain(frames[d]); err != nil || !bytes.Equal(plain, want) {
			t.Errorf("what Frame returned was written to: %v", err)
		}
	}
}

// TestReader_RemovesNothingThatBadgerReads: where a value lies is not Badger's to tell, so a reader that sees something
// else than Badger does may refuse a blob, and must not remove it.
func TestReader_RemovesNothingThatBadgerReads(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: values may be read from the map here")
	}
	s := openStore(t, Config{})
	blobs := noiseAndText(t, s)
	logs, err := filepath.Glob(filepath.Join(s.blobs.db.Dir(), "*.vlog"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("%d files, %v", len(logs), err)
	}
	// Badger has mapped the files, whatever their names are.
	for _, path := range logs {
		err := os.Rename(path, path+".sound")
		if err == nil {
			err = os.WriteFile(path, make([]byte, 8<<20), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for d := range blobs {
		if _, err := s.Chunk(t.Context(), bundle.Chunk{Digest: d}); !errors.Is(err, ErrDamaged) {
			t.Errorf("zeros in place of a blob: %v", err)
		}
	}
	for _, path := range logs {
		if err := os.Rename(path+".sound", path); err != nil {
			t.Fatal(err)
		}
	}
	for d, want := range blobs {
		if got, err := s.Chunk(t.Context(), bundle.Chunk{Digest: d}); err != nil || !bytes.Equal(got, want) {
			t.Errorf("a blob that was never damaged: %v", err)
		}
	}
}

func TestReader_CloseGivesTheFileBack(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: only Linux lists what is open")
	}
	s := openStore(t, Config{})
	blobs := noiseAndText(t, s)
	before := openLogs(t, s)
	r := s.Reader()
	for range 2 {
		for d := range blobs {
			if _, err := r.Chunk(t.Context(), bundle.Chunk{Digest: d}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Frame(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		if got := openLogs(t, s); got != before+1 {
			t.Errorf("%d files are open, want one more than %d", got, before)
		}
		r.Close()
		r.Close()
		if got := openLogs(t, s); got != before {
			t.Errorf("%d files are open after Close, want %d", got, before)
		}
	}
}

// openLogs counts how often files of the value log are open.
func openLogs(t *testing.T, s *Store) (n int) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		path, err := os.Readlink(link)
		if err == nil && filepath.Dir(path) == s.blobs.db.Dir() && strings.HasSuffix(path, ".vlog") {
			n++
		}
	}
	return n
}

// Devices that come at the same time, as after a start, wait for one reading of the index.
func TestIndexCache_ReadsOnceForAllCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c indexCache
		var reads atomic.Int64
		want, ready := &bundle.Index{}, make(chan struct{})
		answer := ErrNotFound
		read := func() (*bundle.Index, int64, error) {
			reads.Add(1)
			<-ready
			return want, 1, answer
		}
		wait := func(wanted error) {
			for range 8 {
				go func() {
					if got, err := c.load(digest.Digest{1}, read); !errors.Is(err, wanted) || got != want {
						t.Errorf("load = %p, %v, want %p, %v", got, err, want, wanted)
					}
				}()
			}
			synctest.Wait()
		}
		wait(ErrNotFound)
		close(ready)
		synctest.Wait()
		answer, ready = nil, make(chan struct{}) // what was lost is back
		wait(nil)
		close(ready)
		synctest.Wait()
		if _, err := c.load(digest.Digest{1}, read); err != nil || reads.Load() != 2 {
			t.Errorf("read %d times, %v, want once when it was lost and once when it was there", reads.Load(), err)
		}
	})
}
