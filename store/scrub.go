package store

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"brink/bundle"
	"brink/digest"
	"brink/store/internal/database"
)

// scrubPause is the time between two passes of the scrubber, so that a small store is not read all the time.
const scrubPause = time.Hour

// scrubber reads all blobs repeatedly at a limited rate, and quarantines damaged ones, as any reader would, but before
// a device needs them. The invariant: a pass is complete only if it has read every blob that existed during the whole
// pass.
type scrubber struct {
	blobs *blobs
	rate  int64 // bytes per second
	log   *slog.Logger
	now   func() time.Time

	began atomic.Int64 // start of the last complete pass, seconds since 1970; 0: none
}

// passed returns when the last complete pass started, the zero time if there was none.
func (s *scrubber) passed() time.Time {
	at := s.began.Load()
	if at <= 0 {
		return time.Time{}
	}
	return time.Unix(at, 0).UTC()
}

// run scrubs until ctx is done.
func (s *scrubber) run(ctx context.Context) {
	limit := rate.NewLimiter(rate.Limit(s.rate), bundle.MaxFrame+envelopeOverhead)
	var first digest.Digest
	for i := range first {
		first[i] = byte(rand.Uint32()) // otherwise, with frequent restarts, later blobs would never be read
	}
	var log database.LogReader
	for {
		start := s.now()
		read := func(d digest.Digest) error {
			f, err := s.blobs.sealed(&log, d)
			if err == nil {
				err = limit.WaitN(ctx, len(f.Data)+envelopeOverhead)
			}
			return err
		}
		err := s.blobs.scan(ctx, first, read)
		if err == nil {
			err = s.blobs.scan(ctx, digest.Digest{}, func(d digest.Digest) error {
				if d.Compare(first) >= 0 {
					return errEnough
				}
				return read(d)
			})
		}
		log.Close() // otherwise a removed file would occupy the disk during the pause
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.log.Warn("scrub stopped", "reason", err)
		} else {
			s.began.Store(start.Unix())
		}
		first = digest.Digest{}
		pause := time.NewTimer(scrubPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}
