package origin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"brink/bundle"
	"brink/digest"
	"brink/store"
	"brink/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore keeps everything in memory, by the rules of the real one.
type fakeStore struct {
	codec *bundle.Codec
	room  error // returned by Ingest

	mu      sync.Mutex
	bundles map[digest.Digest]*bundle.Index
	chunks  map[digest.Digest][]byte
	open    int // ingests
	lose    func(c digest.Digest) bool
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		codec: bundle.NewCodec(), bundles: map[digest.Digest]*bundle.Index{}, chunks: map[digest.Digest][]byte{},
	}
}

func (s *fakeStore) Lost(_ context.Context, id digest.Digest) (*bundle.Index, []bundle.Chunk, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ix := s.bundles[id]
	if ix == nil {
		return nil, nil, ErrNotFound
	}
	return ix, s.missing(ix), nil
}

// missing returns what is not here; the caller holds mu.
func (s *fakeStore) missing(ix *bundle.Index) (list []bundle.Chunk) {
	for c := range ix.Chunks() {
		if s.chunks[c.Digest] == nil {
			list = append(list, c)
		}
	}
	return list
}

func (s *fakeStore) Ingest(_ context.Context, ix *bundle.Index, _ []byte) (Ingest, error) {
	if s.room != nil {
		return nil, s.room
	}
	if _, err := bundle.DecodeIndex(ix.Encode()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	return &fakeIngest{store: s, ix: ix}, nil
}

type fakeIngest struct {
	store  *fakeStore
	ix     *bundle.Index
	closed bool
}

func (in *fakeIngest) Missing() []bundle.Chunk {
	in.store.mu.Lock()
	defer in.store.mu.Unlock()
	return in.store.missing(in.ix)
}

func (in *fakeIngest) Put(f bundle.Frame) error {
	wanted := false
	for c := range in.ix.Chunks() {
		wanted = wanted || c.Digest == f.Digest && c.Size == f.Size
	}
	if !wanted {
		return store.ErrUnwanted
	}
	plain, err := in.store.codec.Plain(f)
	if err != nil {
		return err
	}
	in.store.mu.Lock()
	defer in.store.mu.Unlock()
	if lose := in.store.lose; lose != nil && lose(f.Digest) {
		return nil
	}
	in.store.chunks[f.Digest] = append([]byte{}, plain...)
	return nil
}

func (in *fakeIngest) Commit(ctx context.Context) error {
	if len(in.Missing()) > 0 {
		return store.ErrIncomplete
	}
	derived, err := bundle.IndexArchive(ctx, bundle.NewArchive(ctx, in.ix, in))
	if err != nil {
		return err
	}
	if string(derived.Encode()) != string(in.ix.Encode()) {
		return store.ErrMismatch
	}
	in.store.mu.Lock()
	defer in.store.mu.Unlock()
	in.store.bundles[in.ix.Bundle()] = in.ix
	return nil
}

// Chunk lets the archive be made.
func (in *fakeIngest) Chunk(_ context.Context, c bundle.Chunk) ([]byte, error) {
	in.store.mu.Lock()
	defer in.store.mu.Unlock()
	return in.store.chunks[c.Digest], nil
}

func (in *fakeIngest) Close() error {
	in.store.mu.Lock()
	defer in.store.mu.Unlock()
	if !in.closed {
		in.closed = true
		in.store.open--
	}
	return nil
}

// fakeSource has some bundles. Its hooks spoil what it gives.
type fakeSource struct {
	name    string
	bundles map[digest.Digest]*storetest.Bundle

	fetch func(ctx context.Context) error                         // before everything
	index func(*bundle.Index) *bundle.Index                       // what Bundle returns
	chunk func(ctx context.Context, n int, f *bundle.Frame) error // before the n-th chunk of a call
	extra int                                                     // how often each chunk is sent again

	asked, fetched atomic.Int64 // calls of Bundle and of Chunks
	limit          atomic.Int64 // of the last call of Bundle
	mu             sync.Mutex
	wanted         [][]bundle.Chunk
}

func sourceOf(name string, bundles ...*storetest.Bundle) *fakeSource {
	s := &fakeSource{name: name, bundles: map[digest.Digest]*storetest.Bundle{}}
	for _, b := range bundles {
		s.bundles[b.ID()] = b
	}
	return s
}

// give lets the source have a bundle from now on.
func (s *fakeSource) give(b *storetest.Bundle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bundles[b.ID()] = b
}

func (s *fakeSource) has(id digest.Digest) *storetest.Bundle {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bundles[id]
}

func (s *fakeSource) Name() string { return s.name }

func (s *fakeSource) Bundle(ctx context.Context, id digest.Digest, limit int64) (index, intent []byte, err error) {
	s.asked.Add(1)
	s.limit.Store(limit)
	if s.fetch != nil {
		if err := s.fetch(ctx); err != nil {
			return nil, nil, err
		}
	}
	b := s.has(id)
	if b == nil {
		return nil, nil, fmt.Errorf("%w: %s", ErrNotFound, id.Short())
	}
	if s.index != nil {
		return s.index(b.Index).Encode(), nil, nil
	}
	return b.Index.Encode(), []byte("intent"), nil
}

func (s *fakeSource) Chunks(
	ctx context.Context, ix *bundle.Index, want []bundle.Chunk, put func(bundle.Frame) error,
) error {
	s.fetched.Add(1)
	s.mu.Lock()
	s.wanted = append(s.wanted, want)
	s.mu.Unlock()
	if s.fetch != nil {
		if err := s.fetch(ctx); err != nil {
			return err
		}
	}
	b := s.has(ix.Bundle())
	if b == nil {
		return ErrNotFound
	}
	for n, c := range want {
		f, ok := b.Frames[c.Digest]
		if !ok {
			continue
		}
		if s.chunk != nil {
			switch err := s.chunk(ctx, n, &f); {
			case errors.Is(err, errSkip):
				continue
			case err != nil:
				return err
			}
		}
		for range 1 + s.extra {
			if err := put(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// errSkip lets a source leave out a chunk.
var errSkip = errors.New("skip")

// chunksWanted returns how many chunks the source was asked for in all.
func (s *fakeSource) chunksWanted() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, want := range s.wanted {
		n += len(want)
	}
	return n
}

// fill returns a filler from sources into s, which is closed at the end of the test.
func fill(t testing.TB, s Store, change func(*Config), sources ...Source) *Filler {
	t.Helper()
	config := Config{Store: s, Sources: func(digest.Digest) []Source { return sources }, Jitter: -1}
	if change != nil {
		change(&config)
	}
	f, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// flip spoils a frame.
func flip(_ context.Context, _ int, f *bundle.Frame) error {
	f.Data = append([]byte{}, f.Data...)
	f.Data[len(f.Data)/2] ^= 1
	return nil
}

// hang waits for the end of ctx.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}
