package testbed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"brink/channel"
	"brink/publish"
)

// org owns all apps of the bench.
const org = "bench"

// Node is a Brink node in its own process, started as by an operator, with the keys to publish to it.
type Node struct {
	Server

	Key      channel.PrivateKey
	Trust    string // file of the trust document
	Document []byte // the trust document
}

// StartNewNode starts a new node on an empty folder, with additional flags, on the servers' processors.
func (b *Testbed) StartNewNode(ctx context.Context, flags ...string) (*Node, error) {
	n, err := b.NewNode()
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp(b.Dir, "data-*")
	if err != nil {
		return nil, err
	}
	return n, b.StartNode(ctx, n, data, flags...)
}

// NewNode returns a node that is not started yet: its keys, and its trust document in a file.
func (b *Testbed) NewNode() (*Node, error) {
	n := &Node{}
	root, err := channel.NewKey(nil)
	if err != nil {
		return nil, err
	}
	if n.Key, err = channel.NewKey(nil); err != nil {
		return nil, err
	}
	raw, err := channel.NewTrust(channel.TrustConfig{
		Org: org, Issued: time.Now().UTC().Truncate(time.Second),
		Roots: []channel.PublicKey{root.Public()}, Keys: []channel.PublicKey{n.Key.Public()},
		Roles: []channel.Role{{
			Name: "publisher", Keys: []string{n.Key.Public().ID()},
			Apps: []channel.Pattern{"*"}, Channels: []channel.Pattern{"*"},
		}},
	}, root)
	if err != nil {
		return nil, err
	}
	n.Trust, n.Document = filepath.Join(b.Dir, "trust.json"), raw
	return n, os.WriteFile(n.Trust, raw, 0o600)
}

// StartNode starts a node on a data folder, and waits until it listens.
func (b *Testbed) StartNode(ctx context.Context, n *Node, data string, flags ...string) error {
	address, err := b.Address()
	if err != nil {
		return err
	}
	args := []string{
		"serve", "--data", data, "--listen", address, "--trust", n.Trust, "--drain-wait", "0s", "--log-level", "warn",
	}
	if b.TLS {
		args = append(args, "--tls-cert", b.Cert, "--tls-key", b.Key)
	}
	n.Name, n.URL = "Brink", b.scheme()+"://"+address
	n.Cmd, err = b.StartProgram(ctx, address, nil, b.Run.Brink, append(args, flags...)...)
	return err
}

// KeyFile writes the publisher's key to a folder and returns the file.
func (n *Node) KeyFile(dir string) (string, error) {
	pem, err := n.Key.MarshalPEM()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "publisher.key")
	return path, os.WriteFile(path, pem, 0o600)
}

// Publisher returns the configuration to publish to the node.
func (n *Node) Publisher() publish.Config {
	return publish.Config{Node: n.URL, Trust: n.Document, Keys: []channel.PrivateKey{n.Key}, HTTP: NewClient()}
}

// Publish publishes the files of a folder to a channel of [App].
func (n *Node) Publish(ctx context.Context, dir, name, version string) (publish.Result, error) {
	p, err := publish.New(n.Publisher())
	if err != nil {
		return publish.Result{}, err
	}
	return p.Publish(ctx, publish.Request{Dir: dir, App: App, Version: version, Channel: name})
}

// Brink starts a node and publishes the files, which [Server.URL] then names as that of a peer does.
func (b *Testbed) Brink(ctx context.Context, flags ...string) (*Server, error) {
	n, err := b.StartNewNode(ctx, flags...)
	if err != nil {
		return nil, err
	}
	r, err := n.Publish(ctx, b.Files, "production", "1.0.0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("publish: %w", err), n.Stop())
	}
	n.URL += "/v1/bundles/" + r.Bundle.String() + "/files"
	n.Version = "this tree"
	return &n.Server, nil
}

// WaitReady waits until the node answers that it is ready, and returns how long after start that is. It polls, as a
// load balancer does.
func (n *Node) WaitReady(ctx context.Context, start time.Time) (time.Duration, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL+"/readyz", nil)
		if err != nil {
			return 0, err
		}
		resp, err := NewClient().Do(req)
		if err == nil {
			err = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return time.Since(start), err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
