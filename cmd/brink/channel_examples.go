package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// example is one device of a dry run, with what it gets and would get.
type example struct {
	Device protocol.Device `json:"device"`
	Now    outcome         `json:"now"`
	Then   outcome         `json:"then"`
}

// examples shows what a change does to a few devices: what they get from one manifest and from the other. The device
// that the change is about, if any, is one of them.
func examples(before, after *channel.Manifest, named *channel.Device, now time.Time) []example {
	served := after.Release.Version
	old := served
	for r := range after.Releases() {
		if channel.CompareVersions(r.Version, served) < 0 {
			old = r.Version
			break
		}
	}
	if before.Release.Version != served {
		old, served = served, before.Release.Version // a change that takes a release back
	}
	native := func(p channel.Platform) string {
		if lowest := after.Release.Native[p].Min; lowest != "" {
			return lowest
		}
		return old
	}
	on := func(p channel.Platform, id, version string) channel.Device {
		return channel.Device{ID: id, Platform: p, Native: native(p), Version: version}
	}
	bundle := before.Release.Bundle
	if after.Rollout != nil {
		bundle = after.Release.Bundle
	}
	devices := []channel.Device{
		on(channel.IOS, sample(bundle, 0), old),
		on(channel.Android, sample(bundle, 1), old),
		on(channel.IOS, sample(bundle, 2), old),
		on(channel.Android, sample(bundle, 3), old),
		on(channel.IOS, sample(bundle, 0), served),
		on(channel.Android, sample(bundle, 3), served),
		on(channel.Web, sample(bundle, 1), old),
		on(channel.Android, "", old),
	}
	emulator, development := on(channel.Android, sample(bundle, 1), old), on(channel.IOS, sample(bundle, 2), old)
	emulator.Emulator, development.Development = true, true
	devices = append(devices, emulator, development)
	if before.BuiltIn || after.BuiltIn {
		fresh := on(channel.IOS, sample(bundle, 3), "")
		fresh.BuiltIn = true
		devices = append(devices, fresh)
	}
	if named != nil {
		d := on(channel.IOS, named.ID, served)
		if named.Custom != "" {
			d.ID, d.Custom = sample(bundle, 3), named.Custom
		}
		devices = append(devices, d)
	}
	list := make([]example, 0, len(devices))
	for i, d := range devices {
		if slices.Contains(devices[:i], d) {
			continue // the channel has one release only
		}
		list = append(list, example{
			Device: protocol.Device(d),
			Now:    outcomeOf(channel.Resolve(before, d, now)),
			Then:   outcomeOf(channel.Resolve(after, d, now)),
		})
	}
	return list
}

// sample returns the ID of a device in that quarter of the rollouts of a bundle: 0 to 3.
func sample(bundle digest.Digest, quarter int) string {
	for i := 1; ; i++ {
		if id := fmt.Sprintf("example-%d", i); channel.Bucket(id, bundle)*4/channel.Everyone == quarter {
			return id
		}
	}
}

func examplesText(w io.Writer, list []example) {
	t := newTable("llll", "", "A DEVICE LIKE THIS", "NOW", "THEN")
	for _, e := range list {
		mark := ""
		if e.Now != e.Then {
			mark = "*"
		}
		t.add(mark, deviceText(channel.Device(e.Device)), e.Now.String(), e.Then.String())
	}
	t.write(w)
}
