package bucket

import (
	"encoding/json"
	"fmt"
	"slices"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
)

// Keys of objects, below the prefix.

func bundleKey(id digest.Digest, what string) string { return "bundles/" + id.String() + "/" + what }

func packKey(d digest.Digest) string { return "packs/" + d.String() }

func channelKey(app, name, what string) string { return "channels/" + app + "/" + name + "/" + what }

// sequenceKey returns a key with twenty digits, so that keys sort by number, and a renewal after what it renews.
func sequenceKey(m *channel.Manifest) string {
	if m.Renewal() > 0 {
		return channelKey(m.App, m.Channel, fmt.Sprintf("%020d.r%04d.json", m.Sequence, m.Renewal()))
	}
	return channelKey(m.App, m.Channel, fmt.Sprintf("%020d.json", m.Sequence))
}

func trustKey(org string) string { return "trust/" + org + ".json" }

func trustVersionKey(org string, version uint64) string {
	return fmt.Sprintf("trust/%s/%020d.json", org, version)
}

const (
	indexName   = "index.json"
	intentName  = "intent.json"
	mapName     = "map.json"
	currentName = "current.json"
	catalogKey  = "catalog.json"
)

// Bounds of what is read, in bytes.
const (
	maxMap     = bundle.MaxIndex
	maxIntent  = channel.MaxIntent
	maxCatalog = 16 << 20
)

// mapLimit returns the bound of the map of a bundle whose encoded index has at most that many bytes. A chunk takes up
// to twice as many bytes in the map as in the index.
func mapLimit(index int64) int64 { return min(maxMap, 4*index+64<<10) }

// mapSchema and catalogSchema are the schema numbers that this version reads and writes.
const (
	mapSchema     = 1
	catalogSchema = 1
)

// chunkMap has the locations of the chunks of a bundle.
type chunkMap struct {
	Schema int           `json:"schema"`
	Bundle digest.Digest `json:"bundle"`
	Packs  digest.List   `json:"packs"` // digests of their bytes
	Chunks []location    `json:"chunks"`
}

// location is the location of one chunk: the bytes of its frame in a chunk stream, including the header.
type location struct {
	Digest digest.Digest `json:"digest"`
	Pack   int           `json:"pack"`   // index in Packs
	Offset int64         `json:"offset"` // bytes, from the start of the pack
	Length int64         `json:"length"` // bytes
}

// minLocation is the least length of an encoded location, in bytes.
const minLocation = digest.TextSize + len(`{"digest":"","pack":0,"offset":8,"length":1}`)

// UnmarshalJSON refuses an object that is too short, so that decoding a list allocates only a small multiple of its
// bytes.
func (l *location) UnmarshalJSON(raw []byte) error {
	if len(raw) < minLocation {
		return fmt.Errorf("%w: a chunk without a location", ErrMalformed)
	}
	type fields location
	return json.Unmarshal(raw, (*fields)(l))
}

func (l location) end() int64 { return l.Offset + l.Length }

// A pack is a chunk stream, see bundle.StreamWriter: its magic, then frames, each with a header, then its end.
const (
	packMagic   = "brinkch1"
	frameHeader = 1 + 1 + 4 + 4 + digest.Size // bytes before a frame's data
	maxFrame    = frameHeader + bundle.MaxFrame
	maxPack     = 1 << 40 // bytes: more than any bundle, so that offsets can be added
)

// parseMap parses the map of a bundle and checks that it is safe to use. Whether it is right is only known when the
// chunks are read and verified.
func parseMap(raw []byte, id digest.Digest) (*chunkMap, error) {
	var m chunkMap
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	switch {
	case m.Schema != mapSchema:
		return nil, fmt.Errorf("%w: schema %d is not supported, want %d", ErrMalformed, m.Schema, mapSchema)
	case m.Bundle != id:
		return nil, fmt.Errorf("%w: it is of bundle %s", ErrMalformed, m.Bundle.Short())
	}
	for _, l := range m.Chunks {
		if l.Pack < 0 || l.Pack >= len(m.Packs) || l.Offset < int64(len(packMagic)) || l.Offset > maxPack ||
			l.Length <= frameHeader || l.Length > maxFrame {
			return nil, fmt.Errorf("%w: chunk %s has an invalid location", ErrMalformed, l.Digest.Short())
		}
	}
	return &m, nil
}

// Catalog lists the orgs and channels in a bucket, for clients that cannot list it.
type Catalog struct {
	Schema   int              `json:"schema"`
	Orgs     []string         `json:"orgs"`     // that have a trust document; sorted
	Channels []CatalogChannel `json:"channels"` // sorted by app and channel
}

// CatalogChannel is a channel to which something was published.
type CatalogChannel struct {
	App     string `json:"app"`
	Channel string `json:"channel"`
}

// UnmarshalJSON refuses an object that is too short, as that of location does.
func (c *CatalogChannel) UnmarshalJSON(raw []byte) error {
	if len(raw) < len(`{"app":"a","channel":"b"}`) {
		return fmt.Errorf("%w: a channel without a name", ErrMalformed)
	}
	type fields CatalogChannel
	return json.Unmarshal(raw, (*fields)(c))
}

// parseCatalog parses a catalog. The names in it are safe to use in keys.
func parseCatalog(raw []byte) (Catalog, error) {
	var c Catalog
	if err := json.Unmarshal(raw, &c); err != nil {
		return Catalog{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if c.Schema != catalogSchema {
		return Catalog{}, fmt.Errorf("%w: schema %d is not supported, want %d", ErrMalformed, c.Schema, catalogSchema)
	}
	for _, org := range c.Orgs {
		if err := channel.CheckOrg(org); err != nil {
			return Catalog{}, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	for _, one := range c.Channels {
		if err := checkNames(one.App, one.Channel); err != nil {
			return Catalog{}, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	c.sort()
	return c, nil
}

func (c *Catalog) sort() {
	slices.Sort(c.Orgs)
	c.Orgs = slices.Compact(c.Orgs)
	slices.SortFunc(c.Channels, compareChannels)
	c.Channels = slices.Compact(c.Channels)
}

func compareChannels(a, b CatalogChannel) int {
	return slices.Compare([]string{a.App, a.Channel}, []string{b.App, b.Channel})
}

func checkNames(app, name string) error {
	if err := channel.CheckApp(app); err != nil {
		return err
	}
	return channel.CheckChannel(name)
}
