package tally

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// Snapshot is the counts of one app on several nodes, each under its name. Merging is commutative, associative and
// idempotent: of two parts of a node, it keeps the higher count of each cell, because counts only grow. It is not safe
// for concurrent use.
type Snapshot struct {
	App   string
	Nodes map[string]*Part // by node
}

// Part is the counts of one node.
type Part struct {
	Days   map[Day]Counts
	Months map[Month]*Devices
}

// NewPart returns an empty Part.
func NewPart() *Part { return &Part{Days: map[Day]Counts{}, Months: map[Month]*Devices{}} }

// Part returns the counts of an app in memory: today, this month, and pages that are not saved yet. The caller owns it.
func (t *Tally) Part(app string) *Part {
	part := NewPart()
	t.mu.RLock()
	b := t.books[app]
	t.mu.RUnlock()
	if b == nil {
		return part
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.dayPages() {
		part.Days[p.day] = p.copy()
	}
	for _, p := range b.monthPages() {
		part.Months[p.month] = p.devices.clone()
	}
	return part
}

// AddDay adds the saved page of a day, unless the part has that day. The error is [ErrMalformed].
func (p *Part) AddDay(day Day, saved []byte) error {
	counts, err := ParseCounts(saved)
	if err == nil && p.Days[day] == nil {
		p.Days[day] = counts
	}
	return err
}

// AddMonth is AddDay for a month.
func (p *Part) AddMonth(month Month, saved []byte) error {
	devices, err := parseDevices(saved)
	if err == nil && p.Months[month] == nil {
		p.Months[month] = devices
	}
	return err
}

// merge adds another part of the same node.
func (p *Part) merge(other *Part) {
	for day, counts := range other.Days {
		if p.Days[day] == nil {
			p.Days[day] = Counts{}
		}
		p.Days[day].merge(counts)
	}
	for month, devices := range other.Months {
		if p.Months[month] == nil {
			p.Months[month] = newDevices()
		}
		p.Months[month].Merge(devices)
	}
}

// Merge adds a snapshot of the same app, which it does not change.
func (s *Snapshot) Merge(other *Snapshot) {
	if s.Nodes == nil {
		s.Nodes = map[string]*Part{}
	}
	for node, part := range other.Nodes {
		if s.Nodes[node] == nil {
			s.Nodes[node] = NewPart()
		}
		s.Nodes[node].merge(part)
	}
}

// Summary is the sum of a Snapshot over its nodes.
type Summary struct {
	App    string         `json:"app"`
	Nodes  []string       `json:"nodes"`            // that are included, sorted
	Silent []string       `json:"silent,omitempty"` // nodes that did not answer, and are not included
	Days   []DaySummary   `json:"days"`             // with counts, newest first
	Months []MonthSummary `json:"months"`           // newest first
}

// DaySummary is a day of a Summary.
type DaySummary struct {
	Day    Day     `json:"day"`
	Counts []Count `json:"counts"` // by version and action
}

// Count is a counter of a Summary.
type Count struct {
	Cell
	Count uint64 `json:"count"`
}

// MonthSummary is a month of a Summary.
type MonthSummary struct {
	Month   Month  `json:"month"`
	Devices uint64 `json:"devices"` // estimated, of all versions
}

// Sum adds up the counts of all nodes. A device that used several nodes in a month counts once.
func (s *Snapshot) Sum() Summary {
	summary := Summary{App: s.App, Nodes: []string{}, Days: []DaySummary{}, Months: []MonthSummary{}}
	days := map[Day]Counts{}
	months := map[Month]*Devices{}
	for _, node := range slices.Sorted(maps.Keys(s.Nodes)) {
		summary.Nodes = append(summary.Nodes, node)
		for day, counts := range s.Nodes[node].Days {
			if days[day] == nil {
				days[day] = Counts{}
			}
			for cell, n := range counts {
				days[day][cell] = sum(days[day][cell], n)
			}
		}
		for month, devices := range s.Nodes[node].Months {
			if months[month] == nil {
				months[month] = newDevices()
			}
			months[month].Merge(devices)
		}
	}
	for _, day := range slices.Backward(slices.Sorted(maps.Keys(days))) {
		one := DaySummary{Day: day, Counts: []Count{}}
		for _, cell := range days[day].cells() {
			if n := days[day][cell]; n > 0 {
				one.Counts = append(one.Counts, Count{Cell: cell, Count: n})
			}
		}
		if len(one.Counts) > 0 {
			summary.Days = append(summary.Days, one)
		}
	}
	for _, month := range slices.Backward(slices.Sorted(maps.Keys(months))) {
		if n := months[month].Count(); n > 0 {
			summary.Months = append(summary.Months, MonthSummary{Month: month, Devices: n})
		}
	}
	return summary
}

// Only removes all counters except those of a version. Months still count the devices of all versions.
func (s *Summary) Only(version string) {
	days := s.Days
	s.Days = []DaySummary{}
	for _, day := range days {
		day.Counts = slices.DeleteFunc(day.Counts, func(c Count) bool { return c.Version != version })
		if len(day.Counts) > 0 {
			s.Days = append(s.Days, day)
		}
	}
}

// Bounds of an encoded snapshot.
const (
	// MaxNodes bounds the number of nodes.
	MaxNodes = 1024
	// MaxSnapshot bounds the bytes. The counts of one node for [KeepDays] fit, with all bounds reached.
	MaxSnapshot = KeepDays*(MaxCounts+8) + (KeepMonths+2)*(maxDevices+8) + 64<<10
)

// The encoding of a snapshot, as nodes send it: the version of the encoding; the app; the number of nodes, and for each
// its name, the number of its days, each with its encoding, the number of its months, each with its sketch. Names and
// encodings have their lengths before them. Nodes, days and months are in ascending order.
const snapshotVersion = 1

// Append appends the encoding.
func (s *Snapshot) Append(b []byte) []byte {
	piece := func(piece []byte) { b = append(binary.AppendUvarint(b, uint64(len(piece))), piece...) }
	b = append(b, snapshotVersion)
	piece([]byte(s.App))
	b = binary.AppendUvarint(b, uint64(len(s.Nodes)))
	for _, node := range slices.Sorted(maps.Keys(s.Nodes)) {
		part := s.Nodes[node]
		piece([]byte(node))
		b = binary.AppendUvarint(b, uint64(len(part.Days)))
		for _, day := range slices.Sorted(maps.Keys(part.Days)) {
			b = binary.AppendUvarint(b, uint64(day))
			piece(part.Days[day].encode())
		}
		b = binary.AppendUvarint(b, uint64(len(part.Months)))
		for _, month := range slices.Sorted(maps.Keys(part.Months)) {
			b = binary.AppendUvarint(b, uint64(month))
			piece(part.Months[month].encode())
		}
	}
	return b
}

// ParseSnapshot decodes a snapshot. The error is [ErrMalformed].
func ParseSnapshot(raw []byte) (*Snapshot, error) {
	if len(raw) > MaxSnapshot {
		return nil, fmt.Errorf("%w: a snapshot of %d bytes", ErrMalformed, len(raw))
	}
	r := reader{rest: raw}
	if v := r.number(1 << 32); v != snapshotVersion {
		return nil, fmt.Errorf("%w: version %d of a snapshot", ErrMalformed, v)
	}
	s := &Snapshot{App: string(r.bytes(MaxApp)), Nodes: map[string]*Part{}}
	if !appName(s.App) {
		r.fail()
	}
	last := ""
	for i := range r.number(MaxNodes) {
		node := string(r.bytes(MaxNode))
		if i > 0 && node <= last {
			r.fail()
		}
		part, err := r.part()
		if err != nil {
			return nil, err
		}
		if r.failed {
			break
		}
		s.Nodes[node], last = part, node
	}
	if r.failed || len(r.rest) > 0 {
		return nil, fmt.Errorf("%w: a snapshot", ErrMalformed)
	}
	return s, nil
}

// part reads the part of a node.
func (r *reader) part() (*Part, error) {
	part := NewPart()
	var last uint64
	for i := range r.number(KeepDays + 2) {
		day := r.number(uint64(maxDay))
		raw := r.bytes(MaxCounts)
		if i > 0 && day <= last {
			r.fail()
		}
		if r.failed {
			return part, nil
		}
		if err := part.AddDay(Day(day), raw); err != nil {
			return nil, err
		}
		last = day
	}
	for i := range r.number(KeepMonths + 2) {
		month := r.number(uint64(maxMonth))
		raw := r.bytes(maxDevices)
		if i > 0 && month <= last {
			r.fail()
		}
		if r.failed {
			return part, nil
		}
		if err := part.AddMonth(Month(month), raw); err != nil {
			return nil, err
		}
		last = month
	}
	return part, nil
}
