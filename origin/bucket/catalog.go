package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"brink/channel"
)

// Catalog returns the names of all orgs and channels. It lists the bucket where that can be done and is allowed; else
// it reads catalog.json, which everybody who writes keeps. A bucket that nothing was written to has an empty one.
func (b *Bucket) Catalog(ctx context.Context) (Catalog, error) {
	c, err := b.list(ctx)
	if !errors.Is(err, ErrDenied) {
		return c, err
	}
	raw, _, err := b.read(ctx, catalogKey, "", maxCatalog)
	if errors.Is(err, ErrNotFound) {
		return Catalog{Schema: catalogSchema}, nil
	}
	if err != nil {
		return Catalog{}, err
	}
	if c, err = parseCatalog(raw); err != nil {
		return Catalog{}, &Error{Op: "get", Key: catalogKey, Kind: ErrMalformed, Err: err}
	}
	return c, nil
}

// list makes a catalog by listing. Names that are none are somebody else's.
func (b *Bucket) list(ctx context.Context) (Catalog, error) {
	c := Catalog{Schema: catalogSchema}
	documents, err := b.objects.list(ctx, "trust/")
	if err != nil {
		return Catalog{}, err
	}
	for _, document := range documents {
		if org, ok := strings.CutSuffix(document, ".json"); ok && channel.CheckOrg(org) == nil {
			c.Orgs = append(c.Orgs, org)
		}
	}
	apps, err := b.objects.list(ctx, "channels/")
	if err != nil {
		return Catalog{}, err
	}
	for _, folder := range apps {
		app, ok := strings.CutSuffix(folder, "/")
		if !ok || channel.CheckApp(app) != nil {
			continue
		}
		channels, err := b.objects.list(ctx, "channels/"+folder)
		if err != nil {
			return Catalog{}, err
		}
		for _, folder := range channels {
			if name, ok := strings.CutSuffix(folder, "/"); ok && channel.CheckChannel(name) == nil {
				c.Channels = append(c.Channels, CatalogChannel{App: app, Channel: name})
			}
		}
	}
	c.sort()
	return c, nil
}

// enter adds names to catalog.json. One that cannot be read is made again by listing.
func (b *Bucket) enter(ctx context.Context, more Catalog) error {
	return b.update(ctx, catalogKey, maxCatalog, func(current []byte) ([]byte, error) {
		c := Catalog{Schema: catalogSchema}
		had := -1
		if current != nil {
			now, err := parseCatalog(current)
			if err == nil {
				had = len(now.Orgs) + len(now.Channels)
			} else if now, err = b.list(ctx); err != nil && !errors.Is(err, ErrDenied) {
				return nil, err
			}
			c.Orgs, c.Channels = now.Orgs, now.Channels
		}
		c.Orgs, c.Channels = append(c.Orgs, more.Orgs...), append(c.Channels, more.Channels...)
		if c.sort(); len(c.Orgs)+len(c.Channels) == had {
			return nil, errSame
		}
		return json.MarshalIndent(c, "", " ")
	})
}
