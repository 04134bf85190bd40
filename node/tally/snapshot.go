package tally

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// Snapshot is what nodes counted of one app, each under its name. Merging is commutative, associative and idempotent:
// of a node that comes twice the higher count of each cell is taken, and a page only grows. It is not safe for
// concurrent use.
type Snapshot struct {
	App   string
	Nodes map[string]*Part // by node
}

// Part is what one node counted.
type Part struct {
	Days   map[Day]Counts
	Months map[Month]*Devices
}

// NewPart returns a Part with nothing in it.
func NewPart() *Part { return &Part{Days: map[Day]Counts{}, Months: map[Month]*Devices{}} }

// Part returns what is counted of an app in memory: today, this month, and what is not kept yet. The caller owns it.
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

// AddDay and AddMonth add what was kept under the key of a day or a month that is not there yet. The error is
// [ErrMalformed].
func (p *Part) AddDay(day Day, kept []byte) error {
	counts, err := ParseCounts(kept)
	if err == nil && p.Days[day] == nil {
		p.Days[day] = counts
	}
	return err
}

// AddMonth is AddDay for a month.
func (p *Part) AddMonth(month Month, kept []byte) error {
	devices, err := parseDevices(kept)
	if err == nil && p.Months[month] == nil {
		p.Months[month] = devices
	}
	return err
}

// merge adds another look at the same node.
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

// Merge adds what other holds, which must be of the same app; it is not changed.
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

// Summary is a Snapshot in figures: what its nodes counted together.
type Summary struct {
	App    string         `json:"app"`
	Nodes  []string       `json:"nodes"`            // that are in it, sorted
	Silent []string       `json:"silent,omitempty"` // nodes that could not be asked: what came to them is not in it
	Days   []DaySummary   `json:"days"`             // on which something was counted, newest first
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
	Devices uint64 `json:"devices"` // about; all versions
}

// Sum adds up what all nodes counted. A device that asked several nodes in a month is one device.
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

// Only leaves out all counters but those of a version. Devices are those of all versions still.
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
	// MaxNodes is how many nodes one has.
	MaxNodes = 1024
	// MaxSnapshot is how many bytes one has. The counters of a node for [KeepDays] fit in, with all bounds reached.
	MaxSnapshot = KeepDays*(MaxCounts+8) + (KeepMonths+2)*(maxDevices+8) + 64<<10
)

// The encoding of a snapshot, for its way from node to node: its version; the app; the number of nodes, and for each
// its name, the number of its days, each with its encoding, the number of its months, each with its sketch. Names and
// encodings come with their lengths before them, all in ascending order.
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

// ParseSnapshot reads what Append wrote. The error is [ErrMalformed].
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
