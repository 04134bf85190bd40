package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"brink/publish"
)

func channelRenewCommand(sh *shell) *cobra.Command {
	var sign signFlags
	var apps, channels []string
	var within life
	cmd := verb("renew", "Extend the validity of channel manifests, and change nothing else",
		`Manifests expire so that nobody can keep serving an old one. This verb is meant for cron: it renews the manifests
that expire soon and skips the others. A key of a role that may only renew is sufficient (brink org new --renewer): it
can neither change what a channel serves nor restore what it served before.

Without --app it renews all apps of the trust document's org that the key may renew; --app and --channel select some.
If a channel cannot be renewed, the others still are: the error is reported, and the exit code is that of the first.`,
		`
  brink channel renew --node http://127.0.0.1:8080 --key cron.key --trust acme.trust.json
  brink channel renew --app com.acme.shop --app com.acme.till --channel production --within 30d --expires 90d …`,
		func(cmd *cobra.Command, _ []string) error {
			// Progress would report each single channel; the meter counts channels instead.
			p, err := sh.signer(cmd, &sign, func(c *publish.Config) { c.Progress = nil })
			if err != nil {
				return err
			}
			defer p.close()
			p.meter.items = true
			r := renewing{signer: p, within: dueWithin(within), dryRun: sign.dryRun}
			if err := r.findPlaces(cmd.Context(), apps, channels); err != nil {
				return err
			}
			if err := r.renewAll(cmd.Context()); err != nil {
				return err
			}
			if err := sh.show(r.results, r.text); err != nil {
				return err
			}
			return r.err()
		})
	sign.addWithoutHalf(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&apps, "app", nil, "`NAME` of an app (repeatable; default: all of the org)")
	flags.StringArrayVar(&channels, "channel", nil, "`NAME` of a channel (repeatable; default: all of each app)")
	within = life(45 * 24 * time.Hour)
	flags.Var(&within, "within", "renew manifests that expire within this time; never: all of them")
	sh.printsJSON(cmd)
	return cmd
}

// renewing is one run of channel renew.
type renewing struct {
	*signer

	within  time.Duration
	dryRun  bool
	places  []publish.Place
	results []renewal
	errs    []error // of results, in their order
}

// renewal is the result for one channel.
type renewal struct {
	publish.Renewed

	Error *report `json:"error,omitempty"` // nil: it was renewed, or did not have to be
}

// findPlaces finds the channels to renew. Each requested app or channel that does not exist is recorded as a failure.
func (r *renewing) findPlaces(ctx context.Context, apps, channels []string) error {
	r.results = []renewal{}
	if len(apps) == 0 {
		all, err := r.Renewable(ctx)
		if err != nil {
			return err
		}
		r.places = all
		if len(channels) > 0 {
			r.places = slices.DeleteFunc(all, func(at publish.Place) bool { return !slices.Contains(channels, at.Channel) })
		}
		for _, name := range channels {
			if !slices.ContainsFunc(r.places, func(at publish.Place) bool { return at.Channel == name }) {
				r.fail(publish.Place{Channel: name}, fmt.Errorf("channel %s of all apps: %w", name, publish.ErrUnpublished))
			}
		}
		return nil
	}
	for _, app := range apps {
		names := channels
		if len(names) == 0 {
			var err error
			if names, err = r.Channels(ctx, app); err != nil {
				r.fail(publish.Place{App: app}, err)
			}
		}
		for _, name := range names {
			r.places = append(r.places, publish.Place{App: app, Channel: name})
		}
	}
	return ctx.Err()
}

// renewAll renews one channel after the other. Only an interrupt stops it early.
func (r *renewing) renewAll(ctx context.Context) error {
	for i, at := range r.places {
		r.meter.show("renewing", int64(i), int64(len(r.places)))
		renewed, err := r.Renew(ctx, at.App, at.Channel, r.within, r.dryRun)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.fail(at, err)
			continue
		}
		r.results = append(r.results, renewal{Renewed: renewed})
	}
	r.meter.done()
	return nil
}

func (r *renewing) fail(at publish.Place, err error) {
	problem := describe(err)
	r.errs = append(r.errs, err)
	r.results = append(r.results, renewal{
		Renewed: publish.Renewed{App: at.App, Channel: at.Channel, DryRun: r.dryRun}, Error: &problem,
	})
}

// err returns an error if a channel could not be renewed. It wraps the first failure.
func (r *renewing) err() error {
	if len(r.errs) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %s failed: %w", len(r.errs), count(len(r.results), "renewal"), r.errs[0])
}

// dueWithin returns how soon a manifest has to expire to be renewed.
func dueWithin(within life) time.Duration {
	if time.Duration(within) == publish.Forever {
		return math.MaxInt64
	}
	return time.Duration(within)
}

func (r *renewing) text(w io.Writer) {
	if len(r.results) == 0 {
		fmt.Fprintln(w, "nothing has been published yet to any channel that the key may renew")
		return
	}
	t := newTable("lllrl", "APP", "CHANNEL", "EXPIRES", "RENEWAL", "")
	for _, one := range r.results {
		if one.Error != nil {
			t.add(one.App, one.Channel, "", "", "failed: "+one.Error.Message)
			continue
		}
		expires, result := "never", "renewed"
		if !one.Expires.IsZero() {
			expires = moment(one.Expires)
		}
		switch {
		case one.Skipped:
			result = "not due"
		case one.DryRun:
			result = "would be renewed"
		}
		t.add(one.App, one.Channel, expires, fmt.Sprint(one.Renewal), result)
	}
	t.write(w)
}
