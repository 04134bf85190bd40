package client

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

const (
	testApp     = "com.acme.shop"
	testChannel = "production"
)

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// fakeNode speaks the device's half of the protocol, and lies when it is told to.
type fakeNode struct {
	*httptest.Server

	t        *testing.T
	mu       sync.RWMutex // of manifest, current and archives
	key      channel.PrivateKey
	root     channel.PrivateKey
	trust    []byte            // what devices come with
	later    map[uint64][]byte // what is handed out of the trust document, by version
	current  *channel.Manifest
	manifest []byte   // what is served
	history  [][]byte // what was served
	archives map[digest.Digest][]byte
	encoded  map[string][]byte // the archive of each version as zstd
	patches  sync.Map          // of func() []byte
	sent     atomic.Int64      // bytes of archives

	spoilPatch   func([]byte) []byte
	spoilArchive func([]byte) []byte                                     // of the plain archive
	inline       func([]byte) []byte                                     // of the patch that goes with the answer to a check; nil: none does
	unsigned     channel.Kind                                            // the decision of answers without a manifest; empty: they have one
	hint         func(*protocol.Representation) *protocol.Representation // of what an archive is sent as; nil: none is given
	// meddle sees a request for an archive before it is answered with body, and may answer it itself.
	meddle   func(w http.ResponseWriter, r *http.Request, body []byte) bool
	cutAfter int // bytes of an answer after which the connection breaks
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
	n := &fakeNode{t: t, key: newKey(t), archives: map[digest.Digest][]byte{}, encoded: map[string][]byte{}}
	n.root = newKey(t)
	root := n.root
	var err error
	n.trust, err = channel.NewTrust(channel.TrustConfig{
		Org:    "acme",
		Issued: time.Now(),
		Roots:  []channel.PublicKey{root.Public()},
		Keys:   []channel.PublicKey{n.key.Public()},
		Roles:  []channel.Role{{Name: "publisher", Keys: []string{n.key.Public().ID()}, Apps: []channel.Pattern{"*"}, Channels: []channel.Pattern{"*"}}},
	}, root)
	if err != nil {
		t.Fatal(err)
	}
	n.Server = httptest.NewServer(http.HandlerFunc(n.serve))
	t.Cleanup(n.Close)
	return n
}

func (n *fakeNode) archiveOf(files map[string]string) []byte {
	n.t.Helper()
	var b bytes.Buffer
	if err := (bundle.Folder{FS: mapFS(files)}).WriteArchive(context.Background(), &b); err != nil {
		n.t.Fatal(err)
	}
	return b.Bytes()
}

func compress(data []byte) []byte {
	encoder, _ := zstd.NewWriter(nil)
	return encoder.EncodeAll(data, nil)
}

func (n *fakeNode) release(v string, files map[string]string) channel.Release {
	n.t.Helper()
	archive := n.archiveOf(files)
	n.mu.Lock()
	n.archives[digest.Sum(archive)] = archive
	n.mu.Unlock()
	n.encoded[v] = compress(archive)
	ix, err := bundle.IndexArchive(context.Background(), bytes.NewReader(archive))
	if err != nil {
		n.t.Fatal(err)
	}
	return channel.Release{
		Version: v, Bundle: ix.Bundle(), SHA256: ix.Archive.SHA256, Size: ix.Archive.Size, Files: len(ix.Files),
		Index: digest.Sum(ix.Encode()), IndexSize: int64(len(ix.Encode())), Created: time.Now().UTC().Truncate(time.Second),
	}
}

func (n *fakeNode) publish(v string, files map[string]string) {
	n.t.Helper()
	if n.current == nil {
		n.current = channel.NewManifest("acme", testApp, testChannel)
	}
	next, err := n.current.Publish(n.release(v, files), time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	n.put(next)
}

func (n *fakeNode) rollBack(v string) {
	n.t.Helper()
	next, err := n.current.RollBack(v, time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	n.put(next)
}

// switchTo serves another channel from now on.
func (n *fakeNode) switchTo(name, v string, files map[string]string) {
	n.t.Helper()
	n.current = channel.NewManifest("acme", testApp, name)
	n.publish(v, files)
}

func (n *fakeNode) put(next *channel.Manifest) {
	n.t.Helper()
	if n.manifest != nil {
		n.history = append(n.history, n.manifest)
	}
	raw := n.sign(next)
	current, err := channel.ParseManifest(raw)
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.manifest, n.current = raw, current
}

func (n *fakeNode) sign(m *channel.Manifest) []byte { return n.signBy(m, n.key) }

func (n *fakeNode) signBy(m *channel.Manifest, key channel.PrivateKey) []byte {
	n.t.Helper()
	raw, err := channel.SignManifest(m, key)
	if err != nil {
		n.t.Fatal(err)
	}
	return raw
}

// forge returns the next manifest, signed by a key of the caller's.
func (n *fakeNode) forge(key channel.PrivateKey) []byte {
	n.t.Helper()
	next, err := n.current.Publish(n.release("6.6.6", version("6.6.6")), time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	return n.signBy(next, key)
}

// other returns a manifest of another channel that serves the same.
func (n *fakeNode) other(name string) *channel.Manifest {
	n.t.Helper()
	m, err := channel.NewManifest("acme", testApp, name).Promote(n.current, time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	return m
}

// twin returns a manifest with the sequence of the current one that says something else.
func (n *fakeNode) twin() []byte {
	n.t.Helper()
	before, err := channel.ParseManifest(n.history[len(n.history)-1])
	if err != nil {
		n.t.Fatal(err)
	}
	next, err := before.Publish(n.release("1.5.0", version("1.5.0")), time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	return n.sign(next)
}

func (n *fakeNode) serve(w http.ResponseWriter, r *http.Request) {
	n.mu.RLock() // a request that its device gave up may still be answered
	defer n.mu.RUnlock()
	if strings.HasSuffix(r.URL.Path, "/check") {
		if n.manifest == nil {
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(protocol.Problem{Code: protocol.CodeUnknownChannel, Message: "nothing here"})
			return
		}
		n.check(w, r)
		return
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, protocol.TrustPath("acme")); ok {
		version := n.newest()
		if rest != "" {
			version, _ = strconv.ParseUint(rest[1:], 10, 64)
		}
		if n.later[version] == nil {
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(protocol.Problem{Code: protocol.CodeUnknownOrg, Message: "nothing here"})
			return
		}
		_, _ = w.Write(n.later[version])
		return
	}
	id, err := digest.Parse(strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/v1/bundles/"), "/archive"))
	archive, known := n.archives[id]
	if err != nil || !known {
		http.NotFound(w, r)
		return
	}
	name, _ := digest.ParseField(r.Header.Get("Available-Dictionary"))
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "dcz") {
		name = digest.SHA256{}
	}
	body, coding := n.represent(archive, name)
	if n.meddle != nil && n.meddle(w, r, body) {
		return
	}
	w.Header().Set("Content-Encoding", coding)
	w.Header().Set("ETag", `"`+digest.Sum(body).String()+`"`)
	out := &countingWriter{ResponseWriter: w, node: n, left: n.cutAfter}
	http.ServeContent(out, r, "", time.Time{}, bytes.NewReader(body))
}

// represent returns the bytes that an archive is sent as to who has the archive of the name.
func (n *fakeNode) represent(archive []byte, name digest.SHA256) (body []byte, coding string) {
	n.t.Helper()
	if n.spoilArchive != nil {
		archive = n.spoilArchive(archive)
	}
	for _, old := range n.archives {
		if digest.SumSHA256(old) != name {
			continue
		}
		patch := bytes.Clone(n.patch(old, archive, name))
		if n.spoilPatch != nil {
			patch = n.spoilPatch(patch)
		}
		return patch, "dcz"
	}
	return compress(archive), "zstd"
}

// patch returns the patch between two archives, which it makes once.
func (n *fakeNode) patch(old, archive []byte, name digest.SHA256) []byte {
	n.t.Helper()
	key := name.String() + digest.Sum(archive).String()
	made, _ := n.patches.LoadOrStore(key, sync.OnceValue(func() []byte {
		patch, err := bundle.EncodePatch(old, archive, name)
		if err != nil {
			n.t.Errorf("patch: %v", err)
		}
		return patch
	}))
	return made.(func() []byte)()
}

// countingWriter counts what is sent, and breaks the connection where the node is told to.
type countingWriter struct {
	http.ResponseWriter

	node *fakeNode
	left int
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if w.node.cutAfter > 0 {
		if w.left < len(p) {
			n, _ := w.ResponseWriter.Write(p[:w.left])
			w.node.sent.Add(int64(n))
			if f, ok := w.ResponseWriter.(http.Flusher); ok {
				f.Flush()
			}
			panic(http.ErrAbortHandler)
		}
		w.left -= len(p)
	}
	n, err := w.ResponseWriter.Write(p)
	w.node.sent.Add(int64(n))
	return n, err
}

func (n *fakeNode) check(w http.ResponseWriter, r *http.Request) {
	var in protocol.CheckRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		n.t.Errorf("check: %v", err)
	}
	answer := protocol.CheckAnswer{Decision: channel.Update, Manifest: n.manifest}
	served := digest.Sum(n.manifest) == n.current.Digest()
	if served && in.Seen == n.current.Statement() && in.Device.Bundle == n.current.Release.Bundle {
		answer = protocol.CheckAnswer{Decision: channel.UpToDate}
	}
	if n.unsigned != "" {
		answer = protocol.CheckAnswer{Decision: n.unsigned}
	}
	for _, old := range n.archives {
		if n.inline == nil || in.Inline == 0 || digest.SumSHA256(old) != in.Dictionary {
			continue
		}
		answer.Patch = n.inline(bytes.Clone(n.patch(old, n.archives[n.current.Release.Bundle], in.Dictionary)))
	}
	if n.hint != nil && in.Parts {
		body, coding := n.represent(n.archives[n.current.Release.Bundle], in.Dictionary)
		answer.Representation = n.hint(&protocol.Representation{Encoding: coding, Size: int64(len(body))})
	}
	answer.Trust = n.newest()
	_ = json.NewEncoder(w).Encode(answer)
}

// newest returns the highest version of the trust document that is handed out, 0 for none.
func (n *fakeNode) newest() (version uint64) {
	for v := range n.later {
		version = max(version, v)
	}
	return version
}
