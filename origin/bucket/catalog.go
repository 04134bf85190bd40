package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"brink/channel"
)

// Catalog returns the names of all orgs and channels. It lists the bucket if the store allows it, and otherwise reads
// catalog.json, which all writers update. The catalog of an empty bucket is empty.
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

// list builds a catalog by listing the bucket. It ignores objects with other names.
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

// addToCatalog adds names to catalog.json. If that is malformed, it is built again by listing.
func (b *Bucket) addToCatalog(ctx context.Context, more Catalog) error {
	return b.update(ctx, catalogKey, maxCatalog, func(current []byte) ([]byte, error) {
		c := Catalog{Schema: catalogSchema}
		former := -1
		if current != nil {
			now, err := parseCatalog(current)
			if err == nil {
				former = len(now.Orgs) + len(now.Channels)
			} else if now, err = b.list(ctx); err != nil && !errors.Is(err, ErrDenied) {
				return nil, err
			}
			c.Orgs, c.Channels = now.Orgs, now.Channels
		}
		c.Orgs, c.Channels = append(c.Orgs, more.Orgs...), append(c.Channels, more.Channels...)
		if c.sort(); len(c.Orgs)+len(c.Channels) == former {
			return nil, errSame
		}
		return json.MarshalIndent(c, "", " ")
	})
}
