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
	cmd := verb("renew", "Let channel manifests be good for longer, and change nothing else",
		`A manifest expires so that nobody can go on handing out an old one. This verb is for cron: it renews the manifests
that end soon and leaves the others as they are. A key of a role that may do nothing else suffices (brink org new
--renewer); what it signs cannot change what a channel serves, nor bring back what it served before. Without --app
it renews all apps of the trust document's org, as far as the key may renew them; --app and --channel pick some.
A channel that cannot be renewed does not keep the others from it: it is told of, and the exit code is that of the
first.`,
		`
  brink channel renew --node http://127.0.0.1:8080 --key cron.key --trust acme.trust.json
  brink channel renew --app com.acme.shop --app com.acme.till --channel production --within 30d --expires 90d …`,
		func(cmd *cobra.Command, _ []string) error {
			p, err := sh.signer(cmd, &sign, func(c *publish.Config) { c.Progress = nil }) // it tells of single channels
			if err != nil {
				return err
			}
			defer p.end()
			p.meter.items = true
			r := renewing{signer: p, within: dueWithin(within), dryRun: sign.dryRun}
			if err := r.choose(cmd.Context(), apps, channels); err != nil {
				return err
			}
			if err := r.all(cmd.Context()); err != nil {
				return err
			}
			if err := sh.show(r.results, r.text); err != nil {
				return err
			}
			return r.failed()
		})
	sign.addWithoutHalf(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&apps, "app", nil, "`NAME` of an app (repeatable; default: all of the org)")
	flags.StringArrayVar(&channels, "channel", nil, "`NAME` of a channel (repeatable; default: all of each app)")
	within = life(45 * 24 * time.Hour)
	flags.Var(&within, "within", "renew what ends within this time; never: whenever it ends")
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

// renewal is what became of one channel.
type renewal struct {
	publish.Renewed

	Error *report `json:"error,omitempty"` // nil: it is good for long enough now
}

// choose fills in which channels to renew. What was asked for and is not there is a failure of its own.
func (r *renewing) choose(ctx context.Context, apps, channels []string) error {
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

// all renews one channel after the other. Only an interrupt ends it early.
func (r *renewing) all(ctx context.Context) error {
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
	told := describe(err)
	r.errs = append(r.errs, err)
	r.results = append(r.results, renewal{
		Renewed: publish.Renewed{App: at.App, Channel: at.Channel, DryRun: r.dryRun}, Error: &told,
	})
}

// failed returns an error if a channel could not be renewed. It is of the kind of the first one.
func (r *renewing) failed() error {
	if len(r.errs) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %s failed: %w", len(r.errs), count(len(r.results), "renewal"), r.errs[0])
}

// dueWithin returns how near its end a manifest has to be to be renewed.
func dueWithin(within life) time.Duration {
	if time.Duration(within) == publish.Forever {
		return math.MaxInt64
	}
	return time.Duration(within)
}

func (r *renewing) text(w io.Writer) {
	if len(r.results) == 0 {
		fmt.Fprintln(w, "nothing was published yet to a channel that the key may renew")
		return
	}
	t := newTable("lllrl", "APP", "CHANNEL", "EXPIRES", "RENEWAL", "")
	for _, one := range r.results {
		if one.Error != nil {
			t.add(one.App, one.Channel, "", "", "failed: "+one.Error.Message)
			continue
		}
		expires, what := "never", "renewed"
		if !one.Expires.IsZero() {
			expires = moment(one.Expires)
		}
		switch {
		case one.Skipped:
			what = "not due"
		case one.DryRun:
			what = "would be renewed"
		}
		t.add(one.App, one.Channel, expires, fmt.Sprint(one.Renewal), what)
	}
	t.write(w)
}
