package channel

import (
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"brink/digest"
)

// Bounds of overrides. The manifest is part of the answer to every check, so there cannot be many.
const (
	MaxOverrides = 100 // overrides of a manifest
	MaxID        = 128 // bytes in an ID
)

// Override determines what one device gets, or all devices with a custom ID, regardless of the rollout and the [Rules].
// The native limits of the release still apply. An override to a release ends when the release leaves the history.
//
// Manifests are public, so they have hashes of IDs ([Manifest.HashDevice], [Manifest.HashCustom]), which reveal nothing
// about an ID that cannot be guessed; anyone who guesses one can confirm it. A device does not prove its ID, so an
// override cannot be used to keep a release secret.
type Override struct {
	Device  digest.Digest `json:"device,omitzero"`   // of a Device.ID; takes precedence over a custom ID
	Custom  digest.Digest `json:"custom,omitzero"`   // of a Device.Custom; exactly one of the two is set
	Version string        `json:"version,omitempty"` // of a release of the manifest; empty: what the channel serves
	BuiltIn bool          `json:"builtIn,omitempty"` // they get what their native app came with; Version is empty

	unknown unknown
}

// same reports whether two overrides name the same devices.
func (o *Override) same(other Override) bool {
	return o.Device == other.Device && o.Custom == other.Custom
}

// HashDevice returns the hash of a device ID in overrides of the channel: the BLAKE3 of a fixed text, org, app,
// channel, kind and ID with a zero byte between each, so an ID has another hash in each channel. It returns zero for an
// ID that is empty or longer than [MaxID], which overrides cannot name.
func (m *Manifest) HashDevice(id string) digest.Digest { return hashID(m, "device", id) }

// HashCustom is [Manifest.HashDevice] for a custom ID.
func (m *Manifest) HashCustom(id string) digest.Digest { return hashID(m, "custom", id) }

func hashID(m *Manifest, kind, id string) digest.Digest {
	if id == "" || len(id) > MaxID {
		return digest.Digest{}
	}
	var space [512]byte // more than the longest names together
	b := append(space[:0], "brink override 1"...)
	for _, part := range [...]string{m.Org, m.App, m.Channel, kind, id} {
		b = append(append(b, 0), part...)
	}
	return digest.Sum(b)
}

// override returns the override that names the device, or nil.
func (m *Manifest) override(d *Device) *Override {
	if len(m.Overrides) == 0 {
		return nil
	}
	if o := overrideNamed(m, m.HashDevice(d.ID), digest.Digest{}); o != nil {
		return o
	}
	return overrideNamed(m, digest.Digest{}, m.HashCustom(d.Custom))
}

// overrideNamed returns the override for the hash of a device ID or of a custom ID, of which one is zero; nil if there
// is none or both are zero.
func overrideNamed(m *Manifest, device, custom digest.Digest) *Override {
	if device.IsZero() && custom.IsZero() {
		return nil
	}
	for i := range m.Overrides {
		if o := &m.Overrides[i]; o.Device == device && o.Custom == custom {
			return o
		}
	}
	return nil
}

// SetOverride returns the manifest with the override, which replaces one for the same devices. It returns
// [ErrUnchanged] if m has it, and refuses a version that m does not have ([CodeNotInHistory]) and malformed overrides.
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
	return checked(next, checkOverrides(next))
}

// RemoveOverride returns the manifest without the override for the same devices as o, and [ErrUnchanged] if m has none.
func (m *Manifest) RemoveOverride(o Override, now time.Time) (*Manifest, error) {
	next := m.next(now)
	next.Overrides = slices.DeleteFunc(next.Overrides, func(have Override) bool { return have.same(o) })
	if len(next.Overrides) == len(m.Overrides) {
		return nil, ErrUnchanged
	}
	return next, nil
}

// MarshalJSON encodes the fields, and the unknown members that UnmarshalJSON found.
func (o Override) MarshalJSON() ([]byte, error) {
	type fields Override
	return encodeObject(fields(o), o.unknown)
}

// UnmarshalJSON decodes an override, with the members that this version does not know. It does not check the values.
func (o *Override) UnmarshalJSON(raw []byte) error {
	type fields Override
	var f fields
	rest, err := decodeObject(raw, &f)
	*o = Override(f)
	o.unknown = rest
	return err
}

// checkOverrides checks the overrides against the releases of their manifest.
func checkOverrides(m *Manifest) error {
	if len(m.Overrides) > MaxOverrides {
		return malformed("manifest has %d overrides, want at most %d", len(m.Overrides), MaxOverrides)
	}
	for i, o := range m.Overrides {
		if o.Device.IsZero() == o.Custom.IsZero() {
			return malformed("override %d: want either a device or a custom ID", i)
		}
		if slices.ContainsFunc(m.Overrides[:i], o.same) {
			return malformed("two overrides name %s", o.name())
		}
		if o.Version == "" {
			continue
		}
		if o.BuiltIn {
			return malformed("override of %s: want either version %s or what the native app came with", o.name(), o.Version)
		}
		if m.release(o.Version) == nil {
			return malformed("override of %s: the manifest has no version %q", o.name(), o.Version)
		}
		// A device with that version would refuse every manifest from then on.
		if m.move(o.Version) == moveNone {
			return malformed("override of %s: version %s is above all that the channel serves or has withdrawn",
				o.name(), o.Version)
		}
	}
	return nil
}

// name returns the kind of ID and the first digits of its hash, for people to read.
func (o *Override) name() string {
	if o.Device.IsZero() {
		return "custom ID " + o.Custom.Short()
	}
	return "device " + o.Device.Short()
}

// CheckID returns nil if an override can name the device ID or custom ID: 1 to [MaxID] bytes of printable characters.
// The error is a [*RefusedError] with [CodeMalformed].
func CheckID(id string) error {
	if id == "" || len(id) > MaxID {
		return malformed("an ID in an override has %d bytes, want 1 to %d", len(id), MaxID)
	}
	for _, r := range id {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return malformed("ID %q has characters that are not printable", id)
		}
	}
	return nil
}
