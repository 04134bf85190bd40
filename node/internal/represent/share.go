package represent

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/semaphore"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/internal/semantics"
	"brink/origin"
	"brink/protocol"
	"brink/store"
)

// share takes representations from other nodes of the fleet, so that each is built once and not once on every node.
//
// The region's owner of the plain bytes is asked first. It builds what it does not have, and the others wait for it,
// for a bounded time. Then the node that is known to hold the bundle is asked: where it was published, it was built
// before any other node heard of it. Neither is trusted: what arrives is decoded, and kept only when it gives the bytes
// that it stands for.
//
// There is no deadlock: only owners build for peers, only owners are asked to build, and peers never wait for a build
// that itself waits for a peer.
type share struct {
	builder *Builder
	slots   *semaphore.Weighted // of representations that others are asked for at the same time

	shared, made, refused atomic.Int64

	mu      sync.Mutex
	holders map[digest.Digest]holder // of bundles
	resting map[string]time.Time     // nodes that are not asked until then, by name
}

// holder is where a bundle came from.
type holder struct {
	node     string        // by name; empty: not from a node
	manifest digest.Digest // by which it came into force here; zero: none yet
}

const (
	// maxLenders bounds the nodes that are asked for one representation: more waiting would cost what making it does.
	maxLenders = 2
	// lendWait is how long a node that is asked holds the request while it makes what is asked for. It is asked again.
	lendWait = 4 * time.Second
	// DefaultAskWait is how long a node that is asked may be silent: it may hold the request, and has to be reached.
	DefaultAskWait = lendWait + 3*time.Second
	// restWait is how long a node is not asked that was silent, down or wrong, so that not each representation waits.
	restWait = time.Minute
	// shareRate is how many plain bytes a second a representation is to advance by, made and sent: the slowest coding,
	// brotli, is made several times as fast on one processor.
	shareRate = 1 << 20
	// minShared is the plain size in bytes below which making a representation takes no longer than asking for it.
	minShared = 32 << 10
	// maxAsking bounds the representations that others are asked for at the same time: half the connections to one node.
	maxAsking = 8
	// maxHolders bounds what is noted of where bundles came from: some releases of many channels.
	maxHolders = 4096
)

var (
	// errWrong is what another node sent and is not what it should be.
	errWrong  = errors.New("wrong representation")
	errNoBase = errors.New("base of the patch cannot be read here")
)

func newShare(b *Builder) *share {
	return &share{
		builder: b,
		slots:   semaphore.NewWeighted(maxAsking),
		holders: map[digest.Digest]holder{},
		resting: map[string]time.Time{},
	}
}

// Shared returns how many representations were built here, how many came from other nodes and were right, and how many
// of those were wrong.
func (b *Builder) Shared() (built, shared, refused int64) {
	return b.share.made.Load(), b.share.shared.Load(), b.share.refused.Load()
}

// follows notes that a manifest comes into force that was not published here, and which node holds its bundle; empty:
// the origin.
func (s *share) follows(m *channel.Manifest, node string) {
	s.note(m.Release.Bundle, holder{node: node, manifest: m.Digest()})
}

func (s *share) note(id digest.Digest, h holder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.holders) >= maxHolders {
		clear(s.holders) // they are worth most right after they were noted
	}
	s.holders[id] = h
}

func (s *share) holder(id digest.Digest) holder {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holders[id]
}

// rest has a node not asked for some time.
func (s *share) rest(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resting[name] = time.Now().Add(restWait)
}

func (s *share) rests(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, resting := s.resting[name]
	if resting && time.Now().After(until) {
		delete(s.resting, name)
		return false
	}
	return resting
}

// Fleet is the other nodes. Its methods are called at the same time.
type Fleet interface {
	Self() origin.Member
	// Others returns the other nodes that serve. It waits for nothing.
	Others() []origin.Member
	// Open sends a signed request to another node, and returns an answer with status 200 or 204, whose body the caller
	// closes. An answer that says no is a [*protocol.Problem]. It waits until ctx ends.
	Open(ctx context.Context, to origin.Member, method, target string, body []byte) (*http.Response, error)
}

// lender is a node to ask.
type lender struct {
	origin.Member

	owner bool // it is to make what it does not have
}

// lenders returns the nodes to ask for a representation, in order.
func (s *share) lenders(d Derivation) []lender {
	self, members := s.builder.Fleet.Self(), s.builder.Fleet.Others()
	order := origin.Order(self, members, d.Source)
	owners := origin.OwnersFirst(self, members, d.Source)
	holder := s.holder(d.Bundle).node
	if i := slices.IndexFunc(members, func(m origin.Member) bool { return m.Name == holder }); i >= 0 {
		order = origin.Insert(order, members[i], owners)
	}
	var list []lender
	for i, m := range order {
		if s.rests(m.Name) {
			continue
		}
		list = append(list, lender{Member: m, owner: i < owners})
		if len(list) == maxLenders {
			break
		}
	}
	return list
}

// take brings in a representation from another node, which is told whether only requests ask for it, and reports
// whether there is nothing left to do: otherwise it has to be made here.
func (s *share) take(ctx context.Context, d Derivation, p Priority) bool {
	if s.builder.Fleet == nil || d.Size < minShared || d.Coding == semantics.Brotli && d.Size > maxBrotli {
		return false
	}
	if s.slots.Acquire(ctx, 1) != nil {
		return true
	}
	defer s.slots.Release(1)
	for _, from := range s.lenders(d) {
		log := s.builder.Logger.With("bundle", d.Bundle.Short(), "path", d.Path, "coding", d.Coding.String(),
			"node", from.Name)
		err := s.ask(ctx, from, d, p)
		said, _ := errors.AsType[*protocol.Problem](err)
		switch {
		case err == nil:
			s.shared.Add(1)
			log.Debug("representation came from another node")
			return true
		case ctx.Err() != nil:
			return true
		case errors.Is(err, store.ErrQuota) || errors.Is(err, store.ErrReadOnly):
			log.Debug("no room for a representation", "error", err) // for one that is made here neither
			return true
		case errors.Is(err, errNoBase):
			return false // making the patch says the same
		case errors.Is(err, errWrong):
			s.refused.Add(1)
			s.rest(from.Name)
			log.Warn("representation of another node is refused", "error", err)
		case said != nil && (said.Status == http.StatusNotFound || said.Code == protocol.CodeUnavailable):
			log.Debug("another node does not have the representation", "error", err)
		default:
			s.rest(from.Name)
			log.Debug("another node cannot be asked for representations", "error", err)
		}
	}
	return false
}

// ask asks a node for a representation, again for as long as it says that it is making it and has the time.
func (s *share) ask(ctx context.Context, from lender, d Derivation, p Priority) error {
	patience := s.builder.AskWait + time.Duration(d.Size/shareRate)*time.Second
	var err error
	for range 1 + patience/lendWait {
		err = s.askOnce(ctx, from, d, p)
		if said, ok := errors.AsType[*protocol.Problem](err); !ok || said.Code != protocol.CodeUnavailable {
			break
		}
	}
	return err
}

func (s *share) askOnce(ctx context.Context, from lender, d Derivation, p Priority) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := s.builder.AskWait
	late := time.AfterFunc(wait, cancel)
	defer late.Stop()
	target := protocol.FleetDerivedPath + "?" + s.question(from, d, p).Encode()
	resp, err := s.builder.Fleet.Open(ctx, from.Member, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent { // it is not worth it, which costs nobody but who would wait for less
		_, err = s.builder.Store.PutDerived(ctx, d.Key(), bytes.NewReader(nil))
		return err
	}
	if resp.ContentLength <= 0 || resp.ContentLength > d.Size {
		return fmt.Errorf("%w: it has %d bytes, of %d plain ones", errWrong, resp.ContentLength, d.Size)
	}
	late.Stop() // what follows first may wait for this node
	var old []byte
	if d.Coding == semantics.DCZ {
		b := s.builder
		weight := d.Size + d.Base.Size
		if err := b.memory.Acquire(ctx, weight); err != nil {
			return err
		}
		defer b.memory.Release(weight)
		if old, err = b.ReadPlain(ctx, d.Base.Subject); err != nil {
			return fmt.Errorf("%w: %w", errNoBase, err)
		}
		if err := b.checkBase(d, true); err != nil {
			return fmt.Errorf("%w: %w", errNoBase, err)
		}
	}
	late.Reset(wait + time.Duration(d.Size/shareRate)*time.Second)
	return s.builder.keepChecked(ctx, d, old, resp.Body)
}

// question is what is asked for: the key, and for an owner how to make it.
func (s *share) question(from lender, d Derivation, p Priority) url.Values {
	key := d.Key()
	q := url.Values{"source": {key.Source.String()}, "kind": {key.Kind}, "base": {key.Base.String()}}
	if !from.owner {
		return q
	}
	q.Set("bundle", d.Bundle.String())
	q.Set("path", d.Path)
	if p == Asked {
		q.Set("asked", "true")
	}
	if d.Coding == semantics.DCZ {
		q.Set("base_bundle", d.Base.Bundle.String())
		q.Set("base_path", d.Base.Path)
	}
	if h := s.holder(d.Bundle); h.node != "" {
		q.Set("holder", h.node)
	}
	return q
}

// keepChecked stores a representation if it is one of what it should be, and nothing otherwise. It is decoded while it
// is written, and holds little more than old, the base of a patch.
func (b *Builder) keepChecked(ctx context.Context, d Derivation, old []byte, encoded io.Reader) error {
	reader, writer := io.Pipe()
	var checking sync.WaitGroup
	var verdict error
	checking.Go(func() {
		if verdict = b.Work.Guard(func() error { return check(d, old, reader) }); verdict != nil {
			verdict = fmt.Errorf("%w: %w", errWrong, verdict)
		}
		_ = reader.CloseWithError(verdict) // always nil
	})
	_, err := b.Store.PutDerived(ctx, d.Key(), &checked{
		Reader: io.TeeReader(encoded, writer),
		end: func() error {
			_ = writer.Close() // always nil
			checking.Wait()
			return verdict
		},
	})
	_ = writer.CloseWithError(io.ErrUnexpectedEOF) // always nil; ends the check of what was cut
	checking.Wait()
	return err
}

// checked reads something that is right only if end says so.
type checked struct {
	io.Reader

	end func() error
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF {
		if wrong := c.end(); wrong != nil {
			return n, wrong
		}
	}
	return n, err
}

// check returns nil if encoded, read to its end, is d and gives the plain bytes.
func check(d Derivation, old []byte, encoded io.Reader) error {
	var plain io.Reader
	switch d.Coding {
	case semantics.Zstd:
		// A larger window is one that clients need not accept, see encodeTo.
		decoder, err := zstd.NewReader(encoded, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return err
		}
		defer decoder.Close()
		plain = decoder
	case semantics.DCZ:
		decoder, err := bundle.DecodePatch(encoded, old, d.Base.Name)
		if err != nil {
			return err
		}
		defer func() { _ = decoder.Close() }() // always nil
		plain = decoder
	case semantics.Gzip:
		decoder, err := gzip.NewReader(encoded)
		if err != nil {
			return err
		}
		plain = decoder
	case semantics.Brotli:
		plain = brotli.NewReader(encoded)
	default:
		return fmt.Errorf("coding %s is not shared", d.Coding)
	}
	hasher := digest.NewHasher()
	size, err := io.Copy(hasher, io.LimitReader(plain, d.Size+1))
	if err != nil {
		return err
	}
	if size != d.Size || hasher.Digest() != d.Source {
		return digest.ErrMismatch
	}
	if more, err := io.Copy(io.Discard, encoded); err != nil || more > 0 {
		return errors.Join(err, errors.New("something follows its end"))
	}
	return nil
}
