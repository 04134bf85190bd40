package origin

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"brink/digest"
)

// Stats has the counters of a [Filler] since its start.
type Stats struct {
	Fills      int64 `json:"fills"`      // that were started
	Joined     int64 `json:"joined"`     // calls that waited for a running fill
	Remembered int64 `json:"remembered"` // calls that got a remembered failure
	Filled     int64 `json:"filled"`     // that succeeded
	Failed     int64 `json:"failed"`
	Running    int   `json:"running"` // now, including those that wait for a slot

	Sources map[string]SourceStats `json:"sources"` // by name
}

// SourceStats has the counters of one source.
type SourceStats struct {
	Chunks int64 `json:"chunks"`
	Bytes  int64 `json:"bytes"`  // encoded
	Faults int64 `json:"faults"` // wrong bytes
	Stalls int64 `json:"stalls"`
	Errors int64 `json:"errors"` // all others, except that it does not have something
}

// maxSources bounds the sources in Stats. Members join and leave, and choose their names.
const maxSources = 1024

// penalty is how long a source that failed is tried after all others, so that not every fill tries it first while it is
// down.
const penalty = 10 * time.Second

// record has the counters and the penalty of one source.
type record struct {
	SourceStats

	penalised time.Time // until then
}

// Stats returns a copy of the counters.
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

// getRecord returns the record of a source, and adds one if there is none. The caller must hold mu.
func (f *Filler) getRecord(name string) *record {
	if r := f.sources[name]; r != nil {
		return r
	}
	if len(f.sources) >= maxSources {
		least := slices.MinFunc(slices.Collect(maps.Keys(f.sources)), func(a, b string) int {
			return cmp.Compare(f.sources[a].Chunks, f.sources[b].Chunks)
		})
		delete(f.sources, least)
	}
	r := new(record)
	f.sources[name] = r
	return r
}

// recordChunk counts a chunk that a source has sent.
func (f *Filler) recordChunk(source string, size int, ahead bool) {
	f.mu.Lock()
	r := f.getRecord(source)
	r.Chunks++
	r.Bytes += int64(size)
	f.mu.Unlock()
	if ahead {
		f.ahead.mu.Lock()
		f.ahead.progress.Bytes += int64(size)
		f.ahead.mu.Unlock()
	}
}

// recordFailure counts and logs the failure of a source, and penalises it.
func (f *Filler) recordFailure(source string, err error) {
	if errors.Is(err, ErrNotFound) {
		return
	}
	f.mu.Lock()
	r := f.getRecord(source)
	r.penalised = time.Now().Add(penalty)
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
		f.config.Logger.Warn("source sent wrong bytes", "source", source, "reason", err)
	} else {
		f.config.Logger.Debug("source failed", "source", source, "reason", err)
	}
}

// order returns the sources of a bundle in the order in which to try them now.
func (f *Filler) order(id digest.Digest) []Source {
	sources := slices.Clone(f.config.Sources(id))
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	penalised := func(s Source) int {
		if r := f.sources[s.Name()]; r != nil && now.Before(r.penalised) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(sources, func(a, b Source) int { return penalised(a) - penalised(b) })
	return sources
}
