package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"brink/node/internal/admin"
)

// Run answers requests until ctx ends, and then drains and stops the node. It returns when everything is closed.
func (n *Node) Run(ctx context.Context) error {
	var serving sync.WaitGroup
	failed := make(chan error, 3)
	serving.Go(func() {
		listener := net.Listener(n.listener)
		if n.tls != nil {
			listener = tls.NewListener(n.listener, n.tls)
		}
		if err := n.http.Serve(listener); err != nil && !errors.Is(err, net.ErrClosed) {
			failed <- fmt.Errorf("serve: %w", err)
		}
	})
	operators := &http.Server{Handler: n.operators(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: nil}
	if n.admin != nil {
		serving.Go(func() {
			if err := operators.Serve(n.admin); err != nil && !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve operators: %w", err)
			}
		})
	}
	gossiping, leave := context.WithCancel(context.Background())
	defer leave()
	var fleet sync.WaitGroup
	if n.fleet != nil {
		fleet.Go(func() {
			if err := n.fleet.Run(gossiping); err != nil {
				failed <- fmt.Errorf("gossip: %w", err)
			}
		})
	}
	if n.mirror != nil {
		n.work.Go(func() { n.mirror.Run(n.ctx) })
	}
	n.start(ctx)
	n.config.Logger.Info("node is ready", "address", n.Addr(), "admin", n.AdminAddr(), "channels", n.channels(),
		"connections", n.listener.Limit())
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	n.drainFor(n.config.Drain)
	leave() // the others send no more requests; this node still answers
	fleet.Wait()
	err = errors.Join(err, n.stop())
	if n.admin != nil { // the last one, because it reports the progress of the drain
		err = errors.Join(err, operators.Close())
	}
	serving.Wait()
	return errors.Join(err, n.close())
}

// operators returns the handler of the operators' listener.
func (n *Node) operators() http.Handler {
	return admin.New(admin.Config{
		Address: n.config.Admin,
		Hosts:   n.config.AdminHosts,
		Metrics: n.metrics.registry,
		Ready: func() (bool, any) {
			answer := n.health.check()
			return answer.Ready, answer
		},
		Store:  n.store,
		Stats:  n.stats,
		Fleet:  n.fleet,
		Node:   n.config.Fleet.Node,
		Status: n.status,
		Drain:  n.setDraining,
		Logger: n.config.Logger,
	})
}

// start reports that the node is ready. A node without channels catches up with the fleet first, because other nodes
// serve devices better until then. It answers requests nevertheless.
func (n *Node) start(ctx context.Context) {
	switch {
	case n.fleet == nil || len(n.config.Fleet.Join) == 0:
	case n.channels() > 0:
		n.work.Go(func() { n.fleet.CatchUp(n.ctx) })
	default:
		if !n.draining.Load() {
			n.health.setPhase(phaseLearning)
		}
		n.fleet.CatchUp(ctx)
	}
	if ctx.Err() == nil && !n.draining.Load() { // an operator may have drained it meanwhile
		n.setDraining(false)
	}
}

// drainFor reports that the node is not ready, and waits until load balancers have noticed.
func (n *Node) drainFor(wait time.Duration) {
	n.setDraining(true)
	n.config.Logger.Info("node is draining", "wait", max(wait, 0))
	if wait > 0 {
		<-time.After(wait)
	}
}

// lastRequests is how long connections that were opened at the last moment have to send a request. After that, idle
// connections are closed.
const lastRequests = 250 * time.Millisecond

// stop stops the public listener.
func (n *Node) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), n.config.Finish)
	defer cancel()
	// The server would close connections on which it has read no request yet, and so reset one that is in flight. While
	// the node drains, each connection closes by itself after the next answer.
	closing := n.listener.Close()
	if n.config.Drain > 0 && n.listener.Stats().Open > 0 {
		<-time.After(lastRequests)
	}
	err := n.http.ShutdownWithContext(ctx)
	if errors.Is(err, net.ErrClosed) {
		err = nil // it was closed above
	}
	if !errors.Is(closing, net.ErrClosed) {
		err = errors.Join(err, closing)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		n.config.Logger.Warn("requests are cut because they did not finish in time", "open", n.listener.Stats().Open)
		err = nil
	}
	n.listener.CloseConns()
	return err
}

// close stops the work in the background and closes everything that was opened, in the reverse order.
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
	if n.uploads != nil {
		errs = append(errs, n.uploads.Close())
	}
	if n.filler != nil {
		errs = append(errs, n.filler.Close())
	}
	n.work.Wait()
	if n.fleet != nil {
		errs = append(errs, n.fleet.Close())
	}
	if n.bucket != nil {
		errs = append(errs, n.bucket.Close())
	}
	if n.hot != nil {
		n.hot.Close()
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}
