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

// scrubPause is the time between two passes of the scrubber: a small store is not read all day long.
const scrubPause = time.Hour

// scrubber reads all blobs, over and over, at a bounded rate. It sets aside what is damaged, as any reader would, but
// before a device waits for it. Its invariant: a pass counts only when it has read every blob that was there from its
// beginning to its end.
type scrubber struct {
	blobs *blobs
	rate  int64 // bytes a second
	log   *slog.Logger
	now   func() time.Time

	began atomic.Int64 // when the last complete pass did, seconds since 1970; 0 when there was none
}

// passed returns when the last complete pass began, the zero time when there was none.
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
		first[i] = byte(rand.Uint32()) // or a process that is restarted often would only ever see the beginning
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
		log.Close() // or a file that is removed would stay on the disk all through the pause
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
