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
	cmd := verb("fetch DIR", "Update a folder to the release of a channel, as a device does",
		`DIR/current is a symbolic link to the files of the installed release. It is switched atomically, after all files are
written and verified. On Windows, and where links are not permitted, there is no link: the folder with the files is
printed, and is "path" with --json.

Only manifests signed by the keys of the trust document are accepted. The previous release is kept for --rollback.
Interrupted downloads resume, and the folder always has a complete release, even if the program is killed. With
several --node flags the nearest node is used first, and the others when it fails.`,
		`
  brink fetch ./device --node http://127.0.0.1:8080 --app com.acme.shop --channel production --trust acme.trust.json
  brink fetch ./device … --trial         keep the last confirmed release until --confirm confirms this one
  brink fetch ./device … --rollback      go back to the previous release, without a network`,
		func(cmd *cobra.Command, args []string) error {
			if err := checkNodes(cmd, c.Nodes...); err != nil {
				return err
			}
			if rollback && confirm {
				return (&usageError{message: "--rollback and --confirm exclude each other"}).of(cmd)
			}
			raw, err := readTrust(trust)
			if err != nil {
				return withHint(err, "get the trust document from the publisher of the app")
			}
			c.Dir, c.Trust, c.Confirm = args[0], raw, !trial
			c.Eager = true // a user waits
			c.Device.Platform = channel.Platform(platform)
			if len(c.Nodes) == 0 && !rollback && !confirm {
				return (&usageError{message: "--node missing: only --rollback and --confirm need none"}).of(cmd)
			}
			return sh.fetch(cmd, c, rollback, confirm)
		})
	cmd.Args = args("DIR")
	flags := cmd.Flags()
	flags.StringArrayVar(&c.Nodes, "node", nil,
		"`URL` of a node (repeatable: the nearest is used first, others when it fails)")
	flags.StringVar(&c.App, "app", "", "`NAME` of the app")
	flags.StringVar(&c.Channel, "channel", "", "`NAME` of the channel")
	flags.StringVar(&trust, "trust", "", "the org's trust document, a `FILE` or its content")
	flags.StringVar(&c.Device.ID, "device-id", "", "`ID` of the device")
	flags.StringVar(&c.Device.Custom, "custom-id", "", "`ID` that the app gave the device")
	flags.StringVar(&platform, "platform", "", "`NAME` of the platform: ios, android, electron, web or any other")
	flags.StringVar(&c.Device.Native, "native-version", "", "`VERSION` of the native app around the bundle")
	flags.BoolVar(&c.Device.Emulator, "emulator", false, "the device is an emulator")
	flags.BoolVar(&c.Device.Development, "development", false, "its native app is a development build")
	flags.IntVar(&c.Connections, "connections", client.DefaultConnections,
		"maximum `NUMBER` of parallel connections for one archive; 1 causes the least load on a node")
	flags.BoolVar(&rollback, "rollback", false,
		"go back to the previous release, and do not install the current one again")
	flags.BoolVar(&confirm, "confirm", false, "confirm that the installed release works")
	flags.BoolVar(&trial, "trial", false, "do not confirm the update yet: --confirm does so")
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
	Path      string `json:"path"` // of the folder with the files
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
		fmt.Fprintf(w, "%s is confirmed: a later rollback can go back to it\n", version)
	})
}

func fetchedText(w io.Writer, r client.Result) {
	switch r.Decision {
	case channel.Update:
		fmt.Fprintf(w, "installed %s %s%s\n", r.App, r.Version, former(r))
	case channel.Rollback:
		fmt.Fprintf(w, "went back to %s %s\n", r.App, r.Version)
	case channel.BuiltIn:
		fmt.Fprintf(w, "%s goes back to the bundle built into its native app\n", r.App)
	case channel.UpToDate:
		fmt.Fprintf(w, "%s %s is up to date\n", r.App, r.Version)
	default:
		fmt.Fprintf(w, "no update for %s: %s\n", r.App, whyNot(r.Reason))
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
			received += fmt.Sprintf(", in %d parallel parts", r.Parts)
		}
		if r.Resumed {
			received += ", resuming an earlier download"
		}
		pairs = append(pairs, "received", received)
	}
	if r.SignedAge >= 24*time.Hour {
		pairs = append(pairs, "signed", fmt.Sprintf("the manifest was last received and verified %d days ago",
			r.SignedAge/(24*time.Hour)))
	}
	facts(w, append(pairs, "sequence", fmt.Sprint(r.Sequence), "time", seconds(r.DurationMS))...)
}

func former(r client.Result) string {
	if r.Previous == "" {
		return ""
	}
	return fmt.Sprintf(", and keeps %s for a rollback", r.Previous)
}

// whyNot describes why a device gets no update.
func whyNot(reason string) string {
	switch channel.Reason(reason) {
	case channel.ReasonExpired:
		return "the channel manifest has expired"
	case channel.ReasonNeedsUpdate:
		return "the channel manifest uses a feature that this version of the program does not know: update it"
	case channel.ReasonNativeTooOld:
		return "the release requires a newer native app"
	case channel.ReasonNativeTooNew:
		return "the release requires an older native app"
	case channel.ReasonNativeUnknown:
		return "the release depends on the native version, and the device reports no valid one"
	case channel.ReasonUnderNative:
		return "the release is below the version of the native app"
	case channel.ReasonAhead:
		return "it runs a higher version than the channel serves"
	case channel.ReasonNotInRollout:
		return "the release is rolled out to other devices first"
	case channel.ReasonStep:
		return "the release is a larger step than the channel allows"
	case channel.ReasonMisconfigured:
		return "the channel requires a minimum version of the native app, but does not set one"
	case channel.ReasonVersionUnknown:
		return "the channel limits the step of updates, and the version that the device runs is not a valid version"
	case channel.ReasonPrivate:
		return "the channel is private, and the device has no override"
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
		return "the release of the channel was rolled back on this device"
	}
	return reason
}
