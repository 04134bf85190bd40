package node

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/semaphore"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/gossip"
	"brink/node/semantics"
	"brink/origin"
	"brink/protocol"
	"brink/store"
)

// share takes representations from other nodes of the fleet, so that each is made once and not once on every node.
//
// The region's owner of the plain bytes is asked first. It makes what it does not have, and all others wait for it, for
// so long. Then who is known to hold the bundle is asked: where it was published it was made before anybody else heard
// of it. Neither is believed: what comes is decoded, and kept only when it gives the bytes that it stands for.
//
// Nobody waits in a circle: a node has a representation made for others only when it is the owner, asks nobody but
// owners to make one, and lets nobody wait for what it asks others for itself.
type share struct {
	node  *Node
	slots *semaphore.Weighted // of representations that others are asked for at the same time
	wait  atomic.Int64        // nanoseconds; see askWait

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
	// askWait is how long a node that is asked may be silent: it may hold the request, and has to be reached.
	askWait = lendWait + 3*time.Second
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
	errNoBase = errors.New("base of the patch can not be read here")
)

func newShare(n *Node) *share {
	s := &share{
		node:    n,
		slots:   semaphore.NewWeighted(maxAsking),
		holders: map[digest.Digest]holder{},
		resting: map[string]time.Time{},
	}
	s.wait.Store(int64(askWait))
	return s
}

// follows notes that a manifest comes into force that was not published here, and who holds its bundle; nil: the
// origin.
func (s *share) follows(m *channel.Manifest, from *gossip.Member) {
	h := holder{manifest: m.Digest()}
	if from != nil {
		h.node = from.Name
	}
	s.note(m.Release.Bundle, h)
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

// followed reports whether a manifest was not published here, so that others have made what devices ask for first.
func (s *share) followed(m *channel.Manifest) bool {
	return s.holder(m.Release.Bundle).manifest == m.Digest()
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

// lender is a node to ask.
type lender struct {
	gossip.Member

	owner bool // it is to make what it does not have
}

// lenders returns the nodes to ask for a representation, in order.
func (s *share) lenders(d derivation) []lender {
	self, members := s.node.members()
	order := origin.Order(self, members, d.source)
	owners := s.node.ownsFirst(self, members, d.source)
	if m, ok := s.node.fleet.member(s.holder(d.bundle).node); ok {
		order = after(order, asMember(m), owners)
	}
	var list []lender
	for i, m := range order {
		if s.rests(m.Name) {
			continue
		}
		list = append(list, lender{
			Member: gossip.Member{Name: m.Name, Region: m.Region, URL: m.URL},
			owner:  i < owners,
		})
		if len(list) == maxLenders {
			break
		}
	}
	return list
}

// members returns this node, and the others that serve, as far as the order of asking goes.
func (n *Node) members() (self origin.Member, others []origin.Member) {
	for _, m := range n.fleet.others() {
		others = append(others, asMember(m))
	}
	return origin.Member{Name: n.fleet.config.Node, Region: n.fleet.config.Region}, others
}

// take brings in a representation from another node, which is told whether only requests ask for it, and reports
// whether there is nothing left to do: otherwise it has to be made here.
func (s *share) take(ctx context.Context, d derivation, p priority) bool {
	n := s.node
	if n.fleet == nil || d.size < minShared || d.coding == semantics.Brotli && d.size > maxBrotli {
		return false
	}
	if s.slots.Acquire(ctx, 1) != nil {
		return true
	}
	defer s.slots.Release(1)
	for _, from := range s.lenders(d) {
		log := n.config.Logger.With("bundle", d.bundle.Short(), "path", d.path, "coding", d.coding.String(),
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
			log.Debug("another node can not be asked for representations", "error", err)
		}
	}
	return false
}

// ask asks a node for a representation, again for as long as it says that it is making it and has the time.
func (s *share) ask(ctx context.Context, from lender, d derivation, p priority) error {
	patience := time.Duration(s.wait.Load()) + time.Duration(d.size/shareRate)*time.Second
	var err error
	for range 1 + patience/lendWait {
		err = s.askOnce(ctx, from, d, p)
		if said, ok := errors.AsType[*protocol.Problem](err); !ok || said.Code != protocol.CodeUnavailable {
			break
		}
	}
	return err
}

func (s *share) askOnce(ctx context.Context, from lender, d derivation, p priority) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := time.Duration(s.wait.Load())
	late := time.AfterFunc(wait, cancel)
	defer late.Stop()
	target := protocol.FleetDerivedPath + "?" + s.question(from, d, p).Encode()
	resp, err := s.node.open(ctx, from.Member, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent { // it is not worth it, which costs nobody but who would wait for less
		_, err = s.node.store.PutDerived(ctx, d.key(), bytes.NewReader(nil))
		return err
	}
	if resp.ContentLength <= 0 || resp.ContentLength > d.size {
		return fmt.Errorf("%w: it has %d bytes, of %d plain ones", errWrong, resp.ContentLength, d.size)
	}
	late.Stop() // what follows first may wait for this node
	var old []byte
	if d.coding == semantics.DCZ {
		b := s.node.builder
		weight := d.size + d.base.size
		if err := b.memory.Acquire(ctx, weight); err != nil {
			return err
		}
		defer b.memory.Release(weight)
		if old, err = s.node.readPlain(ctx, d.base.subject); err != nil {
			return fmt.Errorf("%w: %w", errNoBase, err)
		}
		if err := s.node.checkBase(d, true); err != nil {
			return fmt.Errorf("%w: %w", errNoBase, err)
		}
	}
	late.Reset(wait + time.Duration(d.size/shareRate)*time.Second)
	return s.node.keepChecked(ctx, d, old, resp.Body)
}

// question is what is asked for: the key, and for an owner how to make it.
func (s *share) question(from lender, d derivation, p priority) url.Values {
	key := d.key()
	q := url.Values{"source": {key.Source.String()}, "kind": {key.Kind}, "base": {key.Base.String()}}
	if !from.owner {
		return q
	}
	q.Set("bundle", d.bundle.String())
	q.Set("path", d.path)
	if p == asked {
		q.Set("asked", "true")
	}
	if d.coding == semantics.DCZ {
		q.Set("base_bundle", d.base.bundle.String())
		q.Set("base_path", d.base.path)
	}
	if h := s.holder(d.bundle); h.node != "" {
		q.Set("holder", h.node)
	}
	return q
}

// keepChecked stores a representation if it is one of what it should be, and nothing otherwise. It is decoded while it
// is written, and holds little more than old, the base of a patch.
func (n *Node) keepChecked(ctx context.Context, d derivation, old []byte, encoded io.Reader) error {
	reader, writer := io.Pipe()
	var checking sync.WaitGroup
	var verdict error
	checking.Go(func() {
		if verdict = n.guard(func() error { return check(d, old, reader) }); verdict != nil {
			verdict = fmt.Errorf("%w: %w", errWrong, verdict)
		}
		_ = reader.CloseWithError(verdict) // always nil
	})
	_, err := n.store.PutDerived(ctx, d.key(), &checked{
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
func check(d derivation, old []byte, encoded io.Reader) error {
	var plain io.Reader
	switch d.coding {
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
		decoder, err := bundle.DecodePatch(encoded, old, d.base.name)
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
		return fmt.Errorf("coding %s is not shared", d.coding)
	}
	hasher := digest.NewHasher()
	size, err := io.Copy(hasher, io.LimitReader(plain, d.size+1))
	if err != nil {
		return err
	}
	if size != d.size || hasher.Digest() != d.source {
		return digest.ErrMismatch
	}
	if more, err := io.Copy(io.Discard, encoded); err != nil || more > 0 {
		return errors.Join(err, errors.New("something follows its end"))
	}
	return nil
}
