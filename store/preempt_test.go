package store

import (
	"context"
	"errors"
	"testing"

	"brink/digest"
)

// slowly is derived content of which half is made, and the rest only when it may go on.
type slowly struct {
	made int64
	half chan struct{} // closed when half is made
	goOn chan struct{}
}

func (s *slowly) Read(p []byte) (int, error) {
	const half = 2 << 20
	switch {
	case s.made < half:
		n := min(int64(len(p)), half-s.made)
		for i := range p[:n] {
			s.made++
			p[i] = byte(s.made) ^ byte(s.made>>8) ^ byte(s.made>>16)
		}
		if s.made == half {
			close(s.half)
		}
		return int(n), nil
	default:
		<-s.goOn
		s.made++
		p[0] = byte(s.made)
		return 1, nil
	}
}

// A bundle that needs the room does not wait for luck: what is derived and not yet complete is given up for it.
func TestIngest_PreemptsDerivedContentUnderWay(t *testing.T) {
	s := openStore(t, Config{Quota: 4 << 20})
	content := &slowly{half: make(chan struct{}), goOn: make(chan struct{})}
	preempt := s.quota.preempt
	s.quota.preempt = func(ctx context.Context) {
		close(content.goOn)
		preempt(ctx)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := s.PutDerived(t.Context(), DerivedKey{Source: digest.Sum([]byte("source")), Kind: "zstd"}, content)
		ended <- err
	}()
	<-content.half
	if err := s.quota.reserve(t.Context(), 3<<20, evictAll); err != nil {
		t.Errorf("reserve for a bundle = %v", err)
	}
	s.quota.release(3 << 20)
	if err := <-ended; !errors.Is(err, ErrQuota) {
		t.Errorf("PutDerived = %v, want ErrQuota", err)
	}
	stats, err := s.Stats()
	if err != nil || stats.Stored != 0 || stats.Reserved != 0 {
		t.Errorf("%d bytes are stored and %d reserved, %v; want none", stats.Stored, stats.Reserved, err)
	}
}

func TestWriting_PreemptDoesNotWaitForEver(t *testing.T) {
	var w writing
	writing, done := w.start(t.Context())
	defer done()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.preempt(ctx)
	if err := context.Cause(writing); !errors.Is(err, ErrQuota) {
		t.Errorf("the write goes on: %v", err)
	}
}
