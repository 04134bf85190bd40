package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"brink/channel"
	"brink/node"
	"brink/protocol"
	"brink/publish"
)

// A node starts, a publisher publishes to it, and a device asks for updates.
func Example() {
	dir, err := os.MkdirTemp("", "brink-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	key, trust := newOrg()

	edge, err := node.New(node.Config{
		Data: filepath.Join(dir, "data"), Listen: "127.0.0.1:0", Trust: [][]byte{trust}, Quota: 1 << 30,
		Drain: -1, // no load balancer has to notice that the node stops
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- edge.Run(ctx) }()

	if err := release(ctx, dir, edge.URL(), key, trust); err != nil {
		fmt.Println(err)
	}
	answer, err := check(ctx, edge.URL())
	if err != nil {
		fmt.Println(err)
	} else {
		fmt.Println(answer.Decision, answer.Release.Version)
	}

	stop()
	fmt.Println(<-stopped)
	// Output:
	// update 1.0.0
	// <nil>
}

// release publishes version 1.0.0 to the channel production.
func release(ctx context.Context, dir, url string, key channel.PrivateKey, trust []byte) error {
	www := filepath.Join(dir, "www")
	if err := os.Mkdir(www, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(www, "index.html"), []byte("Hello, shop!"), 0o600); err != nil {
		return err
	}
	connections := &http.Transport{}
	defer connections.CloseIdleConnections()
	publisher, err := publish.New(publish.Config{
		Node: url, Trust: trust, Keys: []channel.PrivateKey{key}, HTTP: &http.Client{Transport: connections},
	})
	if err != nil {
		return err
	}
	_, err = publisher.Publish(ctx, publish.Request{
		Dir: www, App: "com.acme.shop", Version: "1.0.0", Channel: "production",
	})
	return err
}

// check asks whether there is an update, as package client does, which also verifies the answer.
func check(ctx context.Context, url string) (answer protocol.CheckAnswer, err error) {
	body := strings.NewReader(`{"channel":"production","device":{}}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+protocol.CheckPath("com.acme.shop"), body)
	if err != nil {
		return answer, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	raw, err := protocol.ReadAnswer(resp, protocol.MaxCheckAnswer)
	if err != nil {
		return answer, err
	}
	err = json.Unmarshal(raw, &answer)
	return answer, err
}

// newOrg returns a key, and a trust document that lets it publish the apps of an org. `brink key new` and `brink org
// new` do the same.
func newOrg() (key channel.PrivateKey, trust []byte) {
	root, err := channel.NewKey(nil)
	if err != nil {
		panic(err)
	}
	if key, err = channel.NewKey(nil); err != nil {
		panic(err)
	}
	trust, err = channel.NewTrust(channel.TrustConfig{
		Org:    "acme",
		Issued: time.Now(),
		Roots:  []channel.PublicKey{root.Public()},
		Keys:   []channel.PublicKey{key.Public()},
		Roles: []channel.Role{{
			Name: "publisher", Keys: []string{key.Public().ID()},
			Apps: []channel.Pattern{"com.acme.*"}, Channels: []channel.Pattern{"*"},
		}},
	}, root)
	if err != nil {
		panic(err)
	}
	return key, trust
}
