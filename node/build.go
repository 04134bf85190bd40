package node

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/semaphore"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/semantics"
	"brink/store"
)

// builder makes representations in the background: each once, however many want it, and a few at a time. Nothing is
// encoded on the path of a request.
type builder struct {
	queue

	node   *Node
	memory *semaphore.Weighted // bytes of the plain data that patches are made of at the same time
	share  *share

	// The encoders are other people's code. Tests replace them.
	encodeTo    func(w io.Writer, coding semantics.Coding, plain io.Reader, size int64) error
	encodeDelta func(old, next []byte, name digest.SHA256) ([]byte, error)
}

// maxQueued bounds the representations that are waited for. What is wanted beyond that is wanted again by the next
// request for it.
const maxQueued = 1024

// patchMemory bounds the bytes of old and new that patches are made of at the same time. Making one takes about four
// times as much: 900 MB were seen for two archives of 102 MB.
const patchMemory = 2 * bundle.MaxPatch

// Bounds of what is encoded with effort. Time grows with size, and past these sizes a device waits for its link far
// longer than the last few per cent would save.
const (
	bestZstd   = 64 << 20 // bytes of plain data up to which the highest level is used
	maxBrotli  = 64 << 20 // bytes up to which brotli, ten times as slow, is made at all
	brotliWork = 9        // level: 11 takes twenty times as long for a tenth less
)

func newBuilder(n *Node) *builder {
	return &builder{
		queue:  newQueue(n.config.Builders),
		node:   n,
		memory: semaphore.NewWeighted(patchMemory),
		share:  newShare(n),

		encodeTo:    encodeTo,
		encodeDelta: bundle.EncodePatch,
	}
}

// prepare makes what devices will ask for first when m comes into force, and returns when that is done, when the time
// for it is over, or when ctx ends. The rest is made behind it.
func (b *builder) prepare(ctx context.Context, m *channel.Manifest) {
	if b.node.config.Prepare < 0 {
		b.want(m)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, b.node.config.Prepare)
	defer cancel()
	for _, d := range b.first(m) {
		select {
		case <-b.begin(d, urgent, b.share.followed(m)):
		case <-ctx.Done():
			b.node.config.Logger.Warn("channel moves before all its representations are made", "app", m.App,
				"channel", m.Channel)
			b.want(m)
			return
		}
	}
	b.want(m)
}

// want makes all that devices will ask for, in the background.
func (b *builder) want(m *channel.Manifest) {
	for _, d := range b.first(m) {
		b.add(d, planned)
	}
	for _, coding := range encodings {
		b.add(derivation{subject: archiveOf(&m.Release), coding: coding}, planned)
	}
	b.node.wantCapgo(m)
}

// first returns what most devices and browsers will ask for: the archive as zstd, and patches against what came before
// and what most devices run.
func (b *builder) first(m *channel.Manifest) []derivation {
	list := []derivation{{subject: archiveOf(&m.Release), coding: semantics.Zstd}}
	for i := range m.History {
		if i >= b.node.config.PatchReleases {
			break
		}
		if d, possible := dictionaryOf(&m.History[i]).patchFor(archiveOf(&m.Release)); possible {
			list = append(list, d)
		}
	}
	if i, ok := b.node.stats.popular(m); ok && b.node.config.PatchReleases > 0 && i >= b.node.config.PatchReleases {
		if d, possible := dictionaryOf(&m.History[i]).patchFor(archiveOf(&m.Release)); possible {
			list = append(list, d)
		}
	}
	return append(list, b.node.web.patches(m)...)
}

func dictionaryOf(release *channel.Release) dictionary {
	return dictionary{subject: archiveOf(release), name: release.SHA256}
}

func archiveOf(release *channel.Release) subject {
	return subject{bundle: release.Bundle, source: release.Bundle, size: release.Size}
}

// done is what add returns for what need not be waited for.
//
//nolint:gochecknoglobals // a constant that Go can not spell
var done = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// make makes one representation and stores it. One that is not worth it is stored as nothing, so that it is not made
// again. It reports whether there is nothing left to try.
func (b *builder) make(ctx context.Context, d derivation) bool {
	n := b.node
	start := time.Now()
	object, err := b.encode(ctx, d)
	log := n.config.Logger.With("bundle", d.bundle.Short(), "path", d.path, "coding", d.coding.String())
	switch {
	case err == nil:
		b.share.made.Add(1)
		n.metrics.built(d.coding, time.Since(start))
		log.Debug("representation made", "plain", d.size, "bytes", object.Size(), "duration", time.Since(start))
		return true
	case ctx.Err() != nil:
	case errors.Is(err, store.ErrQuota) || errors.Is(err, store.ErrReadOnly):
		log.Debug("no room for a representation", "error", err) // devices get another one
	default:
		log.Warn("representation can not be made", "error", err)
	}
	return false
}

func (b *builder) encode(ctx context.Context, d derivation) (*store.Object, error) {
	if d.coding == semantics.DCZ {
		return b.encodePatch(ctx, d)
	}
	n := b.node
	if d.coding == semantics.Brotli && d.size > maxBrotli {
		return n.store.PutDerived(ctx, d.key(), bytes.NewReader(nil))
	}
	plain, err := n.plain(ctx, d.subject)
	if err != nil {
		return nil, err
	}
	defer plain.Close() //nolint:errcheck // always nil
	reader, writer := io.Pipe()
	var encoding sync.WaitGroup
	defer encoding.Wait()
	defer func() { _ = reader.Close() }() // always nil; ends a writer whose reader gave up
	encoding.Go(func() {
		_ = writer.CloseWithError(n.guard(func() error { return b.encodeTo(writer, d.coding, plain, d.size) })) // always nil
	})
	object, err := n.store.PutDerived(ctx, d.key(), reader)
	if err == nil && object.Size() > d.size-d.size/16 {
		return n.store.PutDerived(ctx, d.key(), bytes.NewReader(nil))
	}
	return object, err
}

// encodeTo writes plain, of size bytes, in a coding.
func encodeTo(w io.Writer, coding semantics.Coding, plain io.Reader, size int64) error {
	var encoder io.WriteCloser
	var err error
	switch coding {
	case semantics.Zstd:
		level := zstd.SpeedBestCompression
		if size > bestZstd {
			level = zstd.SpeedDefault
		}
		// A window of 8 MiB is the most that every client must take (RFC 9659, section 3).
		encoder, err = zstd.NewWriter(w, zstd.WithEncoderLevel(level), zstd.WithWindowSize(8<<20),
			zstd.WithEncoderConcurrency(1))
	case semantics.Gzip:
		encoder, err = gzip.NewWriterLevel(w, gzip.DefaultCompression)
	case semantics.Brotli:
		encoder = brotli.NewWriterLevel(w, brotliWork)
	default:
		return fmt.Errorf("coding %s is not made", coding)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(encoder, plain)
	return errors.Join(err, encoder.Close())
}

// encodePatch makes a patch. It holds old and new in memory.
func (b *builder) encodePatch(ctx context.Context, d derivation) (*store.Object, error) {
	n := b.node
	weight := d.size + d.base.size
	if err := b.memory.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	defer b.memory.Release(weight)
	old, err := n.readPlain(ctx, d.base.subject)
	if err != nil {
		return nil, err
	}
	if err := n.checkBase(d, true); err != nil {
		return nil, err
	}
	next, err := n.readPlain(ctx, d.subject)
	if err != nil {
		return nil, err
	}
	patch, err := b.encodeDelta(old, next, d.base.name)
	if err != nil {
		return nil, err
	}
	// A patch that saves little costs the device memory for nothing. Full is what it would get otherwise.
	full := d.size
	other, err := n.store.Derived(derivation{subject: d.subject, coding: semantics.Zstd}.key())
	if err == nil && other.Size() > 0 {
		full = other.Size()
	}
	if int64(len(patch)) > full*2/3 {
		patch = nil
	}
	return n.store.PutDerived(ctx, d.key(), bytes.NewReader(patch))
}
