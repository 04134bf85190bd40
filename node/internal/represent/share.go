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

// share fetches representations from other nodes of the fleet, so that each is built once per fleet, not once per node.
//
// The region's owner of the plain bytes is asked first. It builds missing representations, and the others wait for it
// for a bounded time. Then the node that is known to have the bundle is asked: the node that it was published to has
// built its representations before any other node heard of it. Neither is trusted: a representation is decoded as it
// arrives, and stored only if it decodes to the plain bytes.
//
// Deadlock is impossible: only owners build for peers, only owners are asked to build, and peers never wait for a build
// that itself waits for a peer.
type share struct {
	builder *Builder
	slots   *semaphore.Weighted // one for each representation that is being fetched

	shared, built, refused atomic.Int64

	mu      sync.Mutex
	holders map[digest.Digest]holder // of bundles
	paused  map[string]time.Time     // nodes that are not asked until then, by name
}

// holder is the node that a bundle came from.
type holder struct {
	node     string        // by name; empty: not from a node
	manifest digest.Digest // that brought it into force here; zero: none yet
}

const (
	// maxPeers bounds the nodes that are asked for one representation: asking more would take as long as building it.
	maxPeers = 2
	// buildWait is how long a node holds the request of a peer while it builds the representation. Then the peer asks
	// again.
	buildWait = 4 * time.Second
	// DefaultAskWait is how long a peer may take to answer: it may hold the request for buildWait, and has to be reached.
	DefaultAskWait = buildWait + 3*time.Second
	// pauseTime is how long a node is not asked again after it was silent, down or wrong, so that a broken node does not
	// delay every representation.
	pauseTime = time.Minute
	// shareRate is the minimum rate, in plain bytes per second, at which a representation must be built and sent: the
	// slowest coding, brotli, is built several times as fast on one processor.
	shareRate = 1 << 20
	// minShared is the plain size in bytes below which building a representation takes no longer than fetching it.
	minShared = 32 << 10
	// maxAsking bounds the representations that are fetched at the same time: half the connections to one node.
	maxAsking = 8
	// maxHolders bounds the map of holders: enough for some releases of many channels.
	maxHolders = 4096
)

var (
	// errWrong is returned if another node sent something else than the requested representation.
	errWrong  = errors.New("wrong representation")
	errNoBase = errors.New("cannot read the base of the patch")
)

func newShare(b *Builder) *share {
	return &share{
		builder: b,
		slots:   semaphore.NewWeighted(maxAsking),
		holders: map[digest.Digest]holder{},
		paused:  map[string]time.Time{},
	}
}

// Shared returns how many representations were built here, how many were fetched from other nodes and stored, and how
// many were fetched and refused because they were wrong.
func (b *Builder) Shared() (built, shared, refused int64) {
	return b.share.built.Load(), b.share.shared.Load(), b.share.refused.Load()
}

// recordFollowed records the node that has the bundle of a manifest which comes into force and was not published here;
// empty: the origin.
func (s *share) recordFollowed(m *channel.Manifest, node string) {
	s.recordHolder(m.Release.Bundle, holder{node: node, manifest: m.Digest()})
}

func (s *share) recordHolder(id digest.Digest, h holder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.holders) >= maxHolders {
		clear(s.holders) // entries are most useful right after they were recorded
	}
	s.holders[id] = h
}

func (s *share) holder(id digest.Digest) holder {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holders[id]
}

// pause stops asking a node for pauseTime.
func (s *share) pause(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused[name] = time.Now().Add(pauseTime)
}

func (s *share) isPaused(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, paused := s.paused[name]
	if paused && time.Now().After(until) {
		delete(s.paused, name)
		return false
	}
	return paused
}

// Fleet gives access to the other nodes. Its methods may be called at the same time.
type Fleet interface {
	Self() origin.Member
	// Others returns the other nodes that serve. It does not block.
	Others() []origin.Member
	// Open sends a signed request to another node, and returns an answer with status 200 or 204, whose body the caller
	// closes. Any other answer is returned as a [*protocol.Problem]. It waits until ctx ends.
	Open(ctx context.Context, to origin.Member, method, target string, body []byte) (*http.Response, error)
}

// peer is a node to ask.
type peer struct {
	origin.Member

	owner bool // it builds the representation if it does not have it
}

// peers returns the nodes to ask for a representation, in order.
func (s *share) peers(d Derivation) []peer {
	self, members := s.builder.Fleet.Self(), s.builder.Fleet.Others()
	order := origin.Order(self, members, d.Source)
	owners := origin.OwnersFirst(self, members, d.Source)
	holder := s.holder(d.Bundle).node
	if i := slices.IndexFunc(members, func(m origin.Member) bool { return m.Name == holder }); i >= 0 {
		order = origin.Insert(order, members[i], owners)
	}
	var list []peer
	for i, m := range order {
		if s.isPaused(m.Name) {
			continue
		}
		list = append(list, peer{Member: m, owner: i < owners})
		if len(list) == maxPeers {
			break
		}
	}
	return list
}

// fetch fetches and stores a representation from another node, which is told the priority. It reports whether the job
// is finished; if not, the representation has to be built here.
func (s *share) fetch(ctx context.Context, d Derivation, p Priority) bool {
	if s.builder.Fleet == nil || d.Size < minShared || d.Coding == semantics.Brotli && d.Size > maxBrotli {
		return false
	}
	if s.slots.Acquire(ctx, 1) != nil {
		return true
	}
	defer s.slots.Release(1)
	for _, from := range s.peers(d) {
		log := s.builder.Logger.With("bundle", d.Bundle.Short(), "path", d.Path, "coding", d.Coding.String(),
			"node", from.Name)
		err := s.request(ctx, from, d, p)
		problem, _ := errors.AsType[*protocol.Problem](err)
		switch {
		case err == nil:
			s.shared.Add(1)
			log.Debug("representation fetched from another node")
			return true
		case ctx.Err() != nil:
			return true
		case errors.Is(err, store.ErrQuota) || errors.Is(err, store.ErrReadOnly):
			log.Debug("representation not stored: no room", "error", err) // building it here would fail as well
			return true
		case errors.Is(err, errNoBase):
			return false // building the patch reports it
		case errors.Is(err, errWrong):
			s.refused.Add(1)
			s.pause(from.Name)
			log.Warn("representation from another node refused", "error", err)
		case problem != nil && (problem.Status == http.StatusNotFound || problem.Code == protocol.CodeUnavailable):
			log.Debug("another node does not have the representation", "error", err)
		default:
			s.pause(from.Name)
			log.Debug("cannot request representations from another node", "error", err)
		}
	}
	return false
}

// request requests a representation from a node. It repeats the request while the node answers that it is building it,
// for as long as building may take.
func (s *share) request(ctx context.Context, from peer, d Derivation, p Priority) error {
	timeout := s.builder.AskWait + time.Duration(d.Size/shareRate)*time.Second
	var err error
	for range 1 + timeout/buildWait {
		err = s.requestOnce(ctx, from, d, p)
		if problem, ok := errors.AsType[*protocol.Problem](err); !ok || problem.Code != protocol.CodeUnavailable {
			break
		}
	}
	return err
}

func (s *share) requestOnce(ctx context.Context, from peer, d Derivation, p Priority) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := s.builder.AskWait
	late := time.AfterFunc(wait, cancel)
	defer late.Stop()
	target := protocol.FleetDerivedPath + "?" + s.query(from, d, p).Encode()
	resp, err := s.builder.Fleet.Open(ctx, from.Member, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent { // not worth building; if that is a lie, it only costs bandwidth
		_, err = s.builder.Store.PutDerived(ctx, d.Key(), bytes.NewReader(nil))
		return err
	}
	if resp.ContentLength <= 0 || resp.ContentLength > d.Size {
		return fmt.Errorf("%w: %d bytes, for %d plain bytes", errWrong, resp.ContentLength, d.Size)
	}
	late.Stop() // preparing the base below may take this node some time
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
	return s.builder.putChecked(ctx, d, old, resp.Body)
}

// query returns the parameters of the request: the key, and for an owner how to build the representation.
func (s *share) query(from peer, d Derivation, p Priority) url.Values {
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

// putChecked stores a representation if it decodes to the plain bytes of d, and nothing otherwise. It decodes while it
// writes, and needs little memory besides old, the base of a patch.
func (b *Builder) putChecked(ctx context.Context, d Derivation, old []byte, encoded io.Reader) error {
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
		finish: func() error {
			_ = writer.Close() // always nil
			checking.Wait()
			return verdict
		},
	})
	_ = writer.CloseWithError(io.ErrUnexpectedEOF) // always nil; ends the check if encoded was cut
	checking.Wait()
	return err
}

// checked is a reader that calls finish at the end, and returns its error instead of [io.EOF].
type checked struct {
	io.Reader

	finish func() error
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF {
		if wrong := c.finish(); wrong != nil {
			return n, wrong
		}
	}
	return n, err
}

// check returns nil if encoded, read to its end, decodes to the plain bytes of d.
func check(d Derivation, old []byte, encoded io.Reader) error {
	var plain io.Reader
	switch d.Coding {
	case semantics.Zstd:
		// Clients need not accept a larger window, see encodeTo.
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
		return errors.Join(err, errors.New("data after the end of the representation"))
	}
	return nil
}
