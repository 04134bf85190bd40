package main

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"brink/channel"
)

// shareFlag is the share of a rollout as a flag: per cent, with up to two digits after the point.
type shareFlag int

var _ pflag.Value = (*shareFlag)(nil)

// Set parses a number from 0 to 100.
func (s *shareFlag) Set(text string) error {
	whole, part, _ := strings.Cut(strings.TrimSuffix(text, "%"), ".")
	digits := whole + (part + "00")[:2]
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || whole == "" || len(part) > 2 || n > channel.Everyone {
		return errors.New("want a number from 0 to 100, with up to two digits after the point")
	}
	*s = shareFlag(n)
	return nil
}

// String formats the share as Set parses it.
func (s *shareFlag) String() string {
	return strconv.FormatFloat(float64(*s)/100, 'f', -1, 64)
}

// Type names the value in the help.
func (s *shareFlag) Type() string { return "PERCENT" }

// timeFlag is a time in a flag; the zero time is "none".
type timeFlag struct{ at time.Time }

var _ pflag.Value = (*timeFlag)(nil)

// Set parses a time.
func (f *timeFlag) Set(text string) error {
	if text == "none" {
		f.at = time.Time{}
		return nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return errors.New("want a time like 2026-11-27T08:00:00Z, or none")
	}
	f.at = at
	return nil
}

// String formats the time as Set parses it.
func (f *timeFlag) String() string {
	if f.at.IsZero() {
		return ""
	}
	return f.at.Format(time.RFC3339)
}

// Type names the value in the help.
func (f *timeFlag) Type() string { return "TIME" }

// rolloutFlags are the share of devices that get a release, and when.
type rolloutFlags struct {
	share        shareFlag
	starts, ends timeFlag
}

func (r *rolloutFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(&r.share, "percent", "share of devices that get the release; the others get the previous one")
	flags.Var(&r.starts, "starts", "start of the rollout: no device gets the release earlier (RFC 3339, or none)")
	flags.Var(&r.ends, "ends", "end of the rollout: devices go back to the previous release (RFC 3339, or none)")
}

// given reports whether any of the flags is set.
func (r *rolloutFlags) given(cmd *cobra.Command) bool {
	given := cmd.Flags().Changed
	return given("percent") || given("starts") || given("ends")
}

// apply returns the rollout with the flags that are set. A new rollout without a share is for all devices.
func (r *rolloutFlags) apply(cmd *cobra.Command, from *channel.Rollout) channel.Rollout {
	to := channel.Rollout{Share: channel.Everyone}
	if from != nil {
		to = *from
	}
	given := cmd.Flags().Changed
	if given("percent") {
		to.Share = int(r.share)
	}
	if given("starts") {
		to.Starts = r.starts.at
	}
	if given("ends") {
		to.Ends = r.ends.at
	}
	return to
}

// rolloutText describes a rollout in one line. With builtIn, the other devices go back to their built-in bundle.
func rolloutText(r channel.Rollout, builtIn bool) string {
	share := shareFlag(r.Share)
	text := share.String() + " % of devices"
	if r.Share == channel.Everyone {
		text = "all devices"
	}
	if r.Paused {
		text += ", paused"
	}
	if !r.Starts.IsZero() {
		text += ", from " + moment(r.Starts)
	}
	if !r.Ends.IsZero() {
		text += ", until " + moment(r.Ends)
	}
	switch {
	case builtIn:
		return text + "; others go back to the built-in bundle"
	case r.From == "":
		return text + "; others stay as they are"
	default:
		return text + "; others get " + r.From
	}
}

func channelRolloutCommand(sh *shell) *cobra.Command {
	var c changeFlags
	var r rolloutFlags
	var pause, resume, complete, abort bool
	cmd := verb("rollout", "Roll out the release of a channel to a share of devices",
		`Whether a device is included depends on its ID and the bundle: raising the share only adds devices; lowering it only
removes devices, which go back to the previous release. A device without an ID is included only at 100 per cent.
A rollout starts with --percent of brink publish or brink channel promote.`,
		`
  brink channel promote --percent 5 --from beta --to production --app com.acme.shop …    start a rollout
  brink channel rollout --percent 25 --channel production --app com.acme.shop --node http://127.0.0.1:8080 --key ci.key
  brink channel rollout --pause …           no more devices; those that have the release keep it
  brink channel rollout --resume --percent 50 --dry-run …
  brink channel rollout --complete …        to all devices
  brink channel rollout --abort …           all devices back to the previous release
  brink channel rollout --starts 2026-11-27T08:00:00Z --ends 2026-11-30T22:00:00Z …`,
		func(cmd *cobra.Command, _ []string) error {
			if err := checkRollout(cmd, r.given(cmd), pause, resume, complete, abort); err != nil {
				return err
			}
			return sh.change(cmd, c, func(m *channel.Manifest) (*channel.Manifest, error) {
				switch now := time.Now(); {
				case complete:
					return m.CompleteRollout(now)
				case abort:
					return m.AbortRollout(now)
				default:
					if m.Rollout == nil && !r.given(cmd) {
						return m.CompleteRollout(now) // returns the error that there is none
					}
					to := r.apply(cmd, m.Rollout)
					to.Paused = pause || to.Paused && !resume
					return m.SetRollout(to, now)
				}
			})
		})
	c.add(cmd)
	r.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&pause, "pause", false, "give the release to no more devices; those that run it keep it")
	flags.BoolVar(&resume, "resume", false, "resume a paused rollout")
	flags.BoolVar(&complete, "complete", false, "finish the rollout: give the release to all devices")
	flags.BoolVar(&abort, "abort", false, "abort the rollout: roll back to the previous release")
	sh.printsJSON(cmd)
	return cmd
}

// checkRollout refuses flags of channel rollout that change nothing or contradict each other.
func checkRollout(cmd *cobra.Command, given, pause, resume, complete, abort bool) error {
	alone := 0
	for _, flag := range []bool{complete, abort, pause && resume, given || pause || resume} {
		if flag {
			alone++
		}
	}
	switch {
	case alone == 0:
		return (&usageError{
			message: "nothing to do: want --percent, --starts, --ends, --pause, --resume, --complete or --abort",
		}).of(cmd)
	case alone > 1:
		return (&usageError{
			message: "--complete and --abort exclude all other changes, and --pause and --resume exclude each other",
		}).of(cmd)
	}
	return nil
}
