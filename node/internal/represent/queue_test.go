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

func TestQueue_BoundsTheCostOfRequests(t *testing.T) {
	f := start(t)
	f.mu.Lock()
	f.budget = tokenBucket{last: time.Now().Add(time.Hour)} // empty
	f.mu.Unlock()
	f.ask()
	f.Wait()
	if got := f.ask(); got == semantics.DCZ {
		t.Error("a request had a patch built that the budget does not cover")
	}
	<-f.Add(f.patch(), Planned)
	if got := f.ask(); got != semantics.DCZ {
		t.Errorf("a planned patch is bounded by the budget of requests: %q", got)
	}

	now := time.Now()
	var b tokenBucket
	if !b.spend(2*askedBurst, now) || b.spend(1, now) {
		t.Error("more than the burst is refused by a full bucket, or costs nothing")
	}
	if b.spend(askedRate, now.Add(time.Second)) || !b.spend(1, now.Add(2*time.Hour)) {
		t.Error("the bucket is not filled at its rate")
	}
}

func TestQueue_RecordsFailures(t *testing.T) {
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
		t.Errorf("a patch that cannot be built was tried %d times", calls.Load())
	}
}

func TestQueue_PublishersPassRequests(t *testing.T) {
	f := start(t)
	if err := f.askedPatch.Acquire(context.Background(), 1); err != nil { // another patch is being built
		t.Fatal(err)
	}
	defer f.askedPatch.Release(1)
	f.ask()
	for f.askedPatch.TryAcquire(0) { // fails once something waits
		runtime.Gosched()
	}
	<-f.Add(f.patch(), Urgent)
	if got := f.ask(); got != semantics.DCZ {
		t.Errorf("a patch that a publisher waits for is not built: %q", got)
	}
	f.Wait()
	if f.queued != 0 {
		t.Errorf("%d jobs of requests are counted as queued", f.queued)
	}
}
