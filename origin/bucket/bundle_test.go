package bucket

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"brink/bundle"
	"brink/digest"
	"brink/origin"
	"brink/origin/bucket/buckettest"
	"brink/store/storetest"
)

func TestBucket_RoundTrip(t *testing.T) {
	s := newFakeS3(t)
	b := byS3(t, s)
	one := storetest.Random(t, 1, 2<<20)
	if _, err := fetch(t, b, one); !errors.Is(err, origin.ErrNotFound) {
		t.Errorf("before it is put: %v, want ErrNotFound", err)
	}
	sent := mustPut(t, b, upload(one))
	if sent.Chunks != len(one.Frames) || sent.Bytes < 2<<20 || sent.Before {
		t.Errorf("the first time: %+v", sent)
	}
	id := one.ID().String()
	keys := s.Keys()
	keys = slices.DeleteFunc(keys, func(key string) bool { return strings.HasPrefix(key, "packs/") })
	want := []string{"bundles/" + id + "/index.json", "bundles/" + id + "/intent.json", "bundles/" + id + "/map.json"}
	if diff := cmp.Diff(want, keys); diff != "" || len(s.Keys()) != 4 {
		t.Errorf("objects (-want +got):\n%s\nof %v", diff, s.Keys())
	}
	for name, place := range map[string]*Bucket{"S3": b, "HTTP": byHTTP(t, s)} {
		s.Count("", "")
		if n, err := fetch(t, place, one); err != nil || n != len(one.Frames) {
			t.Errorf("by %s came %d of %d chunks: %v", name, n, len(one.Frames), err)
		}
		if n := s.Count("GET", "packs/"); n != 1 {
			t.Errorf("by %s %d requests were made for chunks that lie side by side", name, n)
		}
	}
	if again := mustPut(t, b, upload(one)); again != (Sent{Before: true}) || s.Count("PUT", "") != 0 {
		t.Errorf("the second time: %+v", again)
	}
}

func TestBucket_UploadsOnlyMissingChunks(t *testing.T) {
	s := newFakeS3(t)
	b := byS3(t, s)
	files := map[string][]byte{"a": storetest.Noise(1, 500_000), "b": storetest.Noise(2, 500_000)}
	first := storetest.New(t, files)
	files["b"], files["c"] = storetest.Noise(3, 500_000), storetest.Noise(4, 100)
	second := storetest.New(t, files)
	mustPut(t, b, upload(first))
	up := upload(second, idOf("not there"), first.ID())
	var asked int
	frame := up.Frame
	up.Frame = func(ctx context.Context, c bundle.Chunk) (bundle.Frame, error) {
		asked++
		if _, has := first.Frames[c.Digest]; has {
			t.Errorf("chunk %s is there, and asked for", c.Digest.Short())
		}
		return frame(ctx, c)
	}
	dry := up
	dry.DryRun = true
	s.Count("", "")
	if sent := mustPut(t, b, dry); asked != 0 || s.Count("PUT", "") != 0 || sent.Bytes != 0 {
		t.Errorf("a dry run: %+v", sent)
	}
	sent := mustPut(t, b, up)
	if sent.Chunks != asked || sent.Bytes > 700_000 {
		t.Errorf("of a change of half: %+v, %d asked for", sent, asked)
	}
	if n, err := fetch(t, b, second); err != nil || n != len(second.Frames) {
		t.Errorf("from two packs came %d of %d chunks: %v", n, len(second.Frames), err)
	}
}

func idOf(text string) digest.Digest { return digest.Sum([]byte(text)) }

// A bundle that is half written is not there, and the next try writes the rest.
func TestBucket_AWriteThatIsCutShowsNothing(t *testing.T) {
	s := newFakeS3(t)
	b := byS3(t, s)
	one := storetest.Random(t, 2, 1<<20)
	writes := 0
	s.Fail = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		if r.Method == http.MethodPut {
			if writes--; writes < 0 {
				buckettest.Says(w, http.StatusForbidden, "AccessDenied")
				return true
			}
		}
		return false
	}
	tries := 0
	for ; ; tries++ {
		writes = tries
		if _, err := b.PutBundle(t.Context(), upload(one)); err == nil {
			break
		} else if !errors.Is(err, ErrDenied) {
			t.Fatal(err)
		}
		if _, _, err := b.Bundle(t.Context(), one.ID(), bundle.MaxIndex); !errors.Is(err, origin.ErrNotFound) {
			t.Errorf("after %d writes: %v, want ErrNotFound", tries, err)
		}
	}
	if tries != 3 { // the pack of the first try that wrote it is found by the next
		t.Errorf("it took %d writes in one go, want 3", tries)
	}
	if n, err := fetch(t, b, one); err != nil || n != len(one.Frames) {
		t.Errorf("came %d chunks: %v", n, err)
	}
}

func TestBucket_TwoPutTheSameAtOnce(t *testing.T) {
	s := newFakeS3(t)
	one := storetest.Random(t, 3, 1<<20)
	var all sync.WaitGroup
	for range 4 {
		b := byS3(t, s)
		all.Go(func() {
			if _, err := b.PutBundle(t.Context(), upload(one)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n, err := fetch(t, byS3(t, s), one); err != nil || n != len(one.Frames) {
		t.Errorf("came %d chunks: %v", n, err)
	}
}

func TestBucket_RepairsWhatWasRemoved(t *testing.T) {
	s := newFakeS3(t)
	b := byS3(t, s)
	one := storetest.Random(t, 4, 1<<20)
	mustPut(t, b, upload(one))
	for _, key := range s.Keys() {
		raw := s.Object(key)
		if strings.HasPrefix(key, "packs/") {
			// Cut, and then gone.
			s.Set(key, raw[:len(raw)/2])
			if sent := mustPut(t, b, upload(one)); sent.Chunks == 0 || sent.Before {
				t.Errorf("with a pack that was cut: %+v", sent)
			}
		}
		s.Set(key, nil)
		if sent := mustPut(t, b, upload(one)); sent.Before && !strings.HasSuffix(key, intentName) {
			t.Errorf("without %s: %+v", key, sent)
		}
		s.Set(bundleKey(one.ID(), intentName), []byte(`"intent"`))
		if n, err := fetch(t, b, one); err != nil || n != len(one.Frames) {
			t.Errorf("after %s was removed came %d chunks: %v", key, n, err)
		}
	}
}

func TestBucket_RefusesAFrameOfAnotherChunk(t *testing.T) {
	s := newFakeS3(t)
	one, other := storetest.Random(t, 5, 1000), storetest.Random(t, 6, 1000)
	up := upload(one)
	up.Frame = func(context.Context, bundle.Chunk) (bundle.Frame, error) {
		for _, f := range other.Frames {
			return f, nil
		}
		return bundle.Frame{}, nil
	}
	if _, err := byS3(t, s).PutBundle(t.Context(), up); !errors.Is(err, digest.ErrMismatch) || len(s.Keys()) != 0 {
		t.Errorf("PutBundle = %v, and there are %v", err, s.Keys())
	}
}

// The filler takes a bucket that is spoilt in any way for a source like others: what is wrong does not come in.
func TestBucket_SpoiltInAnyWay(t *testing.T) {
	one := storetest.Random(t, 7, 1<<20)
	s := newFakeS3(t)
	b := byS3(t, s)
	mustPut(t, b, upload(one))
	for _, key := range s.Keys() {
		if strings.HasSuffix(key, intentName) {
			continue
		}
		good := s.Object(key)
		for name, raw := range map[string][]byte{
			"gone": nil, "empty": {}, "cut": good[:len(good)/2], "other": []byte(strings.Repeat("x", len(good))),
			"flipped": append(append(append([]byte{}, good[:len(good)/3]...), good[len(good)/3]^1), good[len(good)/3+1:]...),
		} {
			s.Set(key, raw)
			for place, from := range map[string]*Bucket{"S3": byS3(t, s), "HTTP": byHTTP(t, s)} {
				n, err := fetchLoosely(t, from, one)
				if err == nil && n == len(one.Frames) {
					t.Errorf("%s %s, by %s: all came, and nobody noticed", key, name, place)
				}
			}
		}
		s.Set(key, good)
	}
	if n, err := fetch(t, b, one); err != nil || n != len(one.Frames) {
		t.Errorf("at the end came %d chunks: %v", n, err)
	}
}

// fetchLoosely counts the right chunks that came by the right index.
func fetchLoosely(t *testing.T, b *Bucket, want *storetest.Bundle) (n int, err error) {
	t.Helper()
	raw, _, err := b.Bundle(t.Context(), want.ID(), bundle.MaxIndex)
	if err != nil {
		return 0, err
	}
	if digest.Sum(raw) != digest.Sum(want.Index.Encode()) {
		return 0, errors.New("another index")
	}
	ix := want.Index
	codec := bundle.NewCodec()
	var all []bundle.Chunk
	for c := range want.Index.Chunks() {
		all = append(all, c)
	}
	err = b.Chunks(t.Context(), ix, all, func(f bundle.Frame) error {
		if _, err := codec.Plain(f); err != nil {
			return err
		}
		n++
		return nil
	})
	return n, err
}

func TestBucket_AServerWithoutRanges(t *testing.T) {
	s := newFakeS3(t)
	one := storetest.Random(t, 8, 1<<20)
	mustPut(t, byS3(t, s), upload(one))
	s.Fail = func(_ http.ResponseWriter, r *http.Request, _ string) bool {
		r.Header.Del("Range")
		return false
	}
	if n, err := fetch(t, byHTTP(t, s), one); err != nil || n != len(one.Frames) {
		t.Errorf("came %d of %d chunks: %v", n, len(one.Frames), err)
	}
	if _, err := byHTTP(t, s).PutBundle(t.Context(), upload(storetest.Random(t, 9, 1000))); !errors.Is(err, ErrReadOnly) {
		t.Errorf("PutBundle by HTTP = %v, want ErrReadOnly", err)
	}
}

func TestBucket_FillsAStore(t *testing.T) {
	s := newFakeS3(t)
	one := storetest.Random(t, 10, 10<<20) // more than one batch
	mustPut(t, byS3(t, s), upload(one))
	local := newStore(t)
	f, err := origin.New(origin.Config{
		Store:   origin.Into(local),
		Sources: func(digest.Digest) []origin.Source { return []origin.Source{byS3(t, s)} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Fill(t.Context(), one.ID()); err != nil {
		t.Fatal(err)
	}
	if lost, err := local.Lost(t.Context(), one.ID()); err != nil || len(lost) > 0 {
		t.Errorf("the store lacks %d chunks: %v", len(lost), err)
	}
}
