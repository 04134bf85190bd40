// Package node is the running edge: HTTP over fasthttp, the store behind it, and the life of both.
//
// The life of one request: a connection comes through package wire, which ends it when it only costs. fasthttp reads
// the request; package serve finds what the path names and calls its handler. What a handler serves is a
// representation: bytes that never change, with a strong entity tag. Package semantics says whether to send the whole,
// a part or nothing; the bytes come from RAM, or from the store, which checks them. An error becomes a problem: a code,
// a message and a hint, by one table.
//
// The life of a publish: an offer (signed intent, index) opens an upload; the upload brings the missing chunks, and the
// store checks the bundle as a whole; the signed channel manifest is checked, made durable, and comes into force when
// the representations that devices ask for first are made.
//
// The invariants: nothing is served that was not checked; nothing comes into force that is not signed by keys that the
// org's trust document allows; nothing is encoded on the path of a request.
//
// The end of a node, in this order: it says that it is not ready, waits for load balancers to see it, stops to accept,
// lets running requests finish for a while, closes what is left, ends the work in the background, and closes the store.
package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/valyala/fasthttp"
	"golang.org/x/sync/semaphore"

	"brink/bundle"
	"brink/channel"
	"brink/node/capgo"
	"brink/node/serve"
	"brink/node/wire"
	"brink/origin"
	"brink/origin/bucket"
	"brink/protocol"
	"brink/store"
)

// Node is one running edge. Use [New], then [Node.Run] once.
type Node struct {
	config       Config
	store        *store.Store
	channels     *channels
	builder      *builder
	web          *web
	ionic        *ionic
	capgo        *capgo.Server
	stats        *stats
	hot          *hot
	uploads      *uploads
	moves        turns // of channels
	replications replications
	endings      endings
	succession   sync.Mutex          // one trust document after the other
	decoding     *semaphore.Weighted // indexes of offers that are decoded at the same time
	inflate      *zstd.Decoder       // of indexes of offers
	bodies       *serve.Budget       // bodies of strangers
	indexes      *serve.Budget       // indexes that orgs have signed
	answers      *serve.Budget       // what answers hold for themselves
	sender       *serve.Sender
	table        *serve.Table
	codec        *bundle.Codec
	metrics      *metrics
	pages        pages
	access       access
	health       health

	choices *choices
	journal journal
	fleet   *fleet         // nil: alone
	bucket  *bucket.Bucket // the origin; nil: none
	mirror  *mirror        // nil: no origin
	filler  *origin.Filler
	peering *http.Client // for requests to other nodes

	fleetFaults, equivocations, healed atomic.Int64
	draining                           atomic.Bool

	listener *wire.Listener
	server   *fasthttp.Server
	tls      *tls.Config // nil: plain HTTP
	admin    net.Listener

	ctx    context.Context // of all work that is not one request's
	cancel context.CancelFunc
	work   group // all goroutines on ctx
}

// New opens the store, brings into force what it holds, and listens; requests are answered from [Node.Run] on. On error
// nothing stays open.
func New(config Config) (_ *Node, err error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	n := &Node{
		config:   config,
		channels: newChannels(),
		uploads:  newUploads(config.Uploads),
		decoding: semaphore.NewWeighted(1),
		bodies:   serve.NewBudget(config.maxBodies),
		indexes:  serve.NewBudget(maxIndexes),
		answers:  serve.NewBudget(config.maxAnswers),
		codec:    bundle.NewCodec(),
		access:   newAccess(config),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if n.inflate, err = newInflate(); err != nil {
		return nil, err
	}
	n.work.panicked = n.panicked
	n.builder = newBuilder(n)
	n.web = newWeb(n)
	if n.ionic, err = newIonic(n); err != nil {
		return nil, err
	}
	n.health = health{phase: phaseStarting, reason: n.amiss}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	for _, raw := range config.Trust {
		// One that has expired is where its successor is reached from; /readyz tells of it.
		trust, err := channel.LoadTrust(raw)
		if err != nil {
			return nil, fmt.Errorf("trust document: %w", err)
		}
		if n.channels.trusts.get(trust.Org()) != nil {
			return nil, fmt.Errorf("trust document: org %s is given twice", trust.Org())
		}
		n.channels.trusts.set(trust)
	}
	if n.hot, err = newHot(config.Hot, config.CertFile == ""); err != nil {
		return nil, err
	}
	n.sender = &serve.Sender{Answers: n.answers, Largest: n.hot.largest(), Guard: n.guard}
	n.store, err = store.Open(store.Config{
		Dir:          config.Data,
		Quota:        config.Quota,
		KeepReleases: config.KeepReleases,
		ScrubRate:    config.ScrubRate,
		Logger:       config.Logger,
		Now:          config.Now,
		FreeSpace:    config.freeSpace,
	})
	if err != nil {
		return nil, err
	}
	n.peering = origin.NewClient()
	if n.filler, err = newFiller(n); err != nil {
		return nil, err
	}
	if err := n.adopt(); err != nil {
		return nil, err
	}
	if err := n.listen(); err != nil {
		return nil, err
	}
	if n.fleet, err = newFleet(n); err != nil {
		return nil, err
	}
	if err := n.openOrigin(); err != nil {
		return nil, err
	}
	if n.stats, err = newStats(n.store, n.channels, config); err != nil {
		return nil, err
	}
	n.choices = newChoices(n.store, n.config.Now)
	if n.capgo, err = newCapgo(n); err != nil {
		return nil, err
	}
	if n.table, err = serve.NewTable(n.routes(), n.siteRoutes()); err != nil {
		return nil, err
	}
	n.metrics = newMetrics(n)
	if err := n.restore(); err != nil {
		return nil, err
	}
	n.announceAll()
	n.work.Go(func() { n.choices.run(n.ctx) })
	n.stats.begin()
	n.work.Go(func() { n.stats.run(n.ctx) })
	n.work.Go(func() { n.watchExpiry(n.ctx) })
	return n, nil
}

// maxBodies bounds, in bytes, the bodies of all requests of which nothing is known yet but that they may have a body,
// and maxAnswers what all answers hold for themselves.
const (
	maxBodies  = 64 << 20
	maxAnswers = 64 << 20
)

// valueLogFile is the size in bytes of one file of the store's value log, each of which the store keeps open.
const valueLogFile = 64 << 20

// listen opens the sockets. There is one for all processors, without SO_REUSEPORT: several take a third more
// connections a second, of which nothing is left for those that are kept, and with it a second node would open the same
// port without an error and take half of the devices (docs/performance.md).
func (n *Node) listen() error {
	socket, err := net.Listen("tcp", n.config.Listen)
	if err != nil {
		return err
	}
	limits := n.config.Wire
	limits.Reserved += int(n.config.Quota / valueLogFile)
	limits.OnFull = func() {
		n.config.Logger.Warn("all connections that may be open are: idle ones make room", "connections", n.listener.Most(),
			"descriptors", wire.Descriptors(), "displaced", n.listener.Stats().Displaced)
	}
	if n.listener, err = wire.New(socket, limits); err != nil {
		return errors.Join(err, socket.Close())
	}
	if n.config.CertFile != "" {
		certificates, err := wire.OpenCertificates(wire.CertificatesConfig{
			CertFile: n.config.CertFile,
			KeyFile:  n.config.KeyFile,
			Key:      n.config.Key,
			OnError: func(err error) {
				n.config.Logger.Error("certificate not taken, the last good one stays", "error", err)
			},
		})
		if err != nil {
			return err
		}
		n.tls = certificates.TLS()
	}
	if n.config.Admin != "" {
		if n.admin, err = net.Listen("tcp", n.config.Admin); err != nil {
			return err
		}
		warnOfAdmin(n.config.Logger, n.admin.Addr())
	}
	n.server = &fasthttp.Server{
		Handler:                      n.handle,
		Name:                         "brink",
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		StreamRequestBody:            true,
		MaxRequestBodySize:           64 << 10, // longer bodies are streamed to the handler, which has bounds of its own
		ReadBufferSize:               16 << 10, // bounds a request's head
		Concurrency:                  fasthttp.DefaultConcurrency,
		DisablePreParseMultipartForm: true,
		Logger:                       serverLog{n.config.Logger},
		ErrorHandler:                 n.broken,
		// No time limits here: they would be absolute, and end slow devices that move. Package wire has them.
	}
	return nil
}

// Addr returns the address of the public listener, and AdminAddr that of the operators' one, or "".
func (n *Node) Addr() string { return n.listener.Addr().String() }

// AdminAddr returns the address of the operators' listener, "" if there is none.
func (n *Node) AdminAddr() string {
	if n.admin == nil {
		return ""
	}
	return n.admin.Addr().String()
}

// URL returns the base URL of the public listener.
func (n *Node) URL() string {
	if n.tls != nil {
		return "https://" + n.Addr()
	}
	return "http://" + n.Addr()
}

// Run answers requests until ctx ends, and then stops the node in good order. It returns when everything is closed.
func (n *Node) Run(ctx context.Context) error {
	var serving sync.WaitGroup
	failed := make(chan error, 3)
	serving.Go(func() {
		listener := net.Listener(n.listener)
		if n.tls != nil {
			listener = tls.NewListener(n.listener, n.tls)
		}
		if err := n.server.Serve(listener); err != nil && !errors.Is(err, net.ErrClosed) {
			failed <- fmt.Errorf("serve: %w", err)
		}
	})
	admin := &http.Server{Handler: n.adminHandler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: nil}
	if n.admin != nil {
		serving.Go(func() {
			if err := admin.Serve(n.admin); err != nil && !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve operators: %w", err)
			}
		})
	}
	gossiping, leave := context.WithCancel(context.Background())
	defer leave()
	var fleet sync.WaitGroup
	if n.fleet != nil {
		fleet.Go(func() {
			if err := n.fleet.run(gossiping); err != nil {
				failed <- fmt.Errorf("gossip: %w", err)
			}
		})
	}
	if n.mirror != nil {
		n.work.Go(func() { n.mirror.run(n.ctx) })
	}
	n.begin(ctx)
	n.config.Logger.Info("node is ready", "address", n.Addr(), "admin", n.AdminAddr(), "channels", n.channels.count(),
		"connections", n.listener.Most())
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	n.drainFor(n.config.Drain)
	leave() // the others ask this one for nothing more; it still answers
	fleet.Wait()
	err = errors.Join(err, n.stop())
	if n.admin != nil { // the last to go: it tells how the drain comes along
		err = errors.Join(err, admin.Close())
	}
	serving.Wait()
	return errors.Join(err, n.close())
}

// begin says that the node is ready. One that has nothing asks the fleet first: devices are better served by others
// until then. It answers requests all the same.
func (n *Node) begin(ctx context.Context) {
	switch {
	case n.fleet == nil || len(n.config.Fleet.Join) == 0:
	case n.channels.count() > 0:
		n.work.Go(func() { n.catchUp(n.ctx) })
	default:
		n.health.enter(phaseLearning)
		n.catchUp(ctx)
	}
	if ctx.Err() == nil {
		n.setDraining(false)
	}
}

// drainFor says that the node is not ready, and lets load balancers see it.
func (n *Node) drainFor(wait time.Duration) {
	n.setDraining(true)
	n.config.Logger.Info("node is draining", "wait", max(wait, 0))
	if wait > 0 {
		<-time.After(wait)
	}
}

// lastRequests is how long connections that were opened at the last moment have for their request. What is idle after
// that is closed.
const lastRequests = 250 * time.Millisecond

// stop ends the public side.
func (n *Node) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), n.config.Finish)
	defer cancel()
	// The server would close connections on which it has read no request yet, and so reset one that is on its way. While
	// the node drains, each connection ends by itself with the next answer.
	closing := n.listener.Close()
	if n.config.Drain > 0 && n.listener.Stats().Open > 0 {
		<-time.After(lastRequests)
	}
	err := n.server.ShutdownWithContext(ctx)
	if errors.Is(err, net.ErrClosed) {
		err = nil // it was, just now
	}
	if !errors.Is(closing, net.ErrClosed) {
		err = errors.Join(err, closing)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		n.config.Logger.Warn("requests are cut: they did not finish in time", "open", n.listener.Stats().Open)
		err = nil
	}
	n.listener.CloseConns()
	return err
}

// close ends the work in the background and closes what was opened, in the reverse order.
func (n *Node) close() error {
	n.cancel()
	var errs []error
	if n.listener != nil {
		if err := n.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
		n.listener.CloseConns()
	}
	if n.admin != nil {
		if err := n.admin.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, n.uploads.close())
	if n.filler != nil {
		errs = append(errs, n.filler.Close())
	}
	n.work.Wait()
	if n.fleet != nil {
		errs = append(errs, n.fleet.gossip.Close())
	}
	if n.bucket != nil {
		errs = append(errs, n.bucket.Close())
	}
	if n.peering != nil {
		n.peering.CloseIdleConnections()
	}
	if n.hot != nil {
		n.hot.close()
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}

// amiss says what an operator should know of a node that serves.
func (n *Node) amiss() []string {
	var reasons []string
	if why := n.store.ReadOnly(); why != "" {
		reasons = append(reasons, "read-only: "+why)
	}
	if lapsed := n.channels.countLapsed(); lapsed > 0 {
		reasons = append(reasons,
			fmt.Sprintf("channels left out, because trust no longer allows what they serve: %d", lapsed))
	}
	if n.mirror != nil {
		reasons = append(reasons, n.mirror.amiss()...)
	}
	if missing := n.filler.Progress().Missing; missing > 0 {
		reasons = append(reasons, fmt.Sprintf("%d bundles are being brought in", missing))
	}
	return append(reasons, n.expiring()...)
}

// handle is where fasthttp hands over. A panic is the program's fault: it costs the request, not the node.
func (n *Node) handle(ctx *fasthttp.RequestCtx) {
	r := serve.NewRequest(ctx, n.bodies)
	start := time.Now()
	n.metrics.begin()
	defer func() {
		r.Release()
		if cause := recover(); cause != nil {
			n.panickedAt(n.table.Name(r.Label), cause)
			n.fail(r, fmt.Errorf("panic: %v", cause))
		}
		if n.draining.Load() {
			ctx.SetConnectionClose()
		}
		took := time.Since(start)
		n.metrics.end(r.Label, ctx.Response.StatusCode(), took)
		n.access.log(r, n.table.Name(r.Label), took)
	}()
	if err := n.table.Dispatch(r); err != nil {
		n.fail(r, err)
	}
}

// fail answers with the problem of an error.
func (n *Node) fail(r *serve.Request, err error) *protocol.Problem {
	return r.Fail(err, n.table.Name(r.Label), n.config.Logger)
}

// broken answers what fasthttp could not read as a request.
func (n *Node) broken(ctx *fasthttp.RequestCtx, err error) {
	n.metrics.malformed()
	r := serve.NewRequest(ctx, n.bodies)
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &small):
		n.fail(r, serve.Problem("too_large", "the head of the request is too long", ""))
		ctx.SetStatusCode(fasthttp.StatusRequestHeaderFieldsTooLarge)
	case errors.Is(err, os.ErrDeadlineExceeded):
		ctx.SetStatusCode(fasthttp.StatusRequestTimeout)
	default:
		n.fail(r, serve.Problem("bad_request", "the request can not be read", ""))
	}
	ctx.SetConnectionClose()
}
