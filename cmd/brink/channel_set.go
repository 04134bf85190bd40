package main

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
)

// ruleFlags are the flags of channel set. They speak of what is allowed, where the rules speak of what is not.
type ruleFlags struct {
	private, selfAssign                                      bool
	emulators, devices, production, development, underNative bool

	platforms, defaults []string
	step, native        string
}

func (r *ruleFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&r.private, "private", false, "only for devices that an override names; --private=false: for all")
	flags.StringSliceVar(&r.platforms, "platforms", nil, "`NAMES` of the platforms that it is for, with commas, or all")
	flags.BoolVar(&r.emulators, "emulators", false, "for emulators too; --emulators=false: not for them")
	flags.BoolVar(&r.devices, "devices", false, "for real devices too; --devices=false: not for them")
	flags.BoolVar(&r.production, "production", false, "for production builds too; --production=false: not for them")
	flags.BoolVar(&r.development, "development", false, "for development builds too; --development=false: not for them")
	flags.StringVar(&r.step, "max-step", "",
		"largest `STEP` of an update, from the version a device runs: none, patch, minor, major, or version_number")
	flags.StringVar(&r.native, "min-native", "", "lowest `VERSION` of the native app, for --max-step version_number")
	flags.BoolVar(&r.underNative, "under-native", false,
		"releases below the version of the native app too; --under-native=false: not those")
	flags.StringSliceVar(&r.defaults, "default-for", nil,
		"`NAMES` of the platforms whose devices follow it if they follow none in particular, with commas, or none")
	flags.BoolVar(&r.selfAssign, "self-assign", false, "devices may choose it; --self-assign=false: not any more")
	completes(cmd, "max-step", string(channel.StepNone), string(channel.StepPatch), string(channel.StepMinor),
		string(channel.StepMajor), string(channel.StepNumber))
}

// names returns the flags that change something.
func (r *ruleFlags) names() []string {
	return []string{
		"private", "platforms", "emulators", "devices", "production", "development", "max-step", "min-native",
		"under-native", "default-for", "self-assign",
	}
}

// apply changes what was given.
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
		return rules, (&usageError{message: "--max-step version_number wants --min-native"}).of(cmd)
	case !number && given("min-native"):
		return rules, (&usageError{message: "--min-native is for --max-step version_number"}).of(cmd)
	case !number:
		rules.MinNative = "" // what a former --max-step left would mean nothing
	}
	return rules, nil
}

// platformList returns the platforms of a flag; word stands for an empty list.
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
	cmd := verb("set", "Say which devices a channel is for, and how far an update goes",
		`Only what is given changes; the rest stays as it is. What the channel says is signed with it, and holds for every
release that it serves from now on. A device that an override names gets its release whatever is said here. A device
that follows no channel in particular gets the default of its platform; while no channel is a default, production or
the only one. A channel with --self-assign can be chosen by devices themselves.`,
		`
  brink channel set --private --channel beta --app com.acme.shop --node http://127.0.0.1:8080 --key ci.key
  brink channel set --platforms ios,android --emulators=false --dry-run …
  brink channel set --max-step minor --under-native=false …     no new major version, nothing below the native app
  brink channel set --max-step version_number --min-native 3.0.0 …   any version, in native apps from 3.0.0 on
  brink channel set --default-for ios,android --self-assign …
  brink channel set --private=false --platforms all --default-for none --max-step major …`,
		func(cmd *cobra.Command, _ []string) error {
			if !slices.ContainsFunc(r.names(), cmd.Flags().Changed) {
				return (&usageError{message: "nothing to set: give at least one of --" + strings.Join(r.names(), ", --")}).of(cmd)
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
