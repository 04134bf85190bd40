package client

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"brink/channel"
	"brink/digest"
)

// maxChannels limits how many channels a device remembers. The least recently followed one is removed; when the device
// returns to that one, it accepts the same manifests as a new device.
const maxChannels = 64

// followed is what a device remembers of one channel. It is retained while the device follows another channel:
// otherwise switching channels back and forth would make it accept an old manifest.
type followed struct {
	Seen      channel.State `json:"seen"`             // for the current channel, its Version is that of Current
	Trust     digest.Digest `json:"trust"`            // of the trust document by which Seen was accepted
	Expires   time.Time     `json:"expires,omitzero"` // of the accepted manifest; zero: never
	Signed    time.Time     `json:"signed,omitzero"`  // when that manifest was last received and verified
	Completed bool          `json:"settled"`          // the device runs what the manifest requires
}

// minFollowed is the minimum length of an encoded followed, in bytes: it contains two digests.
const minFollowed = 2*digest.TextSize + len(`{"seen":{"statement":""},"trust":""}`)

// UnmarshalJSON refuses values that are too short, so that a list needs at most a small multiple of its size in memory.
func (f *followed) UnmarshalJSON(raw []byte) error {
	if len(raw) < minFollowed {
		return errors.New("the entry of a channel is too short")
	}
	type fields followed
	return json.Unmarshal(raw, (*fields)(f))
}

// channel returns the entry of the current channel.
func (s state) channel() followed { return s.Channels[0] }

// with returns the state with f as the entry of the current channel.
func (s state) with(f followed) state {
	s.Channels = slices.Clone(s.Channels)
	s.Channels[0] = f
	return s
}

// withChannel returns the state of a device that follows the named channel from now on.
func (s state) withChannel(name string) state {
	if len(s.Channels) > 0 && s.Channels[0].Seen.Channel == name {
		return s
	}
	f := followed{Seen: channel.State{App: s.App, Channel: name}}
	rest := slices.Clone(s.Channels)
	if i := slices.IndexFunc(rest, func(f followed) bool { return f.Seen.Channel == name }); i >= 0 {
		f = rest[i]
		rest = slices.Delete(rest, i, i+1)
	}
	// Without a Version the new channel may also serve a lower one. Whether the device runs what the channel requires is
	// unknown until its manifest is received.
	f.Seen.Version, f.Completed = "", false
	rest = rest[:min(len(rest), maxChannels-1)]
	s.Channels = append([]followed{f}, rest...)
	return s
}

// accept returns the state after a verified manifest, or an error if the device has seen a newer one. The device saves
// that state before it acts on the manifest.
func (s state) accept(m *channel.Manifest, trust digest.Digest, now time.Time) (state, error) {
	f := s.channel()
	seen, err := f.Seen.Accept(m)
	if err != nil {
		return s, err
	}
	return s.with(followed{Seen: seen, Trust: trust, Expires: m.Expires, Signed: now}), nil
}

// completed returns the state of a device that runs the version, as the manifest requires.
func (s state) completed(version string) state {
	f := s.channel()
	f.Seen.Version, f.Completed = version, true
	return s.with(f)
}

// withVersion returns the state of a device that changed to the version without a manifest. A channel that the device
// has not updated from yet may still serve a lower one.
func (s state) withVersion(version string) state {
	f := s.channel()
	if f.Seen.Version != "" {
		f.Seen.Version = version
	}
	return s.with(f)
}

// signedAge returns how long ago a signed manifest was last received and verified. It returns false if none ever was,
// or if that time is in the future.
func (f followed) signedAge(now time.Time) (age time.Duration, ok bool) {
	age = now.Sub(f.Signed)
	return age, !f.Signed.IsZero() && age >= 0
}
