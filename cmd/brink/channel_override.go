package main

import (
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
)

func channelOverrideCommand(sh *shell) *cobra.Command {
	var c changeFlags
	var o channel.Override
	var device channel.Device
	var remove bool
	cmd := verb("override", "Set what a single device gets",
		`An override applies to the device regardless of rollouts and of the channel's rules (brink channel set). Without
--version the device gets what the channel serves, even during a rollout; with --built-in it gets the bundle built
into its native app. The version must be one that the channel serves or has served; the override ends when the
version is no longer in the history.

Channel manifests are public. They contain a hash of the ID, so anyone who can guess an ID can see that it has an
override: use random IDs, and none that identify a person.`,
		`
  brink channel override --device 5f0c21 --channel beta --app com.acme.shop --node http://127.0.0.1:8080 --key ci.key
  brink channel override --device 5f0c21 --version 1.4.0 --dry-run …
  brink channel override --custom-id till-7 --version 1.4.0 …
  brink channel override --device 5f0c21 --built-in …
  brink channel override --device 5f0c21 --remove …`,
		func(cmd *cobra.Command, _ []string) error {
			if (device.ID == "") == (device.Custom == "") {
				return (&usageError{message: "want exactly one of --device and --custom-id"}).of(cmd)
			}
			if err := channel.CheckID(device.ID + device.Custom); err != nil {
				return err
			}
			if remove && (o.Version != "" || o.BuiltIn) || o.BuiltIn && o.Version != "" {
				return (&usageError{message: "--version, --built-in and --remove exclude each other"}).of(cmd)
			}
			c.named = &device
			return sh.change(cmd, c, func(m *channel.Manifest) (*channel.Manifest, error) {
				o.Device, o.Custom = m.HashDevice(device.ID), m.HashCustom(device.Custom)
				if remove {
					return m.RemoveOverride(o, time.Now())
				}
				return m.SetOverride(o, time.Now())
			})
		})
	c.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&device.ID, "device", "", "`ID` of the device")
	flags.StringVar(&device.Custom, "custom-id", "", "`ID` that the app gave the device")
	flags.StringVar(&o.Version, "version", "", "`VERSION` that it gets (default: the one that the channel serves)")
	flags.BoolVar(&o.BuiltIn, "built-in", false, "it goes back to the bundle built into its native app")
	flags.BoolVar(&remove, "remove", false, "remove the override of the device")
	sh.printsJSON(cmd)
	return cmd
}
