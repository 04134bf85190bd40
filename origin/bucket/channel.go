package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"brink/channel"
)

// tries is the number of attempts to change an object that others change at the same time. In each failed attempt
// another writer succeeded.
const tries = 16

// Manifest returns the signed manifest in force of a channel, unverified, and its tag. With the tag of an earlier call
// it returns [ErrNotModified] if nothing has changed. [ErrNotFound] means that nothing was published to the channel.
func (b *Bucket) Manifest(ctx context.Context, app, name, tag string) (raw []byte, newTag string, err error) {
	if err := checkNames(app, name); err != nil {
		return nil, "", err
	}
	return b.read(ctx, channelKey(app, name, currentName), tag, channel.MaxManifest)
}

// PutManifest puts a manifest, which was decoded from signed bytes, in force. Its bundles must be in the bucket before.
// Only one manifest can have a sequence: [ErrConflict] means that another one has it, or that one with other content is
// in force. [ErrSuperseded] means that this one was stored, but one with a higher sequence remains in force. It is
// idempotent.
//
// It needs conditional writes, If-None-Match and If-Match on PUT, which Amazon and most others support. For a store
// that refuses them as not implemented, PutManifest checks the condition just before each write. A store that ignores
// them is detected by writing the same object twice; the log then warns that two simultaneous publishers could both
// succeed. Readers prefer the higher sequence, so even then a channel does not go back.
func (b *Bucket) PutManifest(ctx context.Context, m *channel.Manifest) error {
	raw := m.Raw()
	if raw == nil {
		return errors.New("put manifest: it was not decoded from signed bytes")
	}
	if b.ReadOnly() {
		return &Error{Op: "put", Key: channelKey(m.App, m.Channel, currentName), Kind: ErrReadOnly}
	}
	key := sequenceKey(m)
	err := b.put(ctx, key, raw, condition{absent: true})
	switch {
	case errors.Is(err, errExists):
		stored, err := b.fetchSequence(ctx, m)
		if err != nil {
			return err
		}
		if stored.Statement() != m.Statement() {
			// Its writer may have crashed before it was in force. Put it in force, or publishers would never try the sequences
			// after it.
			if err := b.advance(ctx, stored); err != nil && !errors.Is(err, ErrSuperseded) {
				return err
			}
			return &Error{
				Op: "put", Key: key, Kind: ErrConflict,
				Err: fmt.Errorf("another manifest has sequence %d", m.Sequence),
			}
		}
	case err != nil:
		return err
	default:
		b.probe(ctx, key, raw)
	}
	if err := b.advance(ctx, m); err != nil {
		return err
	}
	return b.addToCatalog(ctx, Catalog{Channels: []CatalogChannel{{App: m.App, Channel: m.Channel}}})
}

// fetchSequence returns the manifest that has the sequence of m.
func (b *Bucket) fetchSequence(ctx context.Context, m *channel.Manifest) (*channel.Manifest, error) {
	key := sequenceKey(m)
	raw, _, err := b.read(ctx, key, "", channel.MaxManifest)
	if err != nil {
		return nil, err
	}
	stored, err := parseManifest(raw, m)
	if err == nil && stored.Order() != m.Order() {
		err = fmt.Errorf("it has sequence %d", stored.Sequence)
	}
	if err != nil {
		return nil, &Error{Op: "get", Key: key, Kind: ErrMalformed, Err: err}
	}
	return stored, nil
}

// parseManifest parses a manifest of the same channel as like, without verifying it.
func parseManifest(raw []byte, like *channel.Manifest) (*channel.Manifest, error) {
	m, err := channel.ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	return m, m.CheckFor(like.App, like.Channel)
}

// advance puts m in force, unless it or a later one is.
func (b *Bucket) advance(ctx context.Context, m *channel.Manifest) error {
	key := channelKey(m.App, m.Channel, currentName)
	return b.replace(ctx, key, m.Raw(), channel.MaxManifest, func(current []byte) error {
		now, err := parseManifest(current, m)
		switch {
		case err != nil, now.Order() < m.Order():
			return nil // a manifest that cannot be parsed is useless
		case now.Order() > m.Order():
			return &Error{
				Op: "put", Key: key, Kind: ErrSuperseded, Err: fmt.Errorf("it has sequence %d", now.Sequence),
			}
		case now.Statement() == m.Statement():
			return errSame
		}
		return &Error{
			Op: "put", Key: key, Kind: ErrConflict, Err: fmt.Errorf("another manifest has sequence %d", m.Sequence),
		}
	})
}

// errSame means that an object need not be changed.
var errSame = errors.New("nothing to change")

// replace replaces an object with raw, unless check refuses the current one. It retries if somebody else changes the
// object meanwhile.
func (b *Bucket) replace(ctx context.Context, key string, raw []byte, limit int64, check func([]byte) error) error {
	return b.update(ctx, key, limit, func(current []byte) ([]byte, error) {
		if current == nil {
			return raw, nil
		}
		return raw, check(current)
	})
}

// update replaces an object with the result of next, whose argument is nil if there is none. If next returns errSame,
// it changes nothing and returns nil.
func (b *Bucket) update(ctx context.Context, key string, limit int64, next func([]byte) ([]byte, error)) error {
	for try := range tries {
		if try > 0 {
			timer := time.NewTimer(rand.N(time.Duration(try) * 50 * time.Millisecond))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return context.Cause(ctx)
			}
		}
		when := condition{}
		current, tag, err := b.read(ctx, key, "", limit)
		switch {
		case err == nil:
			when.tag = tag
		case errors.Is(err, ErrNotFound):
			when.absent = true
		default:
			return err
		}
		raw, err := next(current)
		if errors.Is(err, errSame) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := b.put(ctx, key, raw, when); !errors.Is(err, errExists) {
			return err
		}
	}
	return &Error{Op: "put", Key: key, Kind: ErrConflict, Err: fmt.Errorf("others changed it %d times", tries)}
}

func (b *Bucket) put(ctx context.Context, key string, raw []byte, when condition) error {
	return b.objects.put(ctx, key, bytes.NewReader(raw), int64(len(raw)), when)
}

// probe checks once whether the store supports conditions: it must refuse to write the object again.
func (b *Bucket) probe(ctx context.Context, key string, raw []byte) {
	if b.probed.Swap(true) {
		return
	}
	if err := b.put(ctx, key, raw, condition{absent: true}); err == nil {
		b.config.Logger.Warn("the store ignores If-None-Match: two publishers at the same moment may both succeed",
			"origin", b.name)
	}
}
