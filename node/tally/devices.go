package tally

import (
	"fmt"

	"github.com/axiomhq/hyperloglog"
)

// precision makes a sketch of at most 16 KiB that is off by 0.8 % (one standard error, for many devices); a few
// thousand devices are counted almost exactly.
const precision = 14

// maxDevices bounds the encoded sketch: its registers, or a list that is no longer than they are, and heads.
const maxDevices = 1<<precision + 64

// Devices is a set of devices of which only the size can be told, roughly: a HyperLogLog sketch. The union of two sets
// is exactly the sketch that all their devices would have made, in any order. It is not safe for concurrent use.
type Devices struct{ sketch *hyperloglog.Sketch }

func newDevices() *Devices { return &Devices{sketch: hyperloglog.New14()} }

func (d *Devices) add(hash uint64) { d.sketch.InsertHash(hash) }

// Merge adds the devices of other, which it does not change.
func (d *Devices) Merge(other *Devices) {
	if err := d.sketch.Merge(other.sketch); err != nil {
		panic(fmt.Sprintf("tally: merge sketches: %v", err)) // all have the same precision
	}
}

// Count returns about how many devices there are.
func (d *Devices) Count() uint64 { return d.sketch.Estimate() }

func (d *Devices) clone() *Devices { return &Devices{sketch: d.sketch.Clone()} }

// encode returns the encoding. The same devices have the same one.
func (d *Devices) encode() []byte {
	b := d.marshal()
	if b[3] == sparse {
		// What was inserted lately is in random order until it is put in its place, which Estimate does. For many devices
		// there is no order, and Estimate takes a millisecond.
		d.sketch.Estimate()
		b = d.marshal()
	}
	return b
}

// sparse is the fourth byte of the encoding of few devices.
const sparse = 1

func (d *Devices) marshal() []byte {
	b, err := d.sketch.MarshalBinary()
	if err != nil {
		panic(fmt.Sprintf("tally: encode sketch: %v", err)) // only that of no precision cannot be encoded
	}
	return b
}

// parseDevices reads what encode wrote.
func parseDevices(raw []byte) (*Devices, error) {
	// The library reads other precisions, which cannot be merged, and an older form; ours are those of the first bytes.
	if len(raw) > maxDevices || len(raw) < 4 || raw[0] != 2 || raw[1] != precision {
		return nil, fmt.Errorf("%w: sketch of %d bytes", ErrMalformed, len(raw))
	}
	d := newDevices()
	if err := d.sketch.UnmarshalBinary(raw); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return d, nil
}
