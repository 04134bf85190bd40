package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"brink/publish"
)

func publishCommand(sh *shell) *cobra.Command {
	var sign signFlags
	var r publish.Request
	var rollout rolloutFlags
	attach := newAttachmentFlags()
	attachments, examples := attach.help()
	var native []string
	var replicas replicaFlags
	cmd := verb("publish DIR", "Publish a folder as a release of an app",
		`The files in DIR become a bundle, the bundle becomes a release, and the channel serves it from then on. Only chunks
that the node lacks are sent. When publish returns, the release is durable on the node. It is safe to repeat: if the
channel serves the release already, nothing changes. If two publishers change a channel at the same time, one of
them fails with exit code 4. Data from the node is accepted only if the trust document (--trust) allows it.

Everybody can download what is published. Private keys are refused, and publish warns of source maps, files that often
contain secrets, repositories, and a missing index.html.
`+attachments,
		`
  brink publish ./www --node http://127.0.0.1:8080 --key ci.key --trust acme.trust.json \
      --app com.acme.shop --version 1.0.0 --channel production
  brink publish ./www --exclude '*.map' --version 1.0.1 --dry-run      all other settings in brink.yaml or BRINK_*
  brink publish ./www --version 1.1.0 --percent 5 …                    with a rollout: see brink channel rollout
  brink publish ./www --origin s3://acme-ota --trust acme.trust.json … to a bucket instead of a node`+examples,
		func(cmd *cobra.Command, args []string) error {
			r.Dir = args[0]
			limits, err := nativeLimits(native)
			if err != nil {
				return (&usageError{message: err.Error()}).of(cmd)
			}
			r.Native = limits
			if rollout.given(cmd) {
				if r.Restart {
					return (&usageError{message: "--restart excludes --percent, --starts and --ends"}).of(cmd)
				}
				to := rollout.apply(cmd, nil)
				r.Rollout = &to
			}
			if err := attach.apply(sh, cmd, &r); err != nil {
				return err
			}
			p, err := sh.signer(cmd, &sign, replicas.apply)
			if err != nil {
				return err
			}
			defer p.close()
			r.DryRun = sign.dryRun
			r.Warn = func(w publish.Warning) { sh.warn(&folderWarning{w}) }
			result, err := p.Publish(cmd.Context(), r)
			p.meter.done()
			if err != nil {
				return err
			}
			return sh.show(result, func(w io.Writer) { publishedText(w, "published", result) })
		})
	cmd.Args = args("DIR")
	flags := cmd.Flags()
	sign.add(cmd)
	replicas.add(cmd)
	flags.StringVar(&r.App, "app", "", "`NAME` of the app, such as com.acme.shop")
	flags.StringVar(&r.Version, "version", "", "semantic `VERSION`, such as 1.4.0")
	flags.StringVar(&r.Channel, "channel", "", "`NAME` of the channel, such as production")
	excludeFlag(cmd, &r.Exclude)
	flags.BoolVar(&r.ExcludeWarned, "exclude-warned", false,
		"exclude files that publish warns of by their names: source maps, .env, .git, keys and the like")
	flags.BoolVar(&r.AllowPrivateKeys, "allow-private-keys", false, "publish a folder that contains private keys")
	flags.StringVar(&r.Link, "link", "", "`URL` of a page about the release")
	flags.StringVar(&r.Comment, "comment", "", "`TEXT` that describes the release")
	flags.BoolVar(&r.Restart, "restart", false,
		"start the channel over if its manifest is signed by a key that was removed, continuing its sequence")
	flags.Uint64Var(&r.Above, "above", 0,
		"start a lost channel over, above the last `SEQUENCE` that devices have seen")
	flags.StringArrayVar(&native, "native", nil,
		"`PLATFORM=MIN..MAX`: versions of the native app that can run it, such as ios=1.4.0.. (repeatable)")
	flags.BoolVar(&r.Mandatory, "mandatory", false, "ask apps to install the release before they continue")
	rollout.add(cmd)
	attach.add(cmd)
	required(cmd, "app", "version", "channel")
	sh.printsJSON(cmd)
	return cmd
}

func keyFlag(cmd *cobra.Command, keys *[]string) {
	signingFlag(cmd, keys, "key", "private `KEY` that signs: "+secretSources+" (repeatable, for a threshold)")
}

func dryRunFlag(cmd *cobra.Command, dryRun *bool) {
	cmd.Flags().BoolVar(dryRun, "dry-run", false, "show what would happen, and change nothing")
}

// publishedText prints the result of publishing.
func publishedText(w io.Writer, did string, r publish.Result) {
	switch {
	case r.HalfSigned:
		fmt.Fprintf(w, "nothing has changed: %s of %s needs more signatures to serve %s\n", r.Channel, r.App, r.Version)
		fmt.Fprintln(w, halfSignedHint)
	case r.Unchanged:
		fmt.Fprintf(w, "nothing to do: %s serves %s %s already\n", r.Channel, r.App, r.Version)
	case r.DryRun:
		fmt.Fprintf(w, "dry run, nothing has changed: %s would serve %s %s\n", r.Channel, r.App, r.Version)
	default:
		fmt.Fprintf(w, "%s %s %s: %s serves it now\n", did, r.App, r.Version, r.Channel)
	}
	pairs := []string{
		"bundle", r.Bundle.String(),
		"files", fmt.Sprintf("%s, an archive of %s", count(r.Files, "file"), human(r.Bytes)),
	}
	if r.Chunks > 0 {
		sent := fmt.Sprintf("%s of %s, %s in all", grouped(int64(r.ChunksSent)), count(r.Chunks, "chunk"), human(r.BytesSent))
		if r.DryRun {
			sent = fmt.Sprintf("%s of %s would be sent", grouped(int64(r.ChunksSent)), count(r.Chunks, "chunk"))
		}
		pairs = append(pairs, "sent", sent)
	}
	pairs = append(pairs, attachmentFacts(r)...)
	if r.Rollout != nil {
		pairs = append(pairs, "rollout", rolloutText(*r.Rollout, r.BuiltIn))
	}
	pairs = append(pairs, servesPairs(r.Serves)...)
	pairs = append(pairs, expiresPairs(r.Expires)...)
	if len(r.Replicas) > 0 {
		pairs = append(pairs, "durable on", replicasText(r.Replicas))
	}
	pairs = append(pairs, "sequence", fmt.Sprint(r.Sequence), "time", seconds(r.DurationMS))
	facts(w, pairs...)
}

// seconds formats a number of milliseconds for display.
func seconds(ms float64) string {
	if ms < 1000 {
		return fmt.Sprintf("%.0f ms", ms)
	}
	if ms < 100_000 {
		return fmt.Sprintf("%.2f s", ms/1000)
	}
	return (time.Duration(ms) * time.Millisecond).Round(time.Second).String()
}
