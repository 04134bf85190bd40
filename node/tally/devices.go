package tally

import (
	"fmt"

	"github.com/axiomhq/hyperloglog"
)

// precision is that of sketches of at most 16 KiB, with a standard error of 0.8 % for many devices; up to a few
// thousand are counted almost exactly.
const precision = 14

// maxDevices bounds the encoded sketch: its registers, or a list that is no longer, and headers.
const maxDevices = 1<<precision + 64

// Devices is a set of devices whose size can be estimated: a HyperLogLog sketch. The union of two sketches equals the
// sketch of all their devices. It is not safe for concurrent use.
type Devices struct{ sketch *hyperloglog.Sketch }

func newDevices() *Devices { return &Devices{sketch: hyperloglog.New14()} }

func (d *Devices) add(hash uint64) { d.sketch.InsertHash(hash) }

// Merge adds the devices of other, which it does not change.
func (d *Devices) Merge(other *Devices) {
	if err := d.sketch.Merge(other.sketch); err != nil {
		panic(fmt.Sprintf("tally: merge sketches: %v", err)) // all have the same precision
	}
}

// Count returns the estimated number of devices.
func (d *Devices) Count() uint64 { return d.sketch.Estimate() }

func (d *Devices) clone() *Devices { return &Devices{sketch: d.sketch.Clone()} }

// encode returns the encoding, which is the same for the same devices.
func (d *Devices) encode() []byte {
	b := d.marshal()
	if b[3] == sparse {
		// Devices inserted lately are in random order until Estimate sorts them. With many devices there is no order, and
		// Estimate would take a millisecond.
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
		panic(fmt.Sprintf("tally: encode sketch: %v", err)) // fails only without a precision
	}
	return b
}

// parseDevices decodes a sketch.
func parseDevices(raw []byte) (*Devices, error) {
	// The library also accepts other precisions, which cannot be merged, and an older format.
	if len(raw) > maxDevices || len(raw) < 4 || raw[0] != 2 || raw[1] != precision {
		return nil, fmt.Errorf("%w: sketch of %d bytes", ErrMalformed, len(raw))
	}
	d := newDevices()
	if err := d.sketch.UnmarshalBinary(raw); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return d, nil
}
