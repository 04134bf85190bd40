package scale

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"brink/bench/internal/process"
	"brink/bench/internal/testbed"
	"brink/protocol"
)

// filledNode is a node on a store filled with small bundles, each served by its own channel.
type filledNode struct {
	testbed.Node

	dir   string        // in memory; has the store
	ready time.Duration // from its start
	files string        // file of a list of requests for files
	check string        // file of a list of checks
}

// startFilled starts a node on a number of small bundles.
func (s *bench) startFilled(ctx context.Context, bundles int) (h *filledNode, err error) {
	h = &filledNode{}
	if h.dir, err = s.Run.MemoryDir(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(h.dir))
		}
	}()
	s.Dir = h.dir
	n, err := s.NewNode()
	if err != nil {
		return nil, err
	}
	h.Node = *n
	data := filepath.Join(h.dir, "data")
	if err := h.fill(ctx, data, bundles); err != nil {
		return nil, err
	}
	start := time.Now()
	if err := s.StartNode(ctx, &h.Node, data); err != nil {
		return nil, err
	}
	if h.ready, err = h.WaitReady(ctx, start); err == nil {
		err = process.WaitIdle(ctx, h.PID())
	}
	if err != nil {
		err = errors.Join(err, h.Stop())
	}
	return h, err
}

// fill fills the store and writes the lists of requests, in random order.
func (h *filledNode) fill(ctx context.Context, data string, bundles int) (err error) {
	k, err := testbed.OpenStock(data, h.Key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	var files, checks []testbed.Request
	for i := range bundles {
		r, err := k.AddBundle(ctx, "1.0.0", testbed.SmallFiles(uint64(i)))
		if err != nil {
			return err
		}
		name := fmt.Sprintf("channel-%05d", i)
		m, err := k.AddChannel(ctx, testbed.App, name, r)
		if err != nil {
			return err
		}
		files = append(files, testbed.Request{
			Method: http.MethodGet, Path: "/v1/bundles/" + r.Bundle.String() + "/files/assets/img.bin",
		})
		check := fmt.Sprintf(`{"channel":%q,"seen":%q,"device":{"id":"device-%d","version":"1.0.0","bundle":%q}}`,
			name, m.Statement(), i, r.Bundle)
		checks = append(checks, testbed.Request{
			Method: http.MethodPost, Path: protocol.CheckPath(testbed.App), Body: check,
		})
	}
	dice := rand.New(rand.NewPCG(1, 2))
	for _, list := range [][]testbed.Request{files, checks} {
		dice.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	h.files, h.check = filepath.Join(h.dir, "files"), filepath.Join(h.dir, "checks")
	return errors.Join(testbed.WriteRequests(h.files, files), testbed.WriteRequests(h.check, checks))
}

// stop stops the node and removes its store.
func (h *filledNode) stop() error { return errors.Join(h.Stop(), os.RemoveAll(h.dir)) }
