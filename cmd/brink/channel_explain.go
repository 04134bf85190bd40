package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// outcome is a decision in the form that is printed.
type outcome struct {
	Decision channel.Kind   `json:"decision"`
	Reason   channel.Reason `json:"reason,omitempty"`
	Version  string         `json:"version,omitempty"` // that the device goes to
}

func outcomeOf(d channel.Decision) outcome {
	o := outcome{Decision: d.Kind, Reason: d.Reason}
	if d.Release != nil {
		o.Version = d.Release.Version
	}
	return o
}

func (o outcome) String() string {
	switch o.Decision {
	case channel.UpToDate:
		return "up to date"
	case channel.None:
		return "stays: " + string(o.Reason)
	case channel.Rollback:
		return "goes back to " + o.Version
	case channel.BuiltIn:
		return "goes back to the built-in bundle"
	default:
		return "gets " + o.Version
	}
}

// explained is what channel explain prints.
type explained struct {
	App      string          `json:"app"`
	Channel  string          `json:"channel"`
	Sequence uint64          `json:"sequence"`
	Device   protocol.Device `json:"device"`
	At       time.Time       `json:"at"`
	outcome
	Steps []channel.Finding `json:"steps"`
}

func channelExplainCommand(sh *shell) *cobra.Command {
	var c channelFlags
	var d channel.Device
	var platform, bundle string
	var when timeFlag
	cmd := verb("explain", "Explain what a device gets from a channel, and why",
		`It fetches the channel manifest in force on the node, decides as the node and the device do, and prints the result of
each rule. Without further flags the device is a real device with a production build, of unknown platform and version.`,
		`
  brink channel explain --device 5f0c21 --version 1.4.0 --platform ios --native-version 2.1.0 \
      --channel production --app com.acme.shop --node http://127.0.0.1:8080
  brink channel explain --device 5f0c21 --at 2026-11-27T08:00:00Z …     at a later time`,
		func(cmd *cobra.Command, _ []string) error {
			if err := checkNodes(cmd, c.node); err != nil {
				return err
			}
			d.Platform = channel.Platform(platform)
			if bundle != "" {
				var err error
				if d.Bundle, err = digest.Parse(bundle); err != nil {
					return (&usageError{message: fmt.Sprintf("--bundle: %v", err)}).of(cmd)
				}
			}
			m, err := sh.manifest(cmd.Context(), c)
			if err != nil {
				return err
			}
			e := explained{App: m.App, Channel: m.Channel, Sequence: m.Sequence, Device: protocol.Device(d), At: when.at.UTC()}
			if when.at.IsZero() {
				e.At = time.Now().UTC()
			}
			decision, steps := channel.Explain(m, d, e.At)
			e.outcome, e.Steps = outcomeOf(decision), steps
			return sh.show(e, e.text)
		})
	c.add(cmd)
	c.addTrust(cmd)
	flags := cmd.Flags()
	flags.StringVar(&d.ID, "device", "", "`ID` of the device")
	flags.StringVar(&d.Custom, "custom-id", "", "`ID` that the app gave it")
	flags.StringVar(&platform, "platform", "", "`NAME` of its platform: ios, android, electron, web or any other")
	flags.StringVar(&d.Native, "native-version", "", "`VERSION` of its native app")
	flags.StringVar(&d.Version, "version", "", "`VERSION` of the release that it runs")
	flags.StringVar(&bundle, "bundle", "", "`DIGEST` of the bundle that it runs")
	flags.BoolVar(&d.BuiltIn, "built-in", false, "it runs the bundle built into its native app")
	flags.BoolVar(&d.Emulator, "emulator", false, "it is an emulator")
	flags.BoolVar(&d.Development, "development", false, "its native app is a development build")
	flags.Var(&when, "at", "decide as of this time, RFC 3339 (default: now)")
	completes(cmd, "platform", string(channel.IOS), string(channel.Android), string(channel.Electron), string(channel.Web))
	required(cmd, "channel")
	sh.printsJSON(cmd)
	return cmd
}

func (e explained) text(w io.Writer) {
	fmt.Fprintf(w, "%s: %s\n", deviceText(channel.Device(e.Device)), e.outcome)
	t := newTable("rll", "", "RULE", "FOUND")
	for i, step := range e.Steps {
		t.add(fmt.Sprint(i+1), step.Rule, step.Text)
	}
	t.write(w)
	if e.Reason != "" {
		fmt.Fprintf(w, "no update: %s\n", whyNot(string(e.Reason)))
	}
}

// deviceText describes a device in one line.
func deviceText(d channel.Device) string {
	var parts []string
	add := func(known bool, format string, args ...any) {
		if known {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(d.ID != "", "device %s", d.ID)
	add(d.ID == "", "a device without ID")
	add(d.Custom != "", "custom ID %s", d.Custom)
	add(d.Platform != "", "%s", d.Platform)
	add(d.Emulator, "an emulator")
	add(d.Development, "a development build")
	add(d.Native != "", "native app %s", d.Native)
	add(d.Version != "", "runs %s", d.Version)
	add(d.BuiltIn, "runs the built-in bundle")
	return strings.Join(parts, ", ")
}
