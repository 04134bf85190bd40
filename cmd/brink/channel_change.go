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

// changed is the output of verbs that change which devices get what from a channel.
type changed struct {
	App       string             `json:"app"`
	Channel   string             `json:"channel"`
	Version   string             `json:"version"`
	Sequence  uint64             `json:"sequence"`
	BuiltIn   bool               `json:"built_in"` // devices go back to their built-in bundle
	Unchanged bool               `json:"unchanged"`
	Half      bool               `json:"half_signed,omitempty"` // nothing has changed: more keys have to sign
	DryRun    bool               `json:"dry_run"`
	Rules     channel.Rules      `json:"rules"`
	Rollout   *channel.Rollout   `json:"rollout"` // null: the release is for all devices
	Overrides []channel.Override `json:"overrides"`
	Serves    []publish.Serving  `json:"serves,omitempty"` // what the signed manifest serves to which devices
	Expires   *time.Time         `json:"expires,omitempty"`
	Examples  []example          `json:"examples,omitempty"` // of a dry run
}

// changeFlags are the flags of every verb that changes a channel.
type changeFlags struct {
	signFlags

	app, channel string
	named        *channel.Device // affected by the change, as an example for a dry run; nil: no particular one
}

func (c *changeFlags) add(cmd *cobra.Command) {
	c.signFlags.add(cmd)
	cmd.Flags().StringVar(&c.app, "app", "", "`NAME` of the app")
	cmd.Flags().StringVar(&c.channel, "channel", "", "`NAME` of the channel")
	required(cmd, "app", "channel")
}

// change replaces the channel's manifest with the result of edit, and prints the outcome.
func (sh *shell) change(
	cmd *cobra.Command, c changeFlags, edit func(*channel.Manifest) (*channel.Manifest, error),
) error {
	p, err := sh.signer(cmd, &c.signFlags)
	if err != nil {
		return err
	}
	defer p.close()
	done, err := p.Change(cmd.Context(), c.app, c.channel, c.dryRun, edit)
	p.meter.done()
	if err != nil {
		return withHistoryHint(err)
	}
	result := newChanged(done, c.named)
	return sh.show(result, result.text)
}

func newChanged(done publish.Changed, named *channel.Device) changed {
	m := done.After
	c := changed{
		App: done.App, Channel: done.Channel, Version: done.Version, Sequence: done.Sequence,
		BuiltIn: m.BuiltIn, Unchanged: done.Unchanged, Half: done.HalfSigned, DryRun: done.DryRun,
		Rules: m.Rules, Rollout: m.Rollout, Overrides: slices.Concat([]channel.Override{}, m.Overrides),
		Serves: done.Serves, Expires: done.Expires,
	}
	if done.DryRun {
		c.Examples = examples(done.Before, done.After, named, time.Now())
	}
	return c
}

func (c changed) text(w io.Writer) {
	switch {
	case c.Half:
		fmt.Fprintf(w, "nothing has changed: %s of %s needs more signatures for this\n", c.Channel, c.App)
		fmt.Fprintln(w, halfSignedHint)
	case c.Unchanged:
		fmt.Fprintf(w, "nothing to do: %s of %s is like this already\n", c.Channel, c.App)
	case c.DryRun:
		fmt.Fprintf(w, "dry run, nothing has changed: %s of %s would be\n", c.Channel, c.App)
	default:
		fmt.Fprintf(w, "changed %s of %s\n", c.Channel, c.App)
	}
	pairs := append([]string{"serves", servesText(c.Version, c.BuiltIn && c.Rollout == nil)},
		rulePairs(c.Rules, c.Rollout, c.BuiltIn, c.Overrides)...)
	pairs = append(pairs, servesPairs(c.Serves)...)
	pairs = append(pairs, expiresPairs(c.Expires)...)
	facts(w, append(pairs, "sequence", fmt.Sprint(c.Sequence))...)
	if len(c.Examples) > 0 {
		fmt.Fprintln(w)
		examplesText(w, c.Examples)
	}
}

// servesText describes what a channel serves: the version, or the built-in bundle if it was reverted.
func servesText(version string, reverted bool) string {
	if reverted {
		return "the built-in bundle of the native app: devices go back to it from " + version
	}
	return version
}

// rulePairs describes which devices get what from a channel, in names and values.
func rulePairs(
	r channel.Rules, rollout *channel.Rollout, builtIn bool, overrides []channel.Override,
) (pairs []string) {
	audience := []string{"all devices"}
	if r.Private {
		audience = []string{"devices with an override"}
	}
	if len(r.Platforms) > 0 {
		audience = append(audience, "on "+platformText(r.Platforms))
	}
	for _, one := range []struct {
		refused bool
		text    string
	}{
		{r.NoEmulators, "no emulators"},
		{r.NoDevices, "emulators only"},
		{r.NoDevelopment, "no development builds"},
		{r.NoProduction, "development builds only"},
	} {
		if one.refused {
			audience = append(audience, one.text)
		}
	}
	pairs = append(pairs, "for", strings.Join(audience, ", "))
	if len(r.Default) > 0 {
		pairs = append(pairs, "default", "for devices on "+platformText(r.Default)+" that have no channel assigned")
	}
	if r.SelfAssign {
		pairs = append(pairs, "self-assign", "devices may choose this channel")
	}
	switch r.MaxStep {
	case "", channel.StepMajor:
	case channel.StepNumber:
		pairs = append(pairs, "largest step", "any, with native app "+r.MinNative+" or later")
	default:
		pairs = append(pairs, "largest step", string(r.MaxStep))
	}
	if r.NotUnderNative {
		pairs = append(pairs, "not under", "the version of the native app")
	}
	if rollout != nil {
		pairs = append(pairs, "rollout", rolloutText(*rollout, builtIn))
	}
	for _, o := range overrides {
		name, version := "device "+o.Device.Short(), "what the channel serves"
		if !o.Custom.IsZero() {
			name = "custom ID " + o.Custom.Short()
		}
		switch {
		case o.BuiltIn:
			version = "the built-in bundle"
		case o.Version != "":
			version = o.Version
		}
		pairs = append(pairs, "override", fmt.Sprintf("%s gets %s", name, version))
	}
	return pairs
}

func platformText(list []channel.Platform) string {
	names := make([]string, len(list))
	for i, platform := range list {
		names[i] = string(platform)
	}
	return strings.Join(names, ", ")
}
