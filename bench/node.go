package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"brink/channel"
	"brink/publish"
)

// benchApp is the app that everything is published as, to one channel for each thing that is measured.
const benchApp = "com.example.bench"

// benchOrg owns all apps of the bench.
const benchOrg = "bench"

// node is a Brink node in a process of its own, as an operator starts it, with the keys to publish to it.
type node struct {
	server

	key      channel.PrivateKey
	trust    string // file
	document []byte // what is in it
}

// startNode starts a node on an empty folder, with further flags, on the servers' processors.
func (s *site) startNode(ctx context.Context, flags ...string) (*node, error) {
	n, err := s.newNode()
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp(s.dir, "data-*")
	if err != nil {
		return nil, err
	}
	return n, s.run(ctx, n, data, flags...)
}

// newNode returns a node that does not run yet: its keys, and its trust document in a file.
func (s *site) newNode() (*node, error) {
	n := &node{}
	root, err := channel.NewKey(nil)
	if err != nil {
		return nil, err
	}
	if n.key, err = channel.NewKey(nil); err != nil {
		return nil, err
	}
	raw, err := channel.NewTrust(channel.TrustConfig{
		Org: benchOrg, Issued: time.Now().UTC().Truncate(time.Second),
		Roots: []channel.PublicKey{root.Public()}, Keys: []channel.PublicKey{n.key.Public()},
		Roles: []channel.Role{{
			Name: "publisher", Keys: []string{n.key.Public().ID()},
			Apps: []channel.Pattern{"*"}, Channels: []channel.Pattern{"*"},
		}},
	}, root)
	if err != nil {
		return nil, err
	}
	n.trust, n.document = filepath.Join(s.dir, "trust.json"), raw
	return n, os.WriteFile(n.trust, raw, 0o600)
}

// run starts a node on a data folder, and returns when it listens.
func (s *site) run(ctx context.Context, n *node, data string, flags ...string) error {
	address, err := s.address()
	if err != nil {
		return err
	}
	args := []string{
		"serve", "--data", data, "--listen", address, "--trust", n.trust, "--drain-wait", "0s", "--log-level", "warn",
	}
	if s.tls {
		args = append(args, "--tls-cert", s.cert, "--tls-key", s.key)
	}
	n.name, n.url = "Brink", s.scheme()+"://"+address
	n.cmd, err = s.start(ctx, address, nil, s.bench.brink, append(args, flags...)...)
	return err
}

// keyFile writes the publisher's key to a folder, and returns the file.
func (n *node) keyFile(dir string) (string, error) {
	pem, err := n.key.MarshalPEM()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "publisher.key")
	return path, os.WriteFile(path, pem, 0o600)
}

// publisher returns how to publish to the node.
func (n *node) publisher() publish.Config {
	return publish.Config{Node: n.url, Trust: n.document, Keys: []channel.PrivateKey{n.key}, HTTP: believing()}
}

// publish makes the files of a folder what a channel serves.
func (n *node) publish(ctx context.Context, dir, name, version string) (publish.Result, error) {
	p, err := publish.New(n.publisher())
	if err != nil {
		return publish.Result{}, err
	}
	return p.Publish(ctx, publish.Request{Dir: dir, App: benchApp, Version: version, Channel: name})
}

// brinkServer is the node as one of the servers beside its peers.
func (s *site) brinkServer(ctx context.Context, flags ...string) (*server, error) {
	n, err := s.startNode(ctx, flags...)
	if err != nil {
		return nil, err
	}
	r, err := n.publish(ctx, s.files, "production", "1.0.0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("publish: %w", err), n.stop())
	}
	n.url += "/v1/bundles/" + r.Bundle.String() + "/files"
	n.version = "this tree"
	return &n.server, nil
}
