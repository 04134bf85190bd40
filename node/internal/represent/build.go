package represent

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/semaphore"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/internal/background"
	"brink/node/internal/bundles"
	"brink/node/internal/force"
	"brink/node/internal/semantics"
	"brink/store"
)

// Config is what a [Builder] works with. All fields are required unless they say otherwise.
type Config struct {
	Context context.Context   // of all work in the background
	Work    *background.Group // runs it
	Store   *store.Store
	State   *force.State
	Bundles *bundles.Source
	Hot     *Hot

	Fleet Fleet // nil: there are no other nodes to fetch representations from
	// Built is called after each representation that was built, with the time that it took, and before waiters are woken.
	Built func(coding semantics.Coding, took time.Duration)
	// Popular returns which release in the history of a manifest most devices run, if it is known.
	Popular func(m *channel.Manifest) (i int, known bool)
	// Sites returns the patches that browsers will ask for when a manifest comes into force. Guests returns the
	// representations that devices of other protocols will ask for; they are built in the background.
	Sites, Guests func(m *channel.Manifest) []Derivation

	Builders      int           // how many representations are built at the same time
	PatchReleases int           // against how many earlier releases patches are built
	PrepareTime   time.Duration // bounds Prepare; negative: it does not wait
	AskWait       time.Duration // how long another node may take to answer; default: DefaultAskWait

	Encoders Encoders // for tests; default: those that this package uses

	Logger *slog.Logger
	Now    func() time.Time
}

// Encoders are third-party code, and may panic.
type Encoders struct {
	// To encodes plain, of size bytes, with a coding, and writes the result to w.
	To func(w io.Writer, coding semantics.Coding, plain io.Reader, size int64) error
	// Patch returns the patch from old, whose SHA-256 is name, to next.
	Patch func(old, next []byte, name digest.SHA256) ([]byte, error)
}

// Builder builds representations in the background, a few at a time, and each only once for all callers that wait for
// it.
type Builder struct {
	Config
	queue

	memory *semaphore.Weighted // bytes of plain data that patches are being built from
	share  *share
}

// maxQueued bounds the jobs. When the queue is full, a representation is queued by a later request for it.
const maxQueued = 1024

// patchMemory bounds the plain bytes, old and new, that patches are built from at the same time. Building one takes
// about four times as much memory: two archives of 102 MB took 900 MB.
const patchMemory = 2 * bundle.MaxPatch

// Bounds of slow encodings. Beyond these sizes, the time that the device's link takes far exceeds what the last few per
// cent would save.
const (
	bestZstd    = 64 << 20 // bytes of plain data up to which the highest level is used
	maxBrotli   = 64 << 20 // bytes of plain data up to which brotli, ten times as slow, is used at all
	brotliLevel = 9        // 11 takes twenty times as long for a tenth less
)

// NewBuilder returns a builder.
func NewBuilder(config Config) *Builder {
	if config.AskWait == 0 {
		config.AskWait = DefaultAskWait
	}
	if config.Encoders.To == nil {
		config.Encoders.To = encodeTo
	}
	if config.Encoders.Patch == nil {
		config.Encoders.Patch = bundle.EncodePatch
	}
	b := &Builder{
		Config: config,
		queue:  newQueue(config.Builders),
		memory: semaphore.NewWeighted(patchMemory),
	}
	b.share = newShare(b)
	return b
}

// Prepare implements [force.Preparer].
func (b *Builder) Prepare(ctx context.Context, m *channel.Manifest, from force.Source) {
	followed := from.Kind == force.Gossiped || from.Kind == force.Mirrored
	if followed {
		b.share.recordFollowed(m, from.Node)
	}
	if b.PrepareTime < 0 {
		b.Enqueue(m)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, b.PrepareTime)
	defer cancel()
	for _, d := range b.first(m) {
		select {
		case <-b.start(d, Urgent, followed):
		case <-ctx.Done():
			b.Logger.Warn("channel moves before all its representations are built", "app", m.App,
				"channel", m.Channel)
			b.Enqueue(m)
			return
		}
	}
	b.Enqueue(m)
}

// Enqueue implements [force.Preparer].
func (b *Builder) Enqueue(m *channel.Manifest) {
	for _, d := range b.first(m) {
		b.Add(d, Planned)
	}
	for _, coding := range encodings {
		b.Add(Derivation{Subject: ArchiveOf(&m.Release), Coding: coding}, Planned)
	}
	for _, d := range b.Guests(m) {
		b.Add(d, Planned)
	}
}

// first returns what most devices and browsers will ask for: the archive as zstd, and patches against earlier releases
// and against the one that most devices run.
func (b *Builder) first(m *channel.Manifest) []Derivation {
	list := []Derivation{{Subject: ArchiveOf(&m.Release), Coding: semantics.Zstd}}
	for i := range m.History {
		if i >= b.PatchReleases {
			break
		}
		if d, possible := archiveDictionary(&m.History[i]).PatchFor(ArchiveOf(&m.Release)); possible {
			list = append(list, d)
		}
	}
	if i, ok := b.Popular(m); ok && b.PatchReleases > 0 && i >= b.PatchReleases {
		if d, possible := archiveDictionary(&m.History[i]).PatchFor(ArchiveOf(&m.Release)); possible {
			list = append(list, d)
		}
	}
	return append(list, b.Sites(m)...)
}

// done is a closed channel, which start returns if there is nothing to wait for.
//
//nolint:gochecknoglobals // a constant that Go cannot express
var done = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// build builds one representation and stores it. One that saves too little is stored empty, so that it is not built
// again. It reports whether the representation was built.
func (b *Builder) build(ctx context.Context, d Derivation) bool {
	start := time.Now()
	object, err := b.encode(ctx, d)
	log := b.Logger.With("bundle", d.Bundle.Short(), "path", d.Path, "coding", d.Coding.String())
	switch {
	case err == nil:
		b.share.built.Add(1)
		b.Built(d.Coding, time.Since(start))
		log.Debug("representation built", "plain", d.Size, "bytes", object.Size(), "duration", time.Since(start))
		return true
	case ctx.Err() != nil:
	case errors.Is(err, store.ErrQuota) || errors.Is(err, store.ErrReadOnly):
		log.Debug("representation not stored: no room", "error", err) // devices get another one
	default:
		log.Warn("cannot build representation", "error", err)
	}
	return false
}

func (b *Builder) encode(ctx context.Context, d Derivation) (*store.Object, error) {
	if d.Coding == semantics.DCZ {
		return b.encodePatch(ctx, d)
	}
	if d.Coding == semantics.Brotli && d.Size > maxBrotli {
		return b.Store.PutDerived(ctx, d.Key(), bytes.NewReader(nil))
	}
	plain, err := b.Plain(ctx, d.Subject)
	if err != nil {
		return nil, err
	}
	defer plain.Close() //nolint:errcheck // always nil
	reader, writer := io.Pipe()
	var encoding sync.WaitGroup
	defer encoding.Wait()
	defer func() { _ = reader.Close() }() // always nil; ends the writer if the store stopped reading
	encoding.Go(func() {
		err := b.Work.Guard(func() error { return b.Encoders.To(writer, d.Coding, plain, d.Size) })
		_ = writer.CloseWithError(err) // always nil
	})
	object, err := b.Store.PutDerived(ctx, d.Key(), reader)
	if err == nil && object.Size() > d.Size-d.Size/16 {
		return b.Store.PutDerived(ctx, d.Key(), bytes.NewReader(nil))
	}
	return object, err
}

// encodeTo encodes plain, of size bytes, with a coding, and writes the result to w.
func encodeTo(w io.Writer, coding semantics.Coding, plain io.Reader, size int64) error {
	var encoder io.WriteCloser
	var err error
	switch coding {
	case semantics.Zstd:
		level := zstd.SpeedBestCompression
		if size > bestZstd {
			level = zstd.SpeedDefault
		}
		// Clients must accept windows of up to 8 MiB, and need not accept larger ones (RFC 9659, section 3).
		encoder, err = zstd.NewWriter(w, zstd.WithEncoderLevel(level), zstd.WithWindowSize(8<<20),
			zstd.WithEncoderConcurrency(1))
	case semantics.Gzip:
		encoder, err = gzip.NewWriterLevel(w, gzip.DefaultCompression)
	case semantics.Brotli:
		encoder = brotli.NewWriterLevel(w, brotliLevel)
	default:
		return fmt.Errorf("no encoder for coding %s", coding)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(encoder, plain)
	return errors.Join(err, encoder.Close())
}

// encodePatch builds a patch. Both archives or files are in memory meanwhile.
func (b *Builder) encodePatch(ctx context.Context, d Derivation) (*store.Object, error) {
	weight := d.Size + d.Base.Size
	if err := b.memory.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	defer b.memory.Release(weight)
	old, err := b.ReadPlain(ctx, d.Base.Subject)
	if err != nil {
		return nil, err
	}
	if err := b.checkBase(d, true); err != nil {
		return nil, err
	}
	next, err := b.ReadPlain(ctx, d.Subject)
	if err != nil {
		return nil, err
	}
	patch, err := b.Encoders.Patch(old, next, d.Base.Name)
	if err != nil {
		return nil, err
	}
	// A patch that saves little is not worth the memory that applying it takes on the device. full is the size of what
	// the device would get without the patch.
	full := d.Size
	other, err := b.Store.Derived(Derivation{Subject: d.Subject, Coding: semantics.Zstd}.Key())
	if err == nil && other.Size() > 0 {
		full = other.Size()
	}
	if int64(len(patch)) > full*2/3 {
		patch = nil
	}
	return b.Store.PutDerived(ctx, d.Key(), bytes.NewReader(patch))
}
