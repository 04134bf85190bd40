package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing/fstest"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/client"
	"brink/digest"
	"brink/protocol"
)

// An app checks for an update, installs it, and confirms it once the new version has started.
func ExampleClient_Update() {
	node, trust := newNode("1.0.0", fstest.MapFS{"index.html": {Data: []byte("Hello, shop!")}})
	defer node.Close()
	dir, err := os.MkdirTemp("", "device-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	device, err := client.New(client.Config{
		Dir: dir, Nodes: []string{node.URL}, Trust: trust, App: "com.acme.shop", Channel: "production",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer device.Close()
	result, err := device.Update(context.Background())
	if err != nil {
		fmt.Println(err) // what was installed still is
		return
	}
	page, err := os.ReadFile(filepath.Join(result.Path, "index.html"))
	fmt.Printf("%s: %s %v\n", result.Version, page, err)

	// Call Confirm if the new version works, and Rollback if not.
	fmt.Println(device.Confirm())
	result, err = device.Update(context.Background())
	fmt.Println(result.Decision, err)
	// Output:
	// 1.0.0: Hello, shop! <nil>
	// <nil>
	// up_to_date <nil>
}

// newNode returns a server that answers like a node with one release, and the trust document of its org. Real nodes
// are in package node.
func newNode(version string, files fstest.MapFS) (node *httptest.Server, trust []byte) {
	var archive bytes.Buffer
	if err := (bundle.Folder{FS: files}).WriteArchive(context.Background(), &archive); err != nil {
		panic(err)
	}
	ix := must(bundle.IndexArchive(context.Background(), bytes.NewReader(archive.Bytes())))
	now := time.Now().UTC().Truncate(time.Second)
	release := channel.Release{
		Version: version, Bundle: ix.Bundle(), SHA256: ix.Archive.SHA256, Size: ix.Archive.Size, Files: len(ix.Files),
		Index: digest.Sum(ix.Encode()), IndexSize: int64(len(ix.Encode())), Created: now,
	}

	root, key := must(channel.NewKey(nil)), must(channel.NewKey(nil))
	trust = must(channel.NewTrust(channel.TrustConfig{
		Org:    "acme",
		Issued: now,
		Roots:  []channel.PublicKey{root.Public()},
		Keys:   []channel.PublicKey{key.Public()},
		Roles: []channel.Role{{
			Name: "publisher", Keys: []string{key.Public().ID()},
			Apps: []channel.Pattern{"com.acme.*"}, Channels: []channel.Pattern{"*"},
		}},
	}, root))
	manifest := must(channel.NewManifest("acme", "com.acme.shop", "production").Publish(release, now))
	signed := must(channel.SignManifest(manifest, key))

	mux := http.NewServeMux()
	mux.HandleFunc(protocol.CheckPath("com.acme.shop"), func(w http.ResponseWriter, _ *http.Request) {
		// The device decides by itself from the signed manifest.
		_ = json.NewEncoder(w).Encode(protocol.CheckAnswer{Decision: channel.Update, Manifest: signed})
	})
	mux.HandleFunc(protocol.ArchivePath(ix.Bundle()), func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(archive.Bytes())
	})
	return httptest.NewServer(mux), trust
}

// must returns the value, for steps that cannot fail here.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
