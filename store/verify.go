package store

import (
	"context"
	"errors"

	"brink/digest"
	"brink/store/internal/database"
)

// Report is the result of [Store.Verify].
type Report struct {
	Blobs      int64              `json:"blobs"`
	Bytes      int64              `json:"bytes"`                // of frames read
	Damaged    []digest.Digest    `json:"damaged,omitempty"`    // blobs, at most maxQuarantine of them
	Incomplete []IncompleteBundle `json:"incomplete,omitempty"` // bundles that must be published or fetched again
	Records    []string           `json:"records,omitempty"`    // unreadable signed records and states
	Tables     []string           `json:"tables,omitempty"`     // databases with damaged tables
}

// IncompleteBundle is a bundle that has lost chunks or its index.
type IncompleteBundle struct {
	ID      digest.Digest `json:"id"`
	Lost    int           `json:"lost"`              // chunks
	NoIndex bool          `json:"noIndex,omitempty"` // the index is lost, so lost chunks are unknown
}

// OK reports whether no damage was found.
func (r *Report) OK() bool {
	return len(r.Damaged)+len(r.Incomplete)+len(r.Records)+len(r.Tables) == 0
}

// Verify reads everything once: all blobs, the lists of chunks of all bundles, all signed records and states, and the
// tables of both databases. It quarantines damaged blobs. progress, if not nil, is called after each blob with the
// number of blobs done and in total. Damage is not an error but part of the report; an error means that Verify did not
// finish.
func (s *Store) Verify(ctx context.Context, progress func(done, total int64)) (*Report, error) {
	report := &Report{}
	total := s.quota.blobs()
	var log database.LogReader
	defer log.Close()
	err := s.blobs.scan(ctx, digest.Digest{}, func(d digest.Digest) error {
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
		s.records.all(versionKind, func(name string, _ []byte, err error) bool {
			if err != nil {
				report.Records = append(report.Records, versionKind+name)
			}
			return true
		}),
		s.records.all(stateKind, func(key string, _ []byte, err error) bool {
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
