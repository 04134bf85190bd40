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

// tries is how often an object that others change at the same time is tried to be changed. Each time somebody else got
// through.
const tries = 16

// Manifest returns the signed manifest of a channel that is in force, unchecked, and its tag. With the tag of an
// earlier answer it returns [ErrNotModified] when nothing has changed, which costs a request without a body.
// [ErrNotFound] means that nothing was published to the channel.
func (b *Bucket) Manifest(ctx context.Context, app, name, tag string) (raw []byte, newTag string, err error) {
	if err := checkNames(app, name); err != nil {
		return nil, "", err
	}
	return b.read(ctx, channelKey(app, name, currentName), tag, channel.MaxManifest)
}

// PutManifest puts a manifest, as it was read from its signed bytes, in force. Only one manifest can have a sequence:
// [ErrConflict] means that another has it, or one with other content is in force. [ErrSuperseded] means that this one
// was kept, and that the one in force has a higher sequence and stays. Doing it again with the same manifest is no
// error. Its bundles are to be in the bucket before.
//
// It rests on conditional writes, If-None-Match and If-Match on PUT, which Amazon and most others have. A store that
// refuses them as not implemented is asked what is there just before each write, and one that takes no notice of them
// is found out by writing the same object twice; the log then warns that two publishers at the same moment could both
// be told that they won. Whoever reads takes the higher sequence, so even then a channel does not go back.
func (b *Bucket) PutManifest(ctx context.Context, m *channel.Manifest) error {
	raw := m.Raw()
	if raw == nil {
		return errors.New("put manifest: it was not read from signed bytes")
	}
	if b.ReadOnly() {
		return &Error{Op: "put", Key: channelKey(m.App, m.Channel, currentName), Kind: ErrReadOnly}
	}
	key := sequenceKey(m)
	err := b.put(ctx, key, raw, condition{absent: true})
	switch {
	case errors.Is(err, errExists):
		there, err := b.at(ctx, m)
		if err != nil {
			return err
		}
		if there.Statement() != m.Statement() {
			// Whoever wrote it may have died before it came into force. If nobody brought it there, no sequence after it
			// would ever be tried.
			if err := b.advance(ctx, there); err != nil && !errors.Is(err, ErrSuperseded) {
				return err
			}
			return &Error{
				Op: "put", Key: key, Kind: ErrConflict, Err: fmt.Errorf("sequence %d is taken", m.Sequence),
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
	return b.enter(ctx, Catalog{Channels: []CatalogChannel{{App: m.App, Channel: m.Channel}}})
}

// at returns the manifest that has the sequence of m.
func (b *Bucket) at(ctx context.Context, m *channel.Manifest) (*channel.Manifest, error) {
	key := sequenceKey(m)
	raw, _, err := b.read(ctx, key, "", channel.MaxManifest)
	if err != nil {
		return nil, err
	}
	there, err := parseManifest(raw, m)
	if err == nil && there.Order() != m.Order() {
		err = fmt.Errorf("it has sequence %d", there.Sequence)
	}
	if err != nil {
		return nil, &Error{Op: "get", Key: key, Kind: ErrMalformed, Err: err}
	}
	return there, nil
}

// parseManifest reads a manifest of the same channel as like, unchecked.
func parseManifest(raw []byte, like *channel.Manifest) (*channel.Manifest, error) {
	m, err := channel.ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	return m, m.CheckFor(like.App, like.Channel)
}

// advance makes m the manifest in force, unless it is or a later one is.
func (b *Bucket) advance(ctx context.Context, m *channel.Manifest) error {
	key := channelKey(m.App, m.Channel, currentName)
	return b.replace(ctx, key, m.Raw(), channel.MaxManifest, func(current []byte) error {
		now, err := parseManifest(current, m)
		switch {
		case err != nil, now.Order() < m.Order():
			return nil // what nobody can read serves nobody
		case now.Order() > m.Order():
			return &Error{Op: "put", Key: key, Kind: ErrSuperseded, Err: fmt.Errorf("sequence %d is", now.Sequence)}
		case now.Statement() == m.Statement():
			return errSame
		}
		return &Error{Op: "put", Key: key, Kind: ErrConflict, Err: fmt.Errorf("sequence %d is taken", m.Sequence)}
	})
}

// errSame says that an object is already as it should be.
var errSame = errors.New("nothing to change")

// replace changes an object from what may makes no objection to, to raw. It tries again when somebody else has changed
// it meanwhile.
func (b *Bucket) replace(ctx context.Context, key string, raw []byte, limit int64, may func([]byte) error) error {
	return b.update(ctx, key, limit, func(current []byte) ([]byte, error) {
		if current == nil {
			return raw, nil
		}
		return raw, may(current)
	})
}

// update changes an object to what next makes of it; current is nil when there is none. errSame of next ends it.
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

// probe finds out, once, whether the store heeds conditions: what was just written must not be written again.
func (b *Bucket) probe(ctx context.Context, key string, raw []byte) {
	if b.probed.Swap(true) {
		return
	}
	if err := b.put(ctx, key, raw, condition{absent: true}); err == nil {
		b.config.Logger.Warn("the store takes no notice of If-None-Match: of two publishers at the same moment both may "+
			"be told that they won", "origin", b.name)
	}
}
