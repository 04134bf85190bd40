package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/origin/bucket"
	"brink/publish"
)

// originFlags name the origin to publish to instead of a node.
type originFlags struct{ url string }

func (o *originFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.url, "origin", "",
		"`URL` of a bucket to publish to instead of a node: s3://BUCKET/PREFIX?endpoint=…&region=…&style=path")
}

// choose returns a configuration that publishes to the node or the origin, and a function to call when done. A flag on
// the command line takes precedence. If both come from the environment or the file, the node does: it writes what is
// published to its own origin.
func (o *originFlags) choose(
	sh *shell, cmd *cobra.Command, node string,
) (config publish.Config, done func(), err error) {
	typed := func(name string) bool {
		return slices.ContainsFunc(sh.sources, func(s setting) bool { return s.Name == name && s.Source == "flag" })
	}
	switch {
	case o.url == "" && node == "":
		usage := &usageError{message: "--node missing", hint: "publish to a node with --node, or to a bucket with --origin"}
		return config, nil, usage.of(cmd)
	case typed("node") && typed("origin"):
		usage := &usageError{message: "--node and --origin exclude each other", hint: "publish to one of them"}
		return config, nil, usage.of(cmd)
	case node != "" && !typed("origin"):
		return publish.Config{Node: node}, func() {}, checkNodes(cmd, node)
	}
	b, err := bucket.Open(cmd.Context(), o.url, bucket.Config{})
	if err != nil {
		return config, nil, &usageError{message: err.Error()}
	}
	return publish.Config{Origin: &originPlace{Bucket: b}}, func() { _ = b.Close() }, nil // it only closes connections
}

// originPlace implements [publish.Origin] for a bucket.
type originPlace struct {
	*bucket.Bucket

	near []digest.Digest // bundles of the channels whose manifests were loaded
}

var _ publish.Origin = (*originPlace)(nil)

// Trust implements [publish.Origin].
func (p *originPlace) Trust(ctx context.Context, org string) ([]byte, error) {
	return ifThere(p.Bucket.Trust(ctx, org))
}

// TrustVersion implements [publish.Origin].
func (p *originPlace) TrustVersion(ctx context.Context, org string, version uint64) ([]byte, error) {
	return ifThere(p.Bucket.TrustVersion(ctx, org, version))
}

// Channels implements [publish.Origin].
func (p *originPlace) Channels(ctx context.Context) (all []publish.Place, err error) {
	catalog, err := p.Catalog(ctx)
	for _, one := range catalog.Channels {
		all = append(all, publish.Place(one))
	}
	return all, err
}

// ifThere returns nil for an object that does not exist.
func ifThere(raw []byte, err error) ([]byte, error) {
	if errors.Is(err, bucket.ErrNotFound) {
		return nil, nil
	}
	return raw, err
}

// Manifest implements [publish.Origin].
func (p *originPlace) Manifest(ctx context.Context, app, name string) ([]byte, error) {
	raw, _, err := p.Bucket.Manifest(ctx, app, name, "")
	if raw, err = ifThere(raw, err); raw == nil {
		return nil, err
	}
	if m, err := channel.ParseManifest(raw); err == nil {
		for id := range m.RequiredBundles() {
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

// originReport returns the report for an error of a bucket.
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
		{bucket.ErrRegion, "wrong_region", exitUsage},
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
