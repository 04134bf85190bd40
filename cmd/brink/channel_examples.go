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

// example is one device of a dry run, with what it gets now and would get then.
type example struct {
	Device protocol.Device `json:"device"`
	Now    outcome         `json:"now"`
	Then   outcome         `json:"then"`
}

// examples returns what a few devices get from the manifests before and after a change. They include the named device,
// if any.
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
		old, served = served, before.Release.Version // a change that goes back to an earlier release
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
			continue // the channel has only one release
		}
		list = append(list, example{
			Device: protocol.Device(d),
			Now:    outcomeOf(channel.Resolve(before, d, now)),
			Then:   outcomeOf(channel.Resolve(after, d, now)),
		})
	}
	return list
}

// sample returns the ID of a device in the given quarter, 0 to 3, of the rollouts of a bundle.
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
