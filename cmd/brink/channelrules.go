package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/publish"
)

// changed is what a verb prints that changes what a channel says about who gets what.
type changed struct {
	App       string             `json:"app"`
	Channel   string             `json:"channel"`
	Version   string             `json:"version"`
	Sequence  uint64             `json:"sequence"`
	Unchanged bool               `json:"unchanged"`
	DryRun    bool               `json:"dry_run"`
	Rules     channel.Rules      `json:"rules"`
	Rollout   *channel.Rollout   `json:"rollout"` // null: the release is for all devices
	Overrides []channel.Override `json:"overrides"`
	Examples  []example          `json:"examples,omitempty"` // of a dry run
}

// changeFlags are the flags of every verb that changes a channel.
type changeFlags struct {
	channelFlags

	keys   []string
	dryRun bool
}

func (c *changeFlags) add(cmd *cobra.Command) {
	c.channelFlags.add(cmd)
	keyFlag(cmd, &c.keys)
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "change nothing, and show who would get what")
	required(cmd, "channel")
}

// change lets turn make the channel's next manifest, and prints what came of it.
func (sh *shell) change(
	cmd *cobra.Command, c changeFlags, turn func(*channel.Manifest) (*channel.Manifest, error),
) error {
	p, meter, err := sh.publisher(cmd, c.node, c.keys)
	if err != nil {
		return err
	}
	done, err := p.Change(cmd.Context(), c.app, c.channel, c.dryRun, turn)
	meter.done()
	if err != nil {
		return withHistoryHint(err)
	}
	result := newChanged(done)
	return sh.show(result, result.text)
}

func newChanged(done publish.Changed) changed {
	m := done.After
	c := changed{
		App: done.App, Channel: done.Channel, Version: done.Version, Sequence: done.Sequence,
		Unchanged: done.Unchanged, DryRun: done.DryRun,
		Rules: m.Rules, Rollout: m.Rollout, Overrides: slices.Concat([]channel.Override{}, m.Overrides),
	}
	if done.DryRun {
		c.Examples = examples(done.Before, done.After, time.Now())
	}
	return c
}

func (c changed) text(w io.Writer) {
	switch {
	case c.Unchanged:
		fmt.Fprintf(w, "nothing to do: %s of %s says so already\n", c.Channel, c.App)
	case c.DryRun:
		fmt.Fprintf(w, "dry run, nothing has changed: %s of %s would say\n", c.Channel, c.App)
	default:
		fmt.Fprintf(w, "changed %s of %s\n", c.Channel, c.App)
	}
	pairs := append([]string{"serves", c.Version}, rulePairs(c.Rules, c.Rollout, c.Overrides)...)
	facts(w, append(pairs, "sequence", fmt.Sprint(c.Sequence))...)
	if len(c.Examples) > 0 {
		fmt.Fprintln(w)
		examplesText(w, c.Examples)
	}
}

// rulePairs tells what a channel says about who gets what, in names and values.
func rulePairs(r channel.Rules, rollout *channel.Rollout, overrides []channel.Override) (pairs []string) {
	audience := []string{"all devices"}
	if r.Private {
		audience = []string{"devices that an override names"}
	}
	if len(r.Platforms) > 0 {
		var names []string
		for _, platform := range r.Platforms {
			names = append(names, string(platform))
		}
		audience = append(audience, "on "+strings.Join(names, ", "))
	}
	for _, one := range []struct {
		refused bool
		what    string
	}{
		{r.NoEmulators, "no emulators"},
		{r.NoDevices, "emulators only"},
		{r.NoDevelopment, "no development builds"},
		{r.NoProduction, "development builds only"},
	} {
		if one.refused {
			audience = append(audience, one.what)
		}
	}
	pairs = append(pairs, "for", strings.Join(audience, ", "))
	if r.MaxStep != "" && r.MaxStep != channel.StepMajor {
		pairs = append(pairs, "largest step", string(r.MaxStep))
	}
	if r.NotUnderNative {
		pairs = append(pairs, "not under", "the version of the native app")
	}
	if rollout != nil {
		pairs = append(pairs, "rollout", rolloutText(*rollout))
	}
	for _, o := range overrides {
		name, version := "device "+o.Device, "what the channel serves"
		if o.Custom != "" {
			name = "custom ID " + o.Custom
		}
		if o.Version != "" {
			version = o.Version
		}
		pairs = append(pairs, "override", fmt.Sprintf("%s gets %s", name, version))
	}
	return pairs
}

func channelSetCommand(sh *shell) *cobra.Command {
	var c changeFlags
	var to channel.Rules
	var platforms []string
	var step string
	var emulators, devices, production, development, underNative bool
	cmd := verb("set", "Say which devices a channel is for, and how far an update goes",
		`Only what is given changes; the rest stays as it is. What the channel says is signed with it, and holds for every
release that it serves from now on. A device that an override names gets its release whatever is said here.`,
		`
  brink channel set --private --channel beta --app com.acme.shop --node http://127.0.0.1:8080 --key ci.key
  brink channel set --platforms ios,android --emulators=false --dry-run …
  brink channel set --max-step minor --under-native=false …     no new major version, nothing below the native app
  brink channel set --private=false --platforms all --max-step major …`,
		func(cmd *cobra.Command, _ []string) error {
			given := cmd.Flags().Changed
			if !slices.ContainsFunc(ruleFlags(), given) {
				return (&usageError{message: "nothing to set: give at least one of --" + strings.Join(ruleFlags(), ", --")}).of(cmd)
			}
			return sh.change(cmd, c, func(m *channel.Manifest) (*channel.Manifest, error) {
				next := m.Rules
				if given("private") {
					next.Private = to.Private
				}
				if given("platforms") {
					next.Platforms = nil
					for _, platform := range platforms {
						next.Platforms = append(next.Platforms, channel.Platform(platform))
					}
					if slices.Equal(platforms, []string{"all"}) {
						next.Platforms = nil
					}
				}
				for _, one := range []struct {
					flag  string
					allow bool
					field *bool
				}{
					{"emulators", emulators, &next.NoEmulators},
					{"devices", devices, &next.NoDevices},
					{"production", production, &next.NoProduction},
					{"development", development, &next.NoDevelopment},
					{"under-native", underNative, &next.NotUnderNative},
				} {
					if given(one.flag) {
						*one.field = !one.allow
					}
				}
				if given("max-step") {
					next.MaxStep = channel.Step(step)
				}
				return m.SetRules(next, time.Now())
			})
		})
	c.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&to.Private, "private", false, "only for devices that an override names; --private=false: for all")
	flags.StringSliceVar(&platforms, "platforms", nil, "`NAMES` of the platforms that it is for, with commas, or all")
	flags.BoolVar(&emulators, "emulators", false, "for emulators too; --emulators=false: not for them")
	flags.BoolVar(&devices, "devices", false, "for real devices too; --devices=false: not for them")
	flags.BoolVar(&production, "production", false, "for production builds too; --production=false: not for them")
	flags.BoolVar(&development, "development", false, "for development builds too; --development=false: not for them")
	flags.StringVar(&step, "max-step", "",
		"largest `STEP` of an update, from the version a device runs: none, patch, minor or major")
	flags.BoolVar(&underNative, "under-native", false,
		"releases below the version of the native app too; --under-native=false: not those")
	completes(cmd, "max-step", string(channel.StepNone), string(channel.StepPatch), string(channel.StepMinor),
		string(channel.StepMajor))
	sh.printsJSON(cmd)
	return cmd
}

// ruleFlags returns the flags of channel set that change something.
func ruleFlags() []string {
	return []string{
		"private", "platforms", "emulators", "devices", "production", "development", "max-step", "under-native",
	}
}
