package publish_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/publish"
)

// A publisher signs a folder as version 1.0.0 and lets the channel production serve it.
func ExamplePublisher_Publish() {
	key, trust := newOrg()
	www, err := os.MkdirTemp("", "www-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(www)
	if err := os.WriteFile(filepath.Join(www, "index.html"), []byte("Hello, shop!"), 0o600); err != nil {
		fmt.Println(err)
		return
	}

	// To publish to a node, set Node to its URL instead of Origin.
	publisher, err := publish.New(publish.Config{
		Origin: &shelf{}, Trust: trust, Keys: []channel.PrivateKey{key},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	release := publish.Request{Dir: www, App: "com.acme.shop", Version: "1.0.0", Channel: "production"}
	for range 2 { // to publish again is safe
		result, err := publisher.Publish(context.Background(), release)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(result.Version, "files:", result.Files, "sent:", result.ChunksSent, "unchanged:", result.Unchanged)
	}
	// Output:
	// 1.0.0 files: 1 sent: 1 unchanged: false
	// 1.0.0 files: 1 sent: 0 unchanged: true
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

// shelf is an Origin with room for one channel, in memory. Brink has one for S3 buckets.
type shelf struct {
	publish.Origin // no other method is called here

	trust, manifest []byte
}

func (s *shelf) Trust(context.Context, string) ([]byte, error) { return s.trust, nil }

func (s *shelf) PutTrust(_ context.Context, raw []byte) error {
	s.trust = raw
	return nil
}

func (s *shelf) Manifest(context.Context, string, string) ([]byte, error) { return s.manifest, nil }

func (s *shelf) Upload(
	ctx context.Context, ix *bundle.Index, _ []byte, _ bool, frame publish.Frame,
) (sent publish.Uploaded, err error) {
	if s.manifest != nil {
		return sent, nil // the bundle is here
	}
	for c := range ix.Chunks() {
		f, err := frame(ctx, c) // its bytes are to be stored
		if err != nil {
			return sent, err
		}
		sent.Chunks++
		sent.Bytes += int64(len(f.Data))
	}
	return sent, nil
}

func (s *shelf) Move(_ context.Context, m *channel.Manifest) error {
	s.manifest = m.Raw()
	return nil
}
