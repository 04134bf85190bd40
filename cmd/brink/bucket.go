package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/origin/bucket"
	"brink/publish"
)

// originFlags say which origin to publish to, in the place of a node.
type originFlags struct {
	url   string
	trust string
}

func (o *originFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.url, "origin", "",
		"`URL` of a bucket to publish to while no node runs: s3://BUCKET/PREFIX?endpoint=…&region=…&style=path")
	flags.StringVar(&o.trust, "trust", "",
		"`FILE` of the org's trust document, for --origin: put there unless it has this or a later one")
}

// choose returns where to publish to, and what to do when that is done. What the command line names counts; when only
// the environment or the file of settings do, the node, which writes to its own origin what is published to it.
func (o *originFlags) choose(
	sh *shell, cmd *cobra.Command, node string, dryRun bool,
) (config publish.Config, done func(), err error) {
	typed := func(name string) bool {
		return slices.ContainsFunc(sh.sources, func(s setting) bool { return s.Name == name && s.Source == "flag" })
	}
	switch {
	case o.url == "" && node == "":
		usage := &usageError{message: "--node missing", hint: "name a node to publish to, or a bucket with --origin"}
		return config, nil, usage.of(cmd)
	case typed("node") && typed("origin"):
		usage := &usageError{message: "--node and --origin are both given", hint: "a release is published to one of them"}
		return config, nil, usage.of(cmd)
	case node != "" && !typed("origin"):
		return publish.Config{Node: node}, func() {}, checkNodes(cmd, node)
	}
	place, err := o.open(cmd.Context(), dryRun)
	if err != nil {
		return config, nil, err
	}
	return publish.Config{Origin: place}, func() { _ = place.Close() }, nil // it only lets go of connections
}

// open returns the origin as a place to publish to. Close it.
func (o *originFlags) open(ctx context.Context, dryRun bool) (*originPlace, error) {
	p := &originPlace{dryRun: dryRun}
	if o.trust != "" {
		raw, err := readFile(o.trust, channel.MaxTrust)
		if err != nil {
			return nil, err
		}
		if p.given, err = channel.ParseTrust(raw, time.Now()); err != nil {
			return nil, fmt.Errorf("%s: %w", o.trust, err)
		}
	}
	var err error
	if p.Bucket, err = bucket.Open(ctx, o.url, bucket.Config{}); err != nil {
		return nil, &usageError{message: err.Error()}
	}
	return p, nil
}

// originPlace lets package publish write to a bucket.
type originPlace struct {
	*bucket.Bucket

	given  *channel.Trust // by flag; nil: the bucket's word is taken, as a node's would be
	dryRun bool
	near   []digest.Digest // bundles of the channels that were looked at
}

var _ publish.Origin = (*originPlace)(nil)

// Trust returns the trust document that was given, or a later one in the bucket to which its roots agreed.
func (p *originPlace) Trust(ctx context.Context, app string) ([]byte, error) {
	if p.given == nil {
		return p.find(ctx, app)
	}
	raw, err := p.Bucket.Trust(ctx, p.given.Org())
	if err == nil {
		if later, err := p.given.Accept(raw, time.Now()); err == nil {
			return later.Raw(), nil
		}
	} else if !errors.Is(err, bucket.ErrNotFound) {
		return nil, err
	}
	if p.dryRun {
		return p.given.Raw(), nil
	}
	return p.given.Raw(), p.PutTrust(ctx, p.given.Raw())
}

// find looks for the org that claims the app.
func (p *originPlace) find(ctx context.Context, app string) ([]byte, error) {
	catalog, err := p.Catalog(ctx)
	if err != nil {
		return nil, err
	}
	var found *channel.Trust
	for _, org := range catalog.Orgs {
		raw, err := p.Bucket.Trust(ctx, org)
		if err != nil {
			return nil, err
		}
		trust, err := channel.LoadTrust(raw)
		switch {
		case err != nil:
			return nil, fmt.Errorf("trust document of %s: %w", org, err)
		case !trust.Apps(app):
		case found != nil:
			return nil, withHint(fmt.Errorf("orgs %s and %s both claim the app", found.Org(), org),
				"say whose it is with --trust FILE")
		default:
			found = trust
		}
	}
	if found == nil {
		return nil, withHint(fmt.Errorf("no org in %s claims the app", p.Name()),
			"give the org's trust document with --trust FILE, and it is put there")
	}
	return found.Raw(), nil
}

// Manifest implements [publish.Origin].
func (p *originPlace) Manifest(ctx context.Context, app, name string) ([]byte, error) {
	raw, _, err := p.Bucket.Manifest(ctx, app, name, "")
	if errors.Is(err, bucket.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if m, err := channel.ParseManifest(raw); err == nil {
		for id := range m.Needs() {
			p.near = append(p.near, id)
		}
		for release := range m.Releases() {
			p.near = append(p.near, release.Bundle)
		}
	}
	return raw, nil
}

// Upload implements [publish.Origin].
func (p *originPlace) Upload(
	ctx context.Context, ix *bundle.Index, intent []byte, dryRun bool, frame publish.Frame,
) (publish.Uploaded, error) {
	sent, err := p.PutBundle(ctx, bucket.Upload{Index: ix, Intent: intent, Near: p.near, Frame: frame, DryRun: dryRun})
	return publish.Uploaded{Chunks: sent.Chunks, Bytes: sent.Bytes}, err
}

// Move implements [publish.Origin].
func (p *originPlace) Move(ctx context.Context, m *channel.Manifest) error {
	err := p.PutManifest(ctx, m)
	if errors.Is(err, bucket.ErrConflict) || errors.Is(err, bucket.ErrSuperseded) {
		return fmt.Errorf("%w: %w", publish.ErrConflict, err)
	}
	return err
}

// originReport says what an error of a bucket is for programs.
func originReport(e *bucket.Error) report {
	r := report{Code: "failed", Hint: e.Hint(), exit: exitFailure}
	for _, kind := range []struct {
		err  error
		code string
		exit int
	}{
		{bucket.ErrUnavailable, "unreachable", exitUnreachable},
		{bucket.ErrNotFound, "not_found", exitNotFound},
		{bucket.ErrNoBucket, "no_bucket", exitNotFound},
		{bucket.ErrCredentials, "bad_credentials", exitRefused},
		{bucket.ErrDenied, "access_denied", exitRefused},
		{bucket.ErrClock, "clock_skew", exitRefused},
		{bucket.ErrReadOnly, "read_only", exitRefused},
		{bucket.ErrFull, "quota_exceeded", exitRefused},
		{bucket.ErrMalformed, "damaged", exitDamaged},
	} {
		if errors.Is(e, kind.err) {
			r.Code, r.exit = kind.code, kind.exit
			break
		}
	}
	return r
}
