package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"

	"brink/bundle"
	"brink/digest"
	"brink/store/database"
)

// scrubPause is the time between two passes of the scrubber: a small store is not read all day long.
const scrubPause = time.Hour

// scrubWindow is how many names are listed at once.
const scrubWindow = 1024

// scrubber reads all blobs, over and over, at a bounded rate. It sets aside what is damaged, as any reader would, but
// before a device waits for it.
func (s *Store) scrubber(ctx context.Context) {
	limit := rate.NewLimiter(rate.Limit(s.config.ScrubRate), bundle.MaxFrame+envelopeOverhead)
	var first digest.Digest
	for i := range first {
		first[i] = byte(rand.Uint32()) // or a process that is restarted often would only ever see the beginning
	}
	var log database.LogReader
	for {
		start := s.config.Now()
		read := func(d digest.Digest) error {
			f, err := s.blobs.sealed(&log, d)
			if err == nil {
				err = limit.WaitN(ctx, len(f.Data)+envelopeOverhead)
			}
			return err
		}
		err := s.scan(ctx, first, read)
		if err == nil {
			err = s.scan(ctx, digest.Digest{}, func(d digest.Digest) error {
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
			s.config.Logger.Warn("scrub stopped", "reason", err)
		} else {
			s.scrubbed.Store(start.Unix())
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

// errEnough ends a scan or a list.
var errEnough = errors.New("enough")

// scan calls do for every blob from first on. What do does not find is passed over: it was set aside, or evicted. No
// iterator is open while do works, for one keeps value log files from being removed.
func (s *Store) scan(ctx context.Context, first digest.Digest, do func(digest.Digest) error) error {
	for more := true; more; {
		names := make([]digest.Digest, 0, scrubWindow)
		more = false
		err := s.blobs.each(ctx, first, func(d digest.Digest, _ int64) bool {
			if len(names) == scrubWindow {
				first, more = d, true
				return false
			}
			names = append(names, d)
			return true
		})
		if err != nil {
			return err
		}
		for _, d := range names {
			err := do(d)
			if errors.Is(err, errEnough) {
				return nil
			}
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Report says what [Store.Verify] found.
type Report struct {
	Blobs      int64              `json:"blobs"`
	Bytes      int64              `json:"bytes"`                // of frames read
	Damaged    []digest.Digest    `json:"damaged,omitempty"`    // blobs, at most maxQuarantine of them
	Incomplete []IncompleteBundle `json:"incomplete,omitempty"` // bundles that are to be published or filled again
	Records    []string           `json:"records,omitempty"`    // signed records and states that can not be read
	Tables     []string           `json:"tables,omitempty"`     // databases whose own check failed
}

// IncompleteBundle is a bundle that has lost chunks, or its index.
type IncompleteBundle struct {
	ID      digest.Digest `json:"id"`
	Lost    int           `json:"lost"`              // chunks
	NoIndex bool          `json:"noIndex,omitempty"` // what else is lost can not be told
}

// OK reports whether nothing is wrong.
func (r *Report) OK() bool {
	return len(r.Damaged)+len(r.Incomplete)+len(r.Records)+len(r.Tables) == 0
}

// Verify reads everything once: all blobs, all bundles' lists of chunks, all signed records and states, and the tables
// of both databases. Damaged blobs are set aside as ever. progress, if not nil, is called after each blob with what was
// done and what there was at the start, in blobs. The error says why it could not go on; what was found is in the
// report.
func (s *Store) Verify(ctx context.Context, progress func(done, total int64)) (*Report, error) {
	report := &Report{}
	total := s.quota.blobs()
	var log database.LogReader
	defer log.Close()
	err := s.scan(ctx, digest.Digest{}, func(d digest.Digest) error {
		f, err := s.blobs.sealed(&log, d)
		if errors.Is(err, ErrDamaged) && len(report.Damaged) < maxQuarantine {
			report.Damaged = append(report.Damaged, d)
		}
		report.Blobs++
		report.Bytes += int64(len(f.Data))
		if progress != nil {
			progress(report.Blobs, max(total, report.Blobs))
		}
		return err
	})
	if err != nil {
		return report, err
	}
	for info := range s.Bundles() {
		lost, err := s.Lost(ctx, info.ID)
		switch {
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrDamaged):
			report.Incomplete = append(report.Incomplete, IncompleteBundle{ID: info.ID, NoIndex: true})
		case err != nil:
			return report, err
		case len(lost) > 0:
			report.Incomplete = append(report.Incomplete, IncompleteBundle{ID: info.ID, Lost: len(lost)})
		}
	}
	err = errors.Join(
		s.Manifests(func(app, channel string, _ []byte, err error) bool {
			if err != nil {
				report.Records = append(report.Records, manifestKind+app+"/"+channel)
			}
			return true
		}),
		s.Trusts(func(org string, _ []byte, err error) bool {
			if err != nil {
				report.Records = append(report.Records, trustKind+org)
			}
			return true
		}),
		s.eachRecord(versionKind, func(name string, _ []byte, err error) bool {
			if err != nil {
				report.Records = append(report.Records, versionKind+name)
			}
			return true
		}),
		s.eachRecord(stateKind, func(key string, _ []byte, err error) bool {
			if err != nil {
				report.Records = append(report.Records, stateKind+key)
			}
			return true
		}))
	if err != nil {
		return report, err
	}
	for _, db := range []*database.DB{s.blobs.db, s.records.db} {
		err := db.VerifyTables()
		if errors.Is(err, ErrClosed) {
			return report, err
		}
		if err != nil {
			report.Tables = append(report.Tables, db.Dir()+": "+err.Error())
		}
	}
	return report, nil
}
