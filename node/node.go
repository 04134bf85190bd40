// Package node is the running edge: it creates the parts of a node, listens, and stops them. Each part owns its state,
// and none depends on the node.
//
// The life of one request: package wire accepts a connection, and closes it if it is idle or too slow. fasthttp reads
// the request; package serve finds the handler of its path. The handler serves a representation: bytes that never
// change, with a strong entity tag. Package semantics decides whether to send the whole, a part or nothing. The bytes
// come from RAM, or from the store, which verifies them. An error is answered as a problem: a code, a message and a
// hint.
//
// The life of a publish: an offer (signed intent and index) opens an upload. The upload receives the missing chunks,
// and the store verifies the whole bundle. Package force verifies the signed channel manifest, waits for the
// representations that devices will request first, makes the manifest durable, and brings it into force.
//
// The invariants: only verified bytes are served; only manifests signed by keys that the org's trust document allows
// come into force; no request waits for an encoder.
//
// A node stops in this order: it reports that it is not ready, waits until load balancers have noticed, stops accepting
// connections, lets running requests finish for a bounded time, closes the remaining connections, stops the work in the
// background, and closes the store.
package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"brink/node/internal/background"
	"brink/node/internal/bundles"
	"brink/node/internal/check"
	"brink/node/internal/choices"
	"brink/node/internal/deliver"
	"brink/node/internal/fleet"
	"brink/node/internal/force"
	"brink/node/internal/guest"
	"brink/node/internal/mirror"
	"brink/node/internal/represent"
	"brink/node/internal/serve"
	"brink/node/internal/site"
	"brink/node/internal/stats"
	"brink/node/internal/upload"
	"brink/node/internal/wire"
	"brink/origin"
	"brink/origin/bucket"
	"brink/store"
)

// Node is one running edge. Use [New], then [Node.Run] once.
type Node struct {
	config Config

	store    *store.Store
	state    *force.State
	door     *force.Door
	accounts *force.Accounts
	endings  *force.Endings

	fleet   *fleet.Fleet   // nil: alone
	bucket  *bucket.Bucket // the origin; nil: none
	mirror  *mirror.Mirror // nil: no origin
	filler  *origin.Filler
	bundles *bundles.Source

	hot        *represent.Hot
	builder    *represent.Builder
	server     *represent.Server
	site       *site.Site
	deliver    *deliver.Handlers
	check      *check.Handlers
	uploads    *upload.Uploads
	statements *force.Handlers
	stats      *stats.Stats
	choices    *choices.Choices
	journal    *choices.Journal // nil: alone
	guests     []guest.Guest

	bodies  *serve.Budget // bodies of unidentified clients
	answers *serve.Budget // private memory of answers
	streams *serve.Budget // memory of readers of large representations
	sender  *serve.Sender
	table   *serve.Table
	metrics *metrics
	access  access
	health  health

	draining atomic.Bool
	listener *wire.Listener
	http     *fasthttp.Server
	tls      *tls.Config // nil: plain HTTP
	admin    net.Listener

	ctx    context.Context // of all work that outlives a request
	cancel context.CancelFunc
	work   background.Group // all goroutines on ctx
}

// New opens the store, brings the stored manifests into force, and listens. Requests are answered once [Node.Run] is
// called. If New returns an error, nothing stays open.
func New(config Config) (_ *Node, err error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	config = config.withDefaults()
	n := &Node{
		config:  config,
		state:   force.NewState(),
		bodies:  serve.NewBudget(config.maxBodies),
		answers: serve.NewBudget(config.maxAnswers),
		streams: serve.NewBudget(config.maxStreams),
		access:  newAccess(config),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.work.Panicked = n.panicked
	n.health = health{phase: phaseStarting, reason: n.problems}
	n.metrics = newMetrics(n)
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if n.hot, err = represent.NewHot(represent.HotConfig{
		Size: config.Hot, Direct: config.CertFile == "", Grace: config.grace,
	}); err != nil {
		return nil, err
	}
	for _, open := range []func() error{n.openStore, n.listen, n.openSources, n.openServers, n.route, n.connect} {
		if err := open(); err != nil {
			return nil, err
		}
	}
	n.work.Go(func() { n.choices.Run(n.ctx) })
	n.stats.Start()
	n.work.Go(func() { n.stats.Run(n.ctx) })
	n.work.Go(func() { n.endings.Run(n.ctx) })
	return n, nil
}

// Bounds of memory in bytes.
const (
	maxBodies  = 64 << 20  // of bodies of unidentified clients
	maxAnswers = 64 << 20  // of the private memory of answers
	maxStreams = 256 << 20 // of readers of large representations, some 500 of them; Config.Hot if that is more
)

// Addr returns the address of the public listener.
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
	return n.scheme() + "://" + n.Addr()
}

func (n *Node) scheme() string {
	if n.tls != nil {
		return "https"
	}
	return "http"
}

// channels returns how many channels are in force.
func (n *Node) channels() int {
	inForce, _ := n.state.Count()
	return inForce
}

// problems returns what /readyz reports besides the phase.
func (n *Node) problems() []string {
	var reasons []string
	if why := n.store.ReadOnly(); why != "" {
		reasons = append(reasons, "read-only: "+why)
	}
	if n.store.Poisoned() {
		reasons = append(reasons, "no disk space can be freed before a restart: a read of the store failed")
	}
	if _, lapsed := n.state.Count(); lapsed > 0 {
		reasons = append(reasons,
			fmt.Sprintf("channels left out, because the trust documents no longer allow them: %d", lapsed))
	}
	if n.mirror != nil {
		reasons = append(reasons, n.mirror.Problems()...)
	}
	if missing := n.filler.Progress().Missing; missing > 0 {
		reasons = append(reasons, fmt.Sprintf("bundles that are being fetched: %d", missing))
	}
	return append(reasons, n.endings.Reasons()...)
}

// handle is the handler of fasthttp. A panic fails the request, not the node.
func (n *Node) handle(ctx *fasthttp.RequestCtx) {
	r := serve.NewRequest(ctx, n.bodies)
	start := time.Now()
	n.metrics.started()
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
		n.metrics.finished(r.Label, ctx.Response.StatusCode(), took)
		n.access.log(r, n.table.Name(r.Label), took)
	}()
	if err := n.table.Dispatch(r); err != nil {
		n.fail(r, err)
	}
}

// fail answers with the problem of an error.
func (n *Node) fail(r *serve.Request, err error) {
	_ = r.Fail(err, n.table.Name(r.Label), n.config.Logger) // returns the problem that it has written
}

// panicked counts and logs a panic. It must be called from the deferred function, for the stack.
func (n *Node) panicked(cause any) { n.panickedAt("", cause) }

func (n *Node) panickedAt(route string, cause any) {
	n.metrics.panicked()
	n.config.Logger.Error("panic", "route", route, "cause", cause, "stack", string(debug.Stack()))
}

// handleMalformed answers requests that fasthttp could not read.
func (n *Node) handleMalformed(ctx *fasthttp.RequestCtx, err error) {
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
		n.fail(r, serve.Problem("bad_request", "the request cannot be read", ""))
	}
	ctx.SetConnectionClose()
}
