package origin

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"brink/digest"
)

// Stats counts since the start.
type Stats struct {
	Fills      int64 `json:"fills"`      // that were begun
	Joined     int64 `json:"joined"`     // calls that waited for one that was under way
	Remembered int64 `json:"remembered"` // calls that were answered by a failure just before
	Filled     int64 `json:"filled"`     // that ended well
	Failed     int64 `json:"failed"`
	Running    int   `json:"running"` // now, those that wait for a slot included

	Sources map[string]SourceStats `json:"sources"` // by name
}

// SourceStats counts what came from one source.
type SourceStats struct {
	Chunks int64 `json:"chunks"`
	Bytes  int64 `json:"bytes"`  // encoded
	Faults int64 `json:"faults"` // wrong bytes
	Stalls int64 `json:"stalls"`
	Errors int64 `json:"errors"` // all else; that it does not have something is none
}

// maxSources bounds how many sources are remembered. Members come and go, and their names are theirs to choose.
const maxSources = 1024

// penance is how long a source that failed is asked after all others. It must not be asked first by every fill while it
// is down, and is soon back in its place.
const penance = 10 * time.Second

// record is what is remembered of one source.
type record struct {
	SourceStats

	bad time.Time // until then
}

// Stats returns a copy.
func (f *Filler) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Running = len(f.tasks)
	s.Sources = make(map[string]SourceStats, len(f.sources))
	for name, r := range f.sources {
		s.Sources[name] = r.SourceStats
	}
	return s
}

// record returns what is remembered of a source. The caller holds mu.
func (f *Filler) record(name string) *record {
	if r := f.sources[name]; r != nil {
		return r
	}
	if len(f.sources) >= maxSources {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(f.sources)), func(a, b string) int {
			return cmp.Compare(f.sources[a].Chunks, f.sources[b].Chunks)
		})
		delete(f.sources, oldest)
	}
	r := new(record)
	f.sources[name] = r
	return r
}

// count takes note of a chunk that came.
func (f *Filler) count(source string, size int, ahead bool) {
	f.mu.Lock()
	r := f.record(source)
	r.Chunks++
	r.Bytes += int64(size)
	f.mu.Unlock()
	if ahead {
		f.ahead.mu.Lock()
		f.ahead.progress.Bytes += int64(size)
		f.ahead.mu.Unlock()
	}
}

// blame takes note of what a source did wrong.
func (f *Filler) blame(source string, err error) {
	if errors.Is(err, ErrNotFound) {
		return
	}
	f.mu.Lock()
	r := f.record(source)
	r.bad = time.Now().Add(penance)
	wrong := false
	switch {
	case errors.Is(err, ErrFault):
		r.Faults++
		wrong = true
	case errors.Is(err, ErrStalled):
		r.Stalls++
	default:
		r.Errors++
	}
	f.mu.Unlock()
	if wrong {
		f.config.Logger.Warn("source gave wrong bytes", "source", source, "reason", err)
	} else {
		f.config.Logger.Debug("source failed", "source", source, "reason", err)
	}
}

// order returns the sources of a bundle as they are to be asked now.
func (f *Filler) order(id digest.Digest) []Source {
	sources := slices.Clone(f.config.Sources(id))
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	bad := func(s Source) int {
		if r := f.sources[s.Name()]; r != nil && now.Before(r.bad) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(sources, func(a, b Source) int { return bad(a) - bad(b) })
	return sources
}
