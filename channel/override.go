package channel

import (
	"slices"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of overrides: how many there are, and the IDs that they name, in bytes. The manifest comes with the answer to
// every check, so they are few.
const (
	MaxOverrides = 100
	MaxID        = 128
)

// Override names one device, or all that have a custom ID, and says what they get whatever the rollout and the [Rules]
// say. The native limits of the release still hold. An override to a release ends when the release leaves the history.
//
// A manifest is public, and so are the IDs in it. Nothing proves that a device is who it says: an override chooses what
// a device gets, and keeps nothing secret.
type Override struct {
	Device  string `json:"device,omitempty"`  // a Device.ID; it counts before a custom ID
	Custom  string `json:"custom,omitempty"`  // a Device.Custom; exactly one of the two is set
	Version string `json:"version,omitempty"` // of a release of the manifest; empty: what the channel serves
	BuiltIn bool   `json:"builtIn,omitempty"` // what their native app came with; Version is empty

	unknown unknown
}

// same reports whether two overrides name the same devices.
func (o *Override) same(other Override) bool {
	return o.Device == other.Device && o.Custom == other.Custom
}

// override returns the override that names the device, or nil.
func (m *Manifest) override(d *Device) *Override {
	var found *Override
	for i := range m.Overrides {
		switch o := &m.Overrides[i]; {
		case o.Device != "" && o.Device == d.ID:
			return o
		case o.Custom != "" && o.Custom == d.Custom:
			found = o
		}
	}
	return found
}

// SetOverride returns the manifest with the override, in the place of one that names the same devices. It returns
// [ErrUnchanged] if m has it, and refuses a version that m does not have ([CodeNotInHistory]) and what is malformed.
func (m *Manifest) SetOverride(o Override, now time.Time) (*Manifest, error) {
	if o.Version != "" && m.release(o.Version) == nil {
		return nil, refuse(CodeNotInHistory, "name a version that the channel serves or has served",
			"channel %s has no version %q", m.Channel, o.Version)
	}
	next := m.next(now)
	if i := slices.IndexFunc(next.Overrides, o.same); i < 0 {
		next.Overrides = append(next.Overrides, o)
	} else if have := &next.Overrides[i]; have.Version == o.Version && have.BuiltIn == o.BuiltIn {
		return nil, ErrUnchanged
	} else {
		have.Version, have.BuiltIn = o.Version, o.BuiltIn
	}
	return checked(next, next.checkOverrides())
}

// RemoveOverride returns the manifest without the override that names the same devices as o, and [ErrUnchanged] if m
// has none.
func (m *Manifest) RemoveOverride(o Override, now time.Time) (*Manifest, error) {
	next := m.next(now)
	next.Overrides = slices.DeleteFunc(next.Overrides, func(have Override) bool { return have.same(o) })
	if len(next.Overrides) == len(m.Overrides) {
		return nil, ErrUnchanged
	}
	return next, nil
}

// MarshalJSON writes the fields and what UnmarshalJSON found beside them.
func (o Override) MarshalJSON() ([]byte, error) {
	type fields Override
	return encodeObject(fields(o), o.unknown)
}

// UnmarshalJSON reads an override and keeps the members that it does not know; it does not check the values.
func (o *Override) UnmarshalJSON(raw []byte) error {
	type fields Override
	var f fields
	rest, err := decodeObject(raw, &f)
	*o = Override(f)
	o.unknown = rest
	return err
}

// checkOverrides checks the overrides against the releases of their manifest.
func (m *Manifest) checkOverrides() error {
	if len(m.Overrides) > MaxOverrides {
		return malformed("manifest has %d overrides, want at most %d", len(m.Overrides), MaxOverrides)
	}
	for i, o := range m.Overrides {
		if (o.Device == "") == (o.Custom == "") {
			return malformed("override %d names a device and a custom ID, or neither", i)
		}
		if err := checkID(o.Device + o.Custom); err != nil {
			return err
		}
		if slices.ContainsFunc(m.Overrides[:i], o.same) {
			return malformed("two overrides name %q", o.Device+o.Custom)
		}
		if o.Version == "" {
			continue
		}
		if o.BuiltIn {
			return malformed("override of %q to %s, and to what the native app came with", o.Device+o.Custom, o.Version)
		}
		if m.release(o.Version) == nil {
			return malformed("override of %q to %q, which is no version of the manifest", o.Device+o.Custom, o.Version)
		}
		// A device that went there would refuse every manifest from then on.
		if m.move(o.Version) == moveNone {
			return malformed("override of %q to %s, above all that the channel serves and took back",
				o.Device+o.Custom, o.Version)
		}
	}
	return nil
}

func checkID(id string) error {
	if len(id) > MaxID {
		return malformed("an ID in an override has %d bytes, want 1 to %d", len(id), MaxID)
	}
	for _, r := range id {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return malformed("ID %q has characters that can not be printed", id)
		}
	}
	return nil
}
