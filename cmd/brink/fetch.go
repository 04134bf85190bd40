package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/client"
)

func fetchCommand(sh *shell) *cobra.Command {
	var c client.Config
	var trust, platform string
	var rollback, confirm, trial bool
	cmd := verb("fetch DIR", "Be a device: bring a folder to what a channel serves",
		`DIR/current is a symbolic link to the files of the installed release; it is switched at once and only when all of
them are there and checked. On Windows, and where links are refused, there is none: the folder with the files is
printed, and is "path" with --json. Nothing is believed but what the keys of the trust document signed. The previous
release is kept for --rollback. A download that was cut goes on where it was, and a kill at any point leaves a whole
release. Give --node several times to have the nearest asked first, and others when it fails.`,
		`
  brink fetch ./device --node http://127.0.0.1:8080 --app com.acme.shop --channel production --trust acme.trust.json
  brink fetch ./device … --trial         keep what was confirmed last until --confirm tells that this one is well
  brink fetch ./device … --rollback      go back to the release before, without a network`,
		func(cmd *cobra.Command, args []string) error {
			if err := checkNodes(cmd, c.Nodes...); err != nil {
				return err
			}
			if rollback && confirm {
				return (&usageError{message: "--rollback and --confirm exclude each other"}).of(cmd)
			}
			raw, err := readTrust(trust)
			if err != nil {
				return withHint(err, "whoever publishes the app has the trust document to give to devices")
			}
			c.Dir, c.Trust, c.Confirm = args[0], raw, !trial
			c.Eager = true // somebody waits
			c.Device.Platform = channel.Platform(platform)
			if len(c.Nodes) == 0 && !rollback && !confirm {
				return (&usageError{message: "--node: at least one is wanted, but for --rollback and --confirm"}).of(cmd)
			}
			return sh.fetch(cmd, c, rollback, confirm)
		})
	cmd.Args = args("DIR")
	flags := cmd.Flags()
	flags.StringArrayVar(&c.Nodes, "node", nil,
		"`URL` of a node (repeatable: the nearest is asked first, others when it fails)")
	flags.StringVar(&c.App, "app", "", "`NAME` of the app")
	flags.StringVar(&c.Channel, "channel", "", "`NAME` of the channel")
	flags.StringVar(&trust, "trust", "", "the org's trust document, a `FILE` or the document itself")
	flags.StringVar(&c.Device.ID, "device-id", "", "`ID` of the device")
	flags.StringVar(&c.Device.Custom, "custom-id", "", "`ID` that the app gave the device")
	flags.StringVar(&platform, "platform", "", "`NAME` of the platform: ios, android, electron, web or another")
	flags.StringVar(&c.Device.Native, "native-version", "", "`VERSION` of the native app around the bundle")
	flags.BoolVar(&c.Device.Emulator, "emulator", false, "the device is an emulator")
	flags.BoolVar(&c.Device.Development, "development", false, "its native app is a development build")
	flags.IntVar(&c.Connections, "connections", client.DefaultConnections,
		"`N` connections at most that an archive comes over at once; 1 is kindest to a node that has nothing new")
	flags.BoolVar(&rollback, "rollback", false, "go back to the release before; it is not applied again")
	flags.BoolVar(&confirm, "confirm", false, "tell that the installed release is well")
	flags.BoolVar(&trial, "trial", false, "take the update for well only once --confirm says so")
	completes(cmd, "platform", string(channel.IOS), string(channel.Android), string(channel.Electron), string(channel.Web))
	required(cmd, "app", "channel", "trust")
	sh.printsJSON(cmd)
	return cmd
}

func (sh *shell) fetch(cmd *cobra.Command, c client.Config, rollback, confirm bool) (err error) {
	meter := sh.meter()
	c.Progress = func(received, total int64) { meter.show("receiving", received, total) }
	device, err := client.New(c)
	if err != nil {
		return err
	}
	defer func() {
		if closed := device.Close(); err == nil {
			err = closed
		}
	}()
	var result client.Result
	switch {
	case rollback:
		result, err = device.Rollback()
	case confirm:
		return sh.confirm(device)
	default:
		result, err = device.Update(cmd.Context())
	}
	meter.done()
	if err != nil {
		return err
	}
	return sh.show(result, func(w io.Writer) { fetchedText(w, result) })
}

// confirmed is what fetch --confirm prints.
type confirmed struct {
	Version   string `json:"version"`
	Bundle    string `json:"bundle"`
	Path      string `json:"path"` // of the folder with its files
	Confirmed bool   `json:"confirmed"`
}

func (sh *shell) confirm(device *client.Client) error {
	if err := device.Confirm(); err != nil {
		return err
	}
	version, id, err := device.Installed()
	if err != nil {
		return err
	}
	path, err := device.Path()
	if err != nil {
		return err
	}
	return sh.show(confirmed{Version: version, Bundle: id.String(), Path: path, Confirmed: true}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is confirmed: a rollback comes back to it\n", version)
	})
}

func fetchedText(w io.Writer, r client.Result) {
	switch r.Decision {
	case channel.Update:
		fmt.Fprintf(w, "installed %s %s%s\n", r.App, r.Version, former(r))
	case channel.Rollback:
		fmt.Fprintf(w, "went back to %s %s\n", r.App, r.Version)
	case channel.BuiltIn:
		fmt.Fprintf(w, "%s goes back to what its native app came with\n", r.App)
	case channel.UpToDate:
		fmt.Fprintf(w, "%s %s is up to date\n", r.App, r.Version)
	default:
		fmt.Fprintf(w, "%s stays as it is: %s\n", r.App, whyNot(r.Reason))
	}
	var pairs []string
	if r.Bundle != nil {
		pairs = append(pairs, "bundle", r.Bundle.String(), "files", r.Path)
	}
	if r.Requests > 0 {
		received := fmt.Sprintf("%s in %s", human(r.BytesReceived), count(r.Requests, "request"))
		switch {
		case r.Patched:
			received += ", as a patch"
		case r.Encoding == "identity":
			received += ", the full archive, not compressed"
		case r.Encoding != "":
			received += ", the full archive as " + r.Encoding
		}
		if r.Parts > 0 {
			received += fmt.Sprintf(", in %d parts at once", r.Parts)
		}
		if r.Resumed {
			received += ", going on with an earlier download"
		}
		pairs = append(pairs, "received", received)
	}
	if r.SignedAge >= 24*time.Hour {
		pairs = append(pairs, "signed", fmt.Sprintf("the manifest was last sent and checked %d days ago",
			r.SignedAge/(24*time.Hour)))
	}
	facts(w, append(pairs, "sequence", fmt.Sprint(r.Sequence), "time", seconds(r.DurationMS))...)
}

func former(r client.Result) string {
	if r.Previous == "" {
		return ""
	}
	return fmt.Sprintf(", and keeps %s to go back to", r.Previous)
}

// whyNot tells people why a device gets nothing.
func whyNot(reason string) string {
	switch channel.Reason(reason) {
	case channel.ReasonExpired:
		return "the channel manifest has expired"
	case channel.ReasonNativeTooOld:
		return "the release wants a newer native app"
	case channel.ReasonNativeTooNew:
		return "the release wants an older native app"
	case channel.ReasonNativeUnknown:
		return "the native version decides, and the one of the device is no version"
	case channel.ReasonUnderNative:
		return "the release is below the version of the native app"
	case channel.ReasonAhead:
		return "it runs a higher version than the channel serves"
	case channel.ReasonNotInRollout:
		return "the release is rolled out to other devices first"
	case channel.ReasonStep:
		return "the release is a larger step than the channel takes"
	case channel.ReasonMisconfigured:
		return "the channel takes every step from a version of the native app on, and does not say which"
	case channel.ReasonVersionUnknown:
		return "the channel bounds the steps, and what the device runs is no version"
	case channel.ReasonPrivate:
		return "the channel is private, and does not name the device"
	case channel.ReasonPlatform:
		return "the channel is for other platforms"
	case channel.ReasonEmulator:
		return "the channel is not for emulators"
	case channel.ReasonDevice:
		return "the channel is for emulators only"
	case channel.ReasonDevelopment:
		return "the channel is not for development builds"
	case channel.ReasonProduction:
		return "the channel is for development builds only"
	case client.ReasonRolledBackHere:
		return "what the channel serves was rolled back on this device"
	}
	return reason
}
