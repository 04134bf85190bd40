package represent

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"brink/digest"
	"brink/node/internal/semantics"
)

func TestQueue_BoundsWhatRequestsCost(t *testing.T) {
	f := start(t)
	f.mu.Lock()
	f.budget = allowance{last: time.Now().Add(time.Hour)} // empty
	f.mu.Unlock()
	f.ask()
	f.Wait()
	if got := f.ask(); got == semantics.DCZ {
		t.Error("requests have a patch made that their budget does not cover")
	}
	<-f.Add(f.patch(), Planned)
	if got := f.ask(); got != semantics.DCZ {
		t.Errorf("what follows from a manifest is bounded by what requests may cost: %q", got)
	}

	now := time.Now()
	var b allowance
	if !b.take(2*askedBurst, now) || b.take(1, now) {
		t.Error("a patch of more than the burst is not taken from a full bucket, or it costs nothing")
	}
	if b.take(askedRate, now.Add(time.Second)) || !b.take(1, now.Add(2*time.Hour)) {
		t.Error("the bucket is not filled at its rate")
	}
}

func TestQueue_RemembersWhatCanNotBeMade(t *testing.T) {
	var calls atomic.Int64
	f := start(t, func(c *Config) {
		c.Encoders.Patch = func([]byte, []byte, digest.SHA256) ([]byte, error) {
			calls.Add(1)
			return nil, errors.New("test")
		}
	})
	for range 5 {
		f.ask()
		f.Wait()
	}
	if calls.Load() != 1 {
		t.Errorf("a patch that cannot be made was tried %d times", calls.Load())
	}
}

func TestQueue_PublishersPassRequests(t *testing.T) {
	f := start(t)
	if err := f.askedPatch.Acquire(context.Background(), 1); err != nil { // another patch is being made
		t.Fatal(err)
	}
	defer f.askedPatch.Release(1)
	f.ask()
	for f.askedPatch.TryAcquire(0) { // which fails once something waits
		runtime.Gosched()
	}
	<-f.Add(f.patch(), Urgent)
	if got := f.ask(); got != semantics.DCZ {
		t.Errorf("what a publisher waits for is not made: %q", got)
	}
	f.Wait()
	if f.queued != 0 {
		t.Errorf("%d representations wait for requests", f.queued)
	}
}
