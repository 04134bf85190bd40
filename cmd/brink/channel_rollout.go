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

// shareFlag is a share of a rollout as people write it: per cent, with up to two digits after the point.
type shareFlag int

var _ pflag.Value = (*shareFlag)(nil)

// Set reads a number from 0 to 100.
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

// String returns the share as Set reads it.
func (s *shareFlag) String() string {
	return strconv.FormatFloat(float64(*s)/100, 'f', -1, 64)
}

// Type names the value in the help.
func (s *shareFlag) Type() string { return "PERCENT" }

// timeFlag is a time in a flag; the zero time is "none".
type timeFlag struct{ at time.Time }

var _ pflag.Value = (*timeFlag)(nil)

// Set reads a time.
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

// String returns the time as Set reads it.
func (f *timeFlag) String() string {
	if f.at.IsZero() {
		return ""
	}
	return f.at.Format(time.RFC3339)
}

// Type names the value in the help.
func (f *timeFlag) Type() string { return "TIME" }

// rolloutFlags say to how many devices a release goes, and when.
type rolloutFlags struct {
	share        shareFlag
	starts, ends timeFlag
}

func (r *rolloutFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(&r.share, "percent", "give the release to so many of a hundred devices; the others get the one before")
	flags.Var(&r.starts, "starts", "give it to nobody before this time (RFC 3339, or none)")
	flags.Var(&r.ends, "ends", "give it to nobody from this time on: devices go back (RFC 3339, or none)")
}

// given reports whether any of them is.
func (r *rolloutFlags) given(cmd *cobra.Command) bool {
	given := cmd.Flags().Changed
	return given("percent") || given("starts") || given("ends")
}

// apply changes what was given; a rollout that is new and says nothing of a share is for everyone.
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

// rolloutText tells a rollout in a line; with builtIn, the others go back to what their native app came with.
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
		return text + "; others go back to the built-in"
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
	cmd := verb("rollout", "Give the release that a channel serves to some devices first",
		`Which devices are in is a matter of their ID and the bundle: raising the share only adds devices, lowering it only
takes some out again, and these go back to the release before. A device without an ID is in a rollout to everyone
only. A rollout begins with --percent of brink publish or of brink channel promote.`,
		`
  brink channel promote --percent 5 --from beta --to production --app com.acme.shop …    begins one
  brink channel rollout --percent 25 --channel production --app com.acme.shop --node http://127.0.0.1:8080 --key ci.key
  brink channel rollout --pause …           no device comes in; those that have it keep it
  brink channel rollout --resume --percent 50 --dry-run …
  brink channel rollout --complete …        to all devices
  brink channel rollout --abort …           back to the release before, for all
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
						return m.CompleteRollout(now) // which says that there is none
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
	flags.BoolVar(&pause, "pause", false, "let no device in any more; those that run the release keep it")
	flags.BoolVar(&resume, "resume", false, "let devices in again")
	flags.BoolVar(&complete, "complete", false, "give the release to all devices; the rollout is over")
	flags.BoolVar(&abort, "abort", false, "take the release back: a rollback to the one before")
	sh.printsJSON(cmd)
	return cmd
}

// checkRollout refuses flags of channel rollout that say nothing, or too much.
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
			message: "nothing to do: give --percent, --starts, --ends, --pause, --resume, --complete or --abort",
		}).of(cmd)
	case alone > 1:
		return (&usageError{message: "--complete and --abort go with no other, and --pause not with --resume"}).of(cmd)
	}
	return nil
}
