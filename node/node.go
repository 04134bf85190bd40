// Package node is the running edge: it makes the packages below it, listens, and ends them. Each of those owns its
// state, and none knows the node.
//
// The life of one request: a connection comes through package wire, which ends it when it only costs. fasthttp reads
// the request; package serve finds what the path names and calls its handler. What a handler serves is a
// representation: bytes that never change, with a strong entity tag. Package semantics says whether to send the whole,
// a part or nothing; the bytes come from RAM, or from the store, which checks them. An error becomes a problem: a code,
// a message and a hint, by one table.
//
// The life of a publish: an offer (signed intent, index) opens an upload; the upload brings the missing chunks, and the
// store checks the bundle as a whole; the signed channel manifest enters by the door of package force, which
// checks it, has the representations built that devices will ask for first, makes it durable and switches.
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

	bodies  *serve.Budget // bodies of clients of which nothing is known
	answers *serve.Budget // what answers hold for themselves
	streams *serve.Budget // what readers of large representations hold
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

	ctx    context.Context // of all work that is not one request's
	cancel context.CancelFunc
	work   background.Group // all goroutines on ctx
}

// New opens the store, brings into force what it holds, and listens; requests are answered from [Node.Run] on. On error
// nothing stays open.
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
		Size: config.Hot, Direct: config.CertFile == "", Grace: config.patience,
	}); err != nil {
		return nil, err
	}
	for _, open := range []func() error{n.openStore, n.listen, n.openSources, n.openServers, n.route, n.connect} {
		if err := open(); err != nil {
			return nil, err
		}
	}
	n.work.Go(func() { n.choices.Run(n.ctx) })
	n.stats.Begin()
	n.work.Go(func() { n.stats.Run(n.ctx) })
	n.work.Go(func() { n.endings.Run(n.ctx) })
	return n, nil
}

// maxBodies bounds, in bytes, the bodies of all requests of which nothing is known yet but that they may have a body,
// and maxAnswers what all answers hold for themselves. What readers of large representations hold is bounded by the
// size of the hot set, or maxStreams if that is more: some 500 of them.
const (
	maxBodies  = 64 << 20
	maxAnswers = 64 << 20
	maxStreams = 256 << 20
)

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

// problems says what an operator should know of a node that serves.
func (n *Node) problems() []string {
	var reasons []string
	if why := n.store.ReadOnly(); why != "" {
		reasons = append(reasons, "read-only: "+why)
	}
	if n.store.Poisoned() {
		reasons = append(reasons, "no disk space comes back before a restart: a read of the store failed")
	}
	if _, lapsed := n.state.Count(); lapsed > 0 {
		reasons = append(reasons,
			fmt.Sprintf("channels left out, because trust no longer allows what they serve: %d", lapsed))
	}
	if n.mirror != nil {
		reasons = append(reasons, n.mirror.Problems()...)
	}
	if missing := n.filler.Progress().Missing; missing > 0 {
		reasons = append(reasons, fmt.Sprintf("%d bundles are being brought in", missing))
	}
	return append(reasons, n.endings.Reasons()...)
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
func (n *Node) fail(r *serve.Request, err error) {
	_ = r.Fail(err, n.table.Name(r.Label), n.config.Logger) // it is written
}

// panicked counts and logs a panic. It is called while the stack still says where it happened.
func (n *Node) panicked(cause any) { n.panickedAt("", cause) }

func (n *Node) panickedAt(route string, cause any) {
	n.metrics.panicked()
	n.config.Logger.Error("panic", "route", route, "cause", cause, "stack", string(debug.Stack()))
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
		n.fail(r, serve.Problem("bad_request", "the request cannot be read", ""))
	}
	ctx.SetConnectionClose()
}
