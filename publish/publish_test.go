package publish

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testApp = "com.acme.shop"

// fakeNode is a node that does as it is told, however wrong.
type fakeNode struct {
	*httptest.Server

	t     *testing.T
	key   channel.PrivateKey
	root  channel.PrivateKey
	trust []byte // the org's, which the publisher holds

	foreign  []byte            // handed out in the place of trust; nil: trust is
	versions map[uint64][]byte // of the trust document
	manifest []byte            // in force; nil for a new channel
	demand   func(*bundle.Index) protocol.Demand
	upload   []int // statuses that uploads are answered with, one after the other; then 200
	move     int   // status of the answer to a manifest; 0 is 200

	calls    []string // method and path of every request
	received []digest.Digest
	offered  []*bundle.Index
	plain    map[digest.Digest][]byte // of the chunks that were received
	moved    []byte
}

func newKey(t *testing.T) channel.PrivateKey {
	t.Helper()
	key, err := channel.NewKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newFakeNode(t *testing.T) *fakeNode {
	t.Helper()
	n := &fakeNode{t: t, key: newKey(t), plain: map[digest.Digest][]byte{}}
	n.root = newKey(t)
	root := n.root
	var err error
	n.trust, err = channel.NewTrust(channel.TrustConfig{
		Org:    "acme",
		Issued: time.Now(),
		Roots:  []channel.PublicKey{root.Public()},
		Keys:   []channel.PublicKey{n.key.Public()},
		Roles: []channel.Role{{
			Name: "publisher", Keys: []string{n.key.Public().ID()},
			Apps: []channel.Pattern{"com.acme.*"}, Channels: []channel.Pattern{"production"},
		}},
	}, root)
	if err != nil {
		t.Fatal(err)
	}
	n.demand = func(ix *bundle.Index) protocol.Demand {
		d := protocol.Demand{Bundle: ix.Bundle(), Upload: "/v1/uploads/one"}
		for c := range ix.Chunks() {
			d.Missing = append(d.Missing, c.Digest)
		}
		return d
	}
	n.Server = httptest.NewServer(http.HandlerFunc(n.serve))
	t.Cleanup(n.Close)
	return n
}

func (n *fakeNode) serve(w http.ResponseWriter, r *http.Request) {
	n.calls = append(n.calls, r.Method+" "+r.URL.Path)
	say := func(status int, what any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(what)
	}
	switch {
	case r.URL.Path == protocol.AppPath(testApp):
		say(200, protocol.App{App: testApp, Org: "acme"})
	case r.URL.Path == protocol.TrustPath("acme"):
		document := n.trust
		if n.foreign != nil {
			document = n.foreign
		}
		_, _ = w.Write(document)
	case strings.HasPrefix(r.URL.Path, protocol.TrustPath("acme")+"/"):
		version, _ := strconv.ParseUint(path.Base(r.URL.Path), 10, 64)
		if n.versions[version] == nil {
			say(404, protocol.Problem{Code: protocol.CodeUnknownOrg, Message: "not here"})
			return
		}
		_, _ = w.Write(n.versions[version])
	case r.Method == http.MethodGet && n.manifest != nil:
		_, _ = w.Write(n.manifest)
	case r.Method == http.MethodGet:
		say(404, protocol.Problem{Code: protocol.CodeUnknownChannel, Message: "new"})
	case r.Method == http.MethodPost:
		ix, err := n.readOffer(r.Body)
		if err != nil {
			n.t.Errorf("offer: %v", err)
			say(400, protocol.Problem{Code: protocol.CodeBadRequest, Message: err.Error()})
			return
		}
		n.offered = append(n.offered, ix)
		say(200, n.demand(ix))
	case strings.HasPrefix(r.URL.Path, "/v1/uploads/"):
		n.take(r.Body)
		if len(n.upload) > 0 {
			status := n.upload[0]
			n.upload = n.upload[1:]
			say(status, protocol.Problem{Code: protocol.CodeInternal, Message: "told to fail"})
			return
		}
		say(200, protocol.Uploaded{})
	case n.move != 0:
		say(n.move, protocol.Problem{Code: protocol.CodeConflict, Message: "someone was faster"})
	default:
		n.moved, _ = io.ReadAll(r.Body)
		say(200, protocol.Moved{})
	}
}

// readOffer returns the index of an offer, which has to be the one that the intent names.
func (n *fakeNode) readOffer(body io.Reader) (*bundle.Index, error) {
	in := bufio.NewReader(body)
	raw, err := protocol.ReadIntent(in, nil)
	if err != nil {
		return nil, err
	}
	trust, err := channel.ParseTrust(n.trust, time.Now())
	if err != nil {
		return nil, err
	}
	intent, err := trust.VerifyIntent(raw, time.Now())
	if err != nil {
		return nil, err
	}
	if life := intent.Expires.Sub(intent.Issued); life > time.Hour {
		return nil, fmt.Errorf("the intent is good for %s", life)
	}
	decoder, err := zstd.NewReader(in)
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	index, err := io.ReadAll(decoder)
	if err != nil {
		return nil, err
	}
	if int64(len(index)) != intent.IndexSize || digest.Sum(index) != intent.Index {
		return nil, fmt.Errorf("an index of %d bytes that was not signed", len(index))
	}
	return bundle.DecodeIndex(index)
}

func (n *fakeNode) take(body io.Reader) {
	stream, codec := bundle.NewStreamReader(body), bundle.NewCodec()
	for {
		frame, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		var plain []byte
		if err == nil {
			plain, err = codec.Plain(frame)
		}
		if err != nil {
			n.t.Errorf("upload: %v", err)
			return
		}
		n.received = append(n.received, frame.Digest)
		n.plain[frame.Digest] = bytes.Clone(plain)
	}
}

func (n *fakeNode) publish(change ...func(*Config, *Request)) (Result, error) {
	n.t.Helper()
	dir := n.t.TempDir()
	for name, data := range map[string]string{"index.html": "<!doctype html>", "app.js": strings.Repeat("const a = 1;\n", 9000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			n.t.Fatal(err)
		}
	}
	config := Config{Node: n.URL + "/", Trust: n.trust, Keys: []channel.PrivateKey{n.key}, HTTP: n.Client()}
	request := Request{Dir: dir, App: testApp, Version: "1.0.0", Channel: "production", Comment: "first"}
	for _, c := range change {
		c(&config, &request)
	}
	p, err := New(config)
	if err != nil {
		n.t.Fatal(err)
	}
	return p.Publish(context.Background(), request)
}

func (n *fakeNode) called(what string) int {
	count := 0
	for _, call := range n.calls {
		if strings.HasPrefix(call, what) {
			count++
		}
	}
	return count
}

func TestPublisher_SendsWhatIsWantedAndMovesTheChannel(t *testing.T) {
	n := newFakeNode(t)
	whole := n.demand
	var asked []digest.Digest
	n.demand = func(ix *bundle.Index) protocol.Demand {
		d := whole(ix)
		d.Missing = d.Missing[:1]
		asked = d.Missing
		return d
	}
	var stages []Stage
	r, err := n.publish(func(c *Config, _ *Request) {
		c.Progress = func(e Event) { stages = append(stages, e.Stage) }
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.ChunksSent != 1 || !slices.Equal(n.received, asked) || r.Sequence != 1 || r.Files != 2 || r.BytesSent == 0 {
		t.Errorf("result %+v, received %v", r, n.received)
	}
	if stages = slices.Compact(stages); !slices.Equal(stages, []Stage{Reading, Sending, Moving}) {
		t.Errorf("stages %v", stages)
	}
	m, err := channel.ParseManifest(n.moved)
	if err != nil || m.Release.Version != "1.0.0" || m.Release.Comment != "first" || m.Release.Bundle != r.Bundle {
		t.Errorf("channel moved to %+v, %v", m, err)
	}
}

func TestPublisher_UploadsNothingThatWouldBeRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config, *Request)
		code   channel.Code
	}{
		"unknown key":   {func(c *Config, _ *Request) { c.Keys = []channel.PrivateKey{newKey(t)} }, channel.CodeUnknownKey},
		"bad version":   {func(_ *Config, r *Request) { r.Version = "v1" }, channel.CodeMalformed},
		"wrong channel": {func(_ *Config, r *Request) { r.Channel = "beta" }, channel.CodeWrongChannel},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			_, err := n.publish(test.change)
			if channel.CodeOf(err) != test.code {
				t.Errorf("Publish = %v, want %s", err, test.code)
			}
			if n.called("PUT") != 0 || n.called("POST") != 0 {
				t.Errorf("it was sent all the same: %v", n.calls)
			}
		})
	}
}

func TestPublisher_BuildsOnNothingThatIsNotSigned(t *testing.T) {
	n := newFakeNode(t)
	if _, err := n.publish(); err != nil {
		t.Fatal(err)
	}
	m, err := channel.ParseManifest(n.moved)
	if err != nil {
		t.Fatal(err)
	}
	if n.manifest, err = channel.SignManifest(m, newKey(t)); err != nil {
		t.Fatal(err)
	}
	n.calls = nil
	_, err = n.publish(func(_ *Config, r *Request) { r.Version = "1.1.0" })
	if channel.CodeOf(err) != channel.CodeUnknownKey || n.called("PUT") != 0 {
		t.Errorf("on a forged manifest: %v, %v", err, n.calls)
	}
}

func TestPublisher_RefusesToSendWhatIsNotOfTheBundle(t *testing.T) {
	n := newFakeNode(t)
	n.demand = func(*bundle.Index) protocol.Demand {
		return protocol.Demand{Missing: []digest.Digest{digest.Sum([]byte("/etc/shadow"))}, Upload: "/v1/uploads/one"}
	}
	if _, err := n.publish(); err == nil || !strings.Contains(err.Error(), "not part of the bundle") || n.called("PUT") != 0 {
		t.Errorf("Publish = %v, %v", err, n.calls)
	}
}

// What a node says of where to send is appended to its address: it must not lead anywhere else.
func TestPublisher_SendsToNoOtherHost(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the publisher was led to another host")
	}))
	defer elsewhere.Close()
	host := strings.TrimPrefix(elsewhere.URL, "http://")
	for _, path := range []string{"@" + host + "/v1/uploads/x", "/v1/uploads/../../x", "/v1/other", "", "//" + host + "/x"} {
		n := newFakeNode(t)
		n.demand = func(ix *bundle.Index) protocol.Demand {
			return protocol.Demand{Bundle: ix.Bundle(), Missing: digest.List{ix.Files[0].Digest}, Upload: path}
		}
		if _, err := n.publish(); err == nil || !strings.Contains(err.Error(), "path of an upload") || n.called("PUT") != 0 {
			t.Errorf("sent to %q: %v, %v", path, err, n.calls)
		}
	}
}

func TestPublisher_TriesAgainWhatMayPass(t *testing.T) {
	n := newFakeNode(t)
	n.upload = []int{500, 503}
	if _, err := n.publish(); err != nil || n.called("POST") != rounds {
		t.Errorf("two failures: %v after %d offers", err, n.called("POST"))
	}
	n = newFakeNode(t)
	n.upload = []int{500, 500, 500, 500}
	if _, err := n.publish(); protocol.CodeOf(err) != protocol.CodeInternal || n.called("POST") != rounds {
		t.Errorf("failures only: %v after %d offers", err, n.called("POST"))
	}
	n = newFakeNode(t)
	n.upload = []int{422}
	if _, err := n.publish(); err == nil || n.called("POST") != 1 {
		t.Errorf("a refusal: %v after %d offers", err, n.called("POST"))
	}
}

func TestPublisher_NamesAConflict(t *testing.T) {
	n := newFakeNode(t)
	n.move = 412
	if _, err := n.publish(); !errors.Is(err, ErrConflict) {
		t.Errorf("Publish = %v, want ErrConflict", err)
	}
}

func TestPublisher_DryRunSendsNoChunk(t *testing.T) {
	n := newFakeNode(t)
	r, err := n.publish(func(_ *Config, r *Request) { r.DryRun = true })
	if err != nil || r.ChunksSent != r.Chunks || n.called("PUT") != 0 {
		t.Errorf("dry run: %+v, %v, %v", r, err, n.calls)
	}
}

func TestPublisher_SaysWhenThereIsNoNode(t *testing.T) {
	n := newFakeNode(t)
	n.Close()
	if _, err := n.publish(); err == nil {
		t.Error("published to nobody")
	}
	if _, err := New(Config{Node: "nonsense"}); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("New = %v, want an error that names the address", err)
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	_, err := n.publish(func(c *Config, _ *Request) { c.Node, c.HTTP = other.URL, other.Client() })
	if protocol.CodeOf(err) != protocol.CodeUnexpected {
		t.Errorf("a server that is no node: %v", err)
	}
}

func TestPublisher_ChangesWhatAChannelSays(t *testing.T) {
	n := newFakeNode(t)
	p, err := New(Config{Node: n.URL, Trust: n.trust, Keys: []channel.PrivateKey{n.key}})
	if err != nil {
		t.Fatal(err)
	}
	private := func(m *channel.Manifest) (*channel.Manifest, error) {
		return m.SetRules(channel.Rules{Private: true}, time.Now())
	}
	if _, err := p.Change(t.Context(), testApp, "production", false, private); !errors.Is(err, ErrUnpublished) {
		t.Errorf("on a channel that serves nothing: %v", err)
	}
	if _, err := n.publish(); err != nil {
		t.Fatal(err)
	}
	n.manifest, n.moved = n.moved, nil

	done, err := p.Change(t.Context(), testApp, "production", true, private)
	if err != nil || n.moved != nil || !done.DryRun || done.Before.Rules.Private || !done.After.Rules.Private {
		t.Errorf("a dry run gives %+v, %v", done, err)
	}
	done, err = p.Change(t.Context(), testApp, "production", false, private)
	if err != nil {
		t.Fatal(err)
	}
	m, err := channel.ParseManifest(n.moved)
	if err != nil || !m.Rules.Private || m.Sequence != 2 || done.Sequence != 2 || done.Version != "1.0.0" {
		t.Errorf("channel moved to %+v, %v: %+v", m, err, done)
	}
	n.manifest, n.moved = n.moved, nil
	done, err = p.Change(t.Context(), testApp, "production", false, private)
	if err != nil || !done.Unchanged || n.moved != nil || done.After != done.Before {
		t.Errorf("the same again gives %+v, %v", done, err)
	}
}
