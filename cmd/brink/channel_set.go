package main

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
)

// ruleFlags are the flags of channel set. They name what is allowed; [channel.Rules] names what is refused.
type ruleFlags struct {
	private, selfAssign                                      bool
	emulators, devices, production, development, underNative bool

	platforms, defaults []string
	step, native        string
}

func (r *ruleFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&r.private, "private", false, "only devices with an override get it; --private=false: all devices")
	flags.StringSliceVar(&r.platforms, "platforms", nil, "comma-separated `NAMES` of the platforms that get it, or all")
	flags.BoolVar(&r.emulators, "emulators", false, "emulators get it; --emulators=false: they do not")
	flags.BoolVar(&r.devices, "devices", false, "real devices get it; --devices=false: they do not")
	flags.BoolVar(&r.production, "production", false, "production builds get it; --production=false: they do not")
	flags.BoolVar(&r.development, "development", false, "development builds get it; --development=false: they do not")
	flags.StringVar(&r.step, "max-step", "",
		"largest `STEP` of an update from the version that a device runs: none, patch, minor, major or version_number")
	flags.StringVar(&r.native, "min-native", "", "lowest `VERSION` of the native app, for --max-step version_number")
	flags.BoolVar(&r.underNative, "under-native", false,
		"devices may get releases below the version of their native app; --under-native=false: they may not")
	flags.StringSliceVar(&r.defaults, "default-for", nil,
		"comma-separated `NAMES` of the platforms for whose devices this is the default channel, or none")
	flags.BoolVar(&r.selfAssign, "self-assign", false, "devices may choose it; --self-assign=false: they may not")
	completes(cmd, "max-step", string(channel.StepNone), string(channel.StepPatch), string(channel.StepMinor),
		string(channel.StepMajor), string(channel.StepNumber))
}

// names returns the names of the flags.
func (r *ruleFlags) names() []string {
	return []string{
		"private", "platforms", "emulators", "devices", "production", "development", "max-step", "min-native",
		"under-native", "default-for", "self-assign",
	}
}

// apply returns the rules with the flags that are set.
func (r *ruleFlags) apply(cmd *cobra.Command, rules channel.Rules) (channel.Rules, error) {
	given := cmd.Flags().Changed
	for _, one := range []struct {
		flag  string
		value bool
		field *bool
	}{
		{"private", r.private, &rules.Private},
		{"emulators", !r.emulators, &rules.NoEmulators},
		{"devices", !r.devices, &rules.NoDevices},
		{"production", !r.production, &rules.NoProduction},
		{"development", !r.development, &rules.NoDevelopment},
		{"under-native", !r.underNative, &rules.NotUnderNative},
		{"self-assign", r.selfAssign, &rules.SelfAssign},
	} {
		if given(one.flag) {
			*one.field = one.value
		}
	}
	if given("platforms") {
		rules.Platforms = platformList(r.platforms, "all")
	}
	if given("default-for") {
		rules.Default = platformList(r.defaults, "none")
	}
	if given("max-step") {
		rules.MaxStep = channel.Step(r.step)
	}
	if given("min-native") {
		rules.MinNative = r.native
	}
	switch number := rules.MaxStep == channel.StepNumber; {
	case number && rules.MinNative == "":
		return rules, (&usageError{message: "--max-step version_number requires --min-native"}).of(cmd)
	case !number && given("min-native"):
		return rules, (&usageError{message: "--min-native requires --max-step version_number"}).of(cmd)
	case !number:
		rules.MinNative = "" // from an earlier --max-step version_number
	}
	return rules, nil
}

// platformList returns the platforms of a flag, in which word stands for the empty list.
func platformList(names []string, word string) (list []channel.Platform) {
	if slices.Equal(names, []string{word}) {
		return nil
	}
	for _, name := range names {
		list = append(list, channel.Platform(name))
	}
	return list
}

func channelSetCommand(sh *shell) *cobra.Command {
	var c changeFlags
	var r ruleFlags
	cmd := verb("set", "Set which devices a channel is for, and how large an update may be",
		`Only the rules that you name change. They are part of the signed manifest and apply to every release that the channel
serves from now on. Devices with an override are not subject to them.

A device that has no channel assigned follows the default channel of its platform; if no channel is a default, it
follows production, or the only channel. With --self-assign devices may choose the channel themselves.`,
		`
  brink channel set --private --channel beta --app com.acme.shop --node http://127.0.0.1:8080 --key ci.key
  brink channel set --platforms ios,android --emulators=false --dry-run …
  brink channel set --max-step minor --under-native=false …     no new major version, nothing below the native app
  brink channel set --max-step version_number --min-native 3.0.0 …   any version, for native app 3.0.0 or later
  brink channel set --default-for ios,android --self-assign …
  brink channel set --private=false --platforms all --default-for none --max-step major …`,
		func(cmd *cobra.Command, _ []string) error {
			if !slices.ContainsFunc(r.names(), cmd.Flags().Changed) {
				return (&usageError{message: "nothing to set: want at least one of --" + strings.Join(r.names(), ", --")}).of(cmd)
			}
			return sh.change(cmd, c, func(m *channel.Manifest) (*channel.Manifest, error) {
				rules, err := r.apply(cmd, m.Rules)
				if err != nil {
					return nil, err
				}
				return m.SetRules(rules, time.Now())
			})
		})
	c.add(cmd)
	r.add(cmd)
	sh.printsJSON(cmd)
	return cmd
}
