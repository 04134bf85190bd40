package publish

import (
	"fmt"

	"brink/channel"
	"brink/digest"
)

// Serving is what a manifest serves to some devices of a channel.
type Serving struct {
	To      string         `json:"to"`                // which devices, for people
	Version string         `json:"version,omitempty"` // empty with BuiltIn, or if they get nothing
	Bundle  *digest.Digest `json:"bundle,omitempty"`
	BuiltIn bool           `json:"built_in,omitempty"` // they go back to their built-in bundle
}

// Serves returns which content a manifest serves to which devices: the meaning of a publisher's signature.
func Serves(m *channel.Manifest) (list []Serving) {
	add := func(to string, r *channel.Release) {
		if r == nil {
			list = append(list, Serving{To: to})
			return
		}
		list = append(list, Serving{To: to, Version: r.Version, Bundle: &r.Bundle})
	}
	byVersion := func(version string) *channel.Release {
		for r := range m.Releases() {
			if r.Version == version {
				return r
			}
		}
		return nil
	}
	switch {
	case m.Rollout != nil:
		add(fmt.Sprintf("%.2f %% of devices", float64(m.Rollout.Share)/100), &m.Release)
		if m.BuiltIn {
			list = append(list, Serving{To: "other devices", BuiltIn: true})
		} else {
			add("other devices", byVersion(m.Rollout.From))
		}
	case m.BuiltIn:
		list = append(list, Serving{To: "all devices", BuiltIn: true})
	default:
		add("all devices", &m.Release)
	}
	for i := range m.Overrides {
		o := &m.Overrides[i]
		to := "device " + o.Device.Short()
		if o.Device.IsZero() {
			to = "custom ID " + o.Custom.Short()
		}
		switch {
		case o.BuiltIn, o.Version == "" && m.Reverted():
			list = append(list, Serving{To: to, BuiltIn: true})
		case o.Version == "":
			add(to, &m.Release)
		default:
			add(to, byVersion(o.Version))
		}
	}
	return list
}
