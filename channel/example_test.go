package channel_test

import (
	"fmt"
	"time"

	"brink/channel"
	"brink/digest"
)

// A rollout gives a release to a part of the devices, always the same ones, and a device that has the release is told
// so.
func ExampleResolve() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	release := func(version string) channel.Release {
		return channel.Release{
			Version: version, Bundle: digest.Sum([]byte(version)), SHA256: digest.SumSHA256([]byte(version)), Size: 1,
			Index: digest.Sum([]byte("index of " + version)), IndexSize: 1, Files: 1, Created: now,
		}
	}
	m, err := channel.NewManifest("acme", "com.acme.shop", "production").Publish(release("1.0.0"), now)
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err = m.Roll(release("1.1.0"), channel.Rollout{Share: 1000}, now) // ten per cent
	if err != nil {
		fmt.Println(err)
		return
	}
	given := map[string]int{}
	for i := range 1000 {
		device := channel.Device{ID: fmt.Sprint("device ", i), Platform: channel.Android, Native: "1.0.0"}
		given[channel.Resolve(m, device, now).Release.Version]++
	}
	fmt.Println(given["1.1.0"] > 70 && given["1.1.0"] < 130, given["1.0.0"]+given["1.1.0"])
	up := channel.Device{ID: "device 1", Platform: channel.Android, Native: "1.0.0", Version: "1.0.0"}
	up.Bundle = release("1.0.0").Bundle
	fmt.Println(channel.Resolve(m, up, now).Kind)
	// Output:
	// true 1000
	// up_to_date
}
