package client

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"brink/channel"
	"brink/digest"
)

// maxChannels bounds how many channels a device remembers. Beyond it the one that was left longest ago is forgotten,
// and a device that comes back to that one accepts what a new device would.
const maxChannels = 64

// followed is what a device remembers of one channel. It outlives a change to another channel and back, for otherwise
// whoever can change the channel could have an old manifest accepted.
type followed struct {
	Seen    channel.State `json:"seen"`             // its Version is that of Current, for the channel that is followed
	Trust   digest.Digest `json:"trust"`            // of the trust document by which Seen was accepted
	Expires time.Time     `json:"expires,omitzero"` // of the manifest that was seen; zero: never
	Signed  time.Time     `json:"signed,omitzero"`  // when that manifest last came and its signature was checked
	Settled bool          `json:"settled"`          // the device has done what the manifest asks of it
}

// minFollowed is the length in bytes below which nothing followed is written: it has two digests.
const minFollowed = 2*digest.TextSize + len(`{"seen":{"statement":""},"trust":""}`)

// UnmarshalJSON refuses what is too short, so that a list takes no more memory than a few times its bytes.
func (f *followed) UnmarshalJSON(raw []byte) error {
	if len(raw) < minFollowed {
		return errors.New("a channel of which nothing is remembered")
	}
	type fields followed
	return json.Unmarshal(raw, (*fields)(f))
}

// channel returns what is remembered of the channel that is followed.
func (s state) channel() followed { return s.Channels[0] }

// with returns the state with f in the place of what was remembered of the channel that is followed.
func (s state) with(f followed) state {
	s.Channels = slices.Clone(s.Channels)
	s.Channels[0] = f
	return s
}

// turnTo returns the state of a device that follows the channel from now on.
func (s state) turnTo(name string) state {
	if len(s.Channels) > 0 && s.Channels[0].Seen.Channel == name {
		return s
	}
	f := followed{Seen: channel.State{App: s.App, Channel: name}}
	rest := slices.Clone(s.Channels)
	if i := slices.IndexFunc(rest, func(f followed) bool { return f.Seen.Channel == name }); i >= 0 {
		f = rest[i]
		rest = slices.Delete(rest, i, i+1)
	}
	// Without a version the channel may take the device to a lower one, which is what a change of channel is for. What
	// the device has to do for it is not known before its manifest comes.
	f.Seen.Version, f.Settled = "", false
	rest = rest[:min(len(rest), maxChannels-1)]
	s.Channels = append([]followed{f}, rest...)
	return s
}

// accept takes note of a manifest whose signature is good: it returns the state that it leads to if the device has seen
// nothing newer. The device keeps it before it acts on the manifest.
func (s state) accept(m *channel.Manifest, trust digest.Digest, now time.Time) (state, error) {
	f := s.channel()
	seen, err := f.Seen.Accept(m)
	if err != nil {
		return s, err
	}
	return s.with(followed{Seen: seen, Trust: trust, Expires: m.Expires, Signed: now}), nil
}

// settled returns the state of a device that runs the version and has nothing more to do for the manifest.
func (s state) settled(version string) state {
	f := s.channel()
	f.Seen.Version, f.Settled = version, true
	return s.with(f)
}

// runs returns the state of a device that went to the version by itself. A channel that it has not moved to yet may
// still take it to a lower one.
func (s state) runs(version string) state {
	f := s.channel()
	if f.Seen.Version != "" {
		f.Seen.Version = version
	}
	return s.with(f)
}

// signedAge returns how long ago the manifest came whose signature was checked last; ok is false if none ever did, or
// if the clock says that it will.
func (f followed) signedAge(now time.Time) (age time.Duration, ok bool) {
	age = now.Sub(f.Signed)
	return age, !f.Signed.IsZero() && age >= 0
}
