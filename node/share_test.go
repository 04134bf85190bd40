package node

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"brink/bench/cost"
	"brink/bundle"
	"brink/digest"
	"brink/node/semantics"
	"brink/origin/sign"
	"brink/protocol"
	"brink/publish"
	"brink/store"
)

// inOneRegion is a change to nodes of a fleet.
func inOneRegion(_ int, c *Config) { c.Fleet.Region = "eu" }

// toldBy gives the first node of a fleet an address at which meddle gets the requests for representations, with a
// handler that passes them on to the node.
func toldBy(t *testing.T, meddle func(w http.ResponseWriter, r *http.Request, pass http.Handler)) (
	change func(int, *Config), found func(*fixture),
) {
	t.Helper()
	var behind atomic.Pointer[url.URL]
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind.Load()) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == protocol.FleetDerivedPath {
			meddle(w, r, pass)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	change = func(i int, c *Config) {
		c.Fleet.Region = "eu"
		if i == 0 {
			c.Fleet.URL = server.URL
		}
	}
	return change, func(f *fixture) {
		u, err := url.Parse(f.URL())
		if err != nil {
			t.Fatal(err)
		}
		behind.Store(u)
	}
}

// whole returns how the representations of an archive are made that are made at once, without patches.
func (f *fixture) whole(id digest.Digest) []derivation {
	f.t.Helper()
	b, err := f.store.Bundle(id)
	if err != nil {
		f.t.Fatal(err)
	}
	var list []derivation
	for _, coding := range encodings {
		list = append(list, derivation{
			subject: subject{bundle: id, source: id, size: b.Index.Archive.Size}, coding: coding,
		})
	}
	return list
}

// patchOf returns how the patch between two archives is made.
func (f *fixture) patchOf(old, next digest.Digest) derivation {
	f.t.Helper()
	b, err := f.store.Bundle(old)
	if err != nil {
		f.t.Fatal(err)
	}
	base := dictionary{subject: subject{bundle: old, source: old, size: b.Index.Archive.Size}, name: b.SHA256}
	d, possible := base.patchFor(f.whole(next)[0].subject)
	if !possible {
		f.t.Fatal("there can be no patch")
	}
	return d
}

// sameAs checks that two nodes have the same representation.
func (f *fixture) sameAs(other *fixture, d derivation) {
	f.t.Helper()
	mine, err := f.store.Derived(d.key())
	if err != nil {
		f.t.Fatalf("%s has no %s: %v", f.config.Fleet.Node, d.coding, err)
	}
	theirs, err := other.store.Derived(d.key())
	if err != nil {
		f.t.Fatalf("%s has no %s: %v", other.config.Fleet.Node, d.coding, err)
	}
	if mine.Digest() != theirs.Digest() {
		f.t.Errorf("%s differs between %s and %s", d.coding, f.config.Fleet.Node, other.config.Fleet.Node)
	}
}

func TestShare_TakesWhatAnotherNodeHasMade(t *testing.T) {
	f := startFleet(t, 1, inOneRegion)
	first := f.nodes[0]
	old, next := first.publish("1.0.0"), first.publish("1.1.0")
	dull, err := first.publisher().Publish(t.Context(), publish.Request{
		Dir: folder(t, map[string]string{"noise": string(noise(9, 100_000))}), App: testApp, Version: "1.0.0", Channel: "beta",
	})
	if err != nil {
		t.Fatal(err)
	}
	first.settle()
	if first.builder.share.shared.Load() != 0 || first.builder.share.made.Load() == 0 {
		t.Fatal("a node without others has not made its own")
	}
	second := f.add(inOneRegion)
	f.agree(next.Sequence)
	until(t, "the second node has the other channel", func() bool { return second.channels.get(testApp, "beta") != nil })
	second.settle()
	list := append(first.whole(next.Bundle), first.patchOf(old.Bundle, next.Bundle))
	for _, d := range append(list, first.whole(dull.Bundle)...) {
		<-second.builder.add(d, planned) // it may lack what a patch is against until the channel is in force
		second.sameAs(first, d)
	}
	share := second.builder.share
	if made, shared := share.made.Load(), share.shared.Load(); made != 0 || shared != 7 {
		t.Errorf("the second node has made %d and taken %d, want 0 and 7", made, shared)
	}
	if object, err := second.store.Derived(first.whole(dull.Bundle)[0].key()); err != nil || object.Size() != 0 {
		t.Errorf("what is not worth it has %d bytes, %v", object.Size(), err)
	}
}

func TestShare_OwnerMakesForAll(t *testing.T) {
	f := startFleet(t, 3, inOneRegion)
	for _, node := range f.nodes {
		until(t, "all know each other", func() bool { return len(node.fleet.others()) == 2 })
	}
	result := f.nodes[0].publish("1.0.0")
	f.agree(result.Sequence)
	for _, node := range f.nodes {
		node.settle()
	}
	b, err := f.nodes[0].store.Bundle(result.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	d := derivation{subject: fileOf(result.Bundle, b.Index.File("js/app.js")), coding: semantics.Brotli}
	var owner *fixture
	made, shared := map[*fixture]int64{}, map[*fixture]int64{}
	var waiting []<-chan struct{}
	for _, node := range f.nodes {
		made[node], shared[node] = node.builder.share.made.Load(), node.builder.share.shared.Load()
		if self, others := node.members(); node.ownsFirst(self, others, d.source) == 0 {
			owner = node
		}
	}
	for _, node := range f.nodes {
		if node != owner {
			waiting = append(waiting, node.builder.add(d, planned))
		}
	}
	for _, ready := range waiting {
		<-ready
	}
	for _, node := range f.nodes {
		node.sameAs(owner, d)
		wantMade, wantShared := int64(0), int64(1)
		if node == owner {
			wantMade, wantShared = 1, 0
		}
		share := node.builder.share
		if m, s := share.made.Load()-made[node], share.shared.Load()-shared[node]; m != wantMade || s != wantShared {
			t.Errorf("%s has made %d and taken %d, want %d and %d", node.config.Fleet.Node, m, s, wantMade, wantShared)
		}
	}
}

func TestShare_OwnersOfTwoRegionsDoNotWaitForEachOther(t *testing.T) {
	f := startFleet(t, 2)
	result := f.nodes[0].publish("1.0.0")
	f.agree(result.Sequence)
	b, err := f.nodes[0].store.Bundle(result.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	d := derivation{subject: fileOf(result.Bundle, b.Index.File("js/app.js")), coding: semantics.Gzip}
	var waiting []<-chan struct{}
	for _, node := range f.nodes {
		until(t, "both know each other", func() bool { return len(node.fleet.others()) == 1 })
		waiting = append(waiting, node.builder.add(d, planned))
	}
	for _, ready := range waiting {
		<-ready
	}
	f.nodes[0].sameAs(f.nodes[1], d)
}

func TestShare_RefusesALieAndMakesItsOwn(t *testing.T) {
	change, found := toldBy(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		answer := httptest.NewRecorder()
		pass.ServeHTTP(answer, r)
		body := answer.Body.Bytes()
		if len(body) > 0 && answer.Code == http.StatusOK {
			body[len(body)/2] ^= 1
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(answer.Code)
		_, _ = w.Write(body) // who does not read it sees an error there
	})
	f := startFleet(t, 1, change)
	first := f.nodes[0]
	found(first)
	old, next := first.publish("1.0.0"), first.publish("1.1.0")
	first.settle()
	second := f.add(change)
	f.agree(next.Sequence)
	second.settle()
	for _, d := range append(first.whole(next.Bundle), first.patchOf(old.Bundle, next.Bundle)) {
		<-second.builder.add(d, planned)
		second.sameAs(first, d)
	}
	share := second.builder.share
	if share.shared.Load() != 0 || share.refused.Load() == 0 || share.made.Load() != 4 {
		t.Errorf("taken %d, refused %d, made %d; want 0, some and 4", share.shared.Load(), share.refused.Load(),
			share.made.Load())
	}
}

func TestShare_StalledNodeIsLeft(t *testing.T) {
	released := make(chan struct{})
	change, found := toldBy(t, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		select {
		case <-r.Context().Done():
		case <-released:
		}
	})
	t.Cleanup(func() { close(released) }) // before the server is closed, which waits for its requests
	f := startFleet(t, 2, func(i int, c *Config) {
		change(i, c)
		c.Prepare = time.Minute
	})
	first, second := f.nodes[0], f.nodes[1]
	found(first)
	second.builder.share.wait.Store(int64(50 * time.Millisecond))
	result := first.publish("1.0.0")
	f.agree(result.Sequence)
	second.settle()
	for _, d := range first.whole(result.Bundle) {
		if _, err := second.store.Derived(d.key()); err != nil {
			t.Errorf("%s was not made: %v", d.coding, err)
		}
	}
	share := second.builder.share
	if share.shared.Load() != 0 || share.made.Load() != 3 || !share.rests(first.config.Fleet.Node) {
		t.Errorf("taken %d, made %d, want 0 and 3, and a node that rests", share.shared.Load(), share.made.Load())
	}
}

func TestShare_StrangersAndGarbageAreRefused(t *testing.T) {
	f := startFleet(t, 1)
	node := f.nodes[0]
	id := node.publish("1.0.0").Bundle
	node.settle()
	ask := func(signed bool, source, kind, base string) (*http.Response, []byte) {
		path := protocol.FleetDerivedPath + "?" +
			url.Values{"source": {source}, "kind": {kind}, "base": {base}}.Encode()
		if !signed {
			return node.get(path)
		}
		return node.get(path, "Authorization", node.fleet.ring.Sign(sign.Request{
			To: node.fleet.config.Node, Method: http.MethodGet, Target: path, Body: digest.Sum(nil),
		}, time.Now()))
	}
	none := digest.Digest{}.String()
	resp, body := ask(false, id.String(), "zstd", none)
	wantProblem(t, resp, body, http.StatusUnauthorized, protocol.CodeUnsigned)
	if resp, body := ask(true, id.String(), "zstd", none); digest.Sum(decode(t, "zstd", body)) != id {
		t.Errorf("the representation is %s with %d bytes", resp.Status, len(body))
	}
	resp, body = ask(true, digest.Sum([]byte("unknown")).String(), "zstd", none)
	wantProblem(t, resp, body, http.StatusNotFound, protocol.CodeNotFound)
	for _, wrong := range [][3]string{
		{"", "zstd", none},
		{id.String(), "zip", none},
		{id.String(), "identity", none},
		{id.String(), "dcz", none},
		{id.String(), "zstd", id.String()},
		{id.String(), "zstd", "x"},
	} {
		resp, body = ask(true, wrong[0], wrong[1], wrong[2])
		wantProblem(t, resp, body, http.StatusBadRequest, protocol.CodeBadRequest)
	}
}

func TestCheck_TakesOnlyWhatGivesThePlainBytes(t *testing.T) {
	old := bytes.Repeat(noise(1, 1000), 50)
	plain := append(bytes.Clone(old), "and some more"...)
	encode := func(coding semantics.Coding, data []byte) []byte {
		t.Helper()
		if coding == semantics.DCZ {
			patch, err := bundle.EncodePatch(old, data, digest.SumSHA256(old))
			if err != nil {
				t.Fatal(err)
			}
			return patch
		}
		var out bytes.Buffer
		if err := encodeTo(&out, coding, bytes.NewReader(data), int64(len(data))); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	base := dictionary{subject: subject{source: digest.Sum(old), size: int64(len(old))}, name: digest.SumSHA256(old)}
	for _, coding := range append([]semantics.Coding{semantics.DCZ}, encodings...) {
		d := derivation{subject: subject{source: digest.Sum(plain), size: int64(len(plain))}, coding: coding}
		if coding == semantics.DCZ {
			d.base = base
		}
		right := encode(coding, plain)
		if err := check(d, old, bytes.NewReader(right)); err != nil {
			t.Errorf("%s: the right one is refused: %v", coding, err)
		}
		other := bytes.Clone(plain)
		other[0] ^= 1
		for what, wrong := range map[string][]byte{
			"other bytes of the same length": encode(coding, other),
			"a longer one":                   encode(coding, append(bytes.Clone(plain), '!')),
			"a shorter one":                  encode(coding, plain[1:]),
			"one that was cut":               right[:len(right)-1],
			"one with something behind it":   append(bytes.Clone(right), "more"...),
			"nothing":                        nil,
			"the plain bytes":                plain,
		} {
			if err := check(d, old, bytes.NewReader(wrong)); err == nil {
				t.Errorf("%s: %s is taken", coding, what)
			}
		}
	}
	var bomb bytes.Buffer // more than anybody could want, in few bytes
	zeros := gzip.NewWriter(&bomb)
	if _, err := io.CopyN(zeros, endless{}, 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := zeros.Close(); err != nil {
		t.Fatal(err)
	}
	d := derivation{subject: subject{source: digest.Sum(plain), size: int64(len(plain))}, coding: semantics.Gzip}
	left := bytes.NewReader(bomb.Bytes())
	if err := check(d, nil, left); err == nil || left.Len() < bomb.Len()/2 {
		t.Errorf("a bomb is taken, or read to its end: %v, %d bytes left of %d", err, left.Len(), bomb.Len())
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestNode_KeepCheckedStoresNothingThatIsWrongOrCut(t *testing.T) {
	f := start(t)
	plain := bytes.Repeat(noise(1, 100_000), 2)
	for _, coding := range encodings {
		d := derivation{subject: subject{source: digest.Sum(plain), size: int64(len(plain))}, coding: coding}
		var out bytes.Buffer
		if err := encodeTo(&out, coding, bytes.NewReader(plain), d.size); err != nil {
			t.Fatal(err)
		}
		right := out.Bytes()
		half := right[:len(right)/2]
		err := f.keepChecked(t.Context(), d, nil, io.MultiReader(bytes.NewReader(half), broken{}))
		if err == nil || errors.Is(err, errWrong) {
			t.Errorf("%s: of a connection that broke came %v", coding, err)
		}
		if err := f.keepChecked(t.Context(), d, nil, bytes.NewReader(half)); !errors.Is(err, errWrong) {
			t.Errorf("%s: of half an answer came %v", coding, err)
		}
		if _, err := f.store.Derived(d.key()); err == nil {
			t.Errorf("%s: what was cut is stored", coding)
		}
		if err := f.keepChecked(t.Context(), d, nil, bytes.NewReader(right)); err != nil {
			t.Errorf("%s: what is right is not stored: %v", coding, err)
		}
		if object, err := f.store.Derived(d.key()); err != nil || object.Digest() != digest.Sum(right) {
			t.Errorf("%s: what is stored is not what came: %v", coding, err)
		}
	}
}

// broken is a connection that was cut before Content-Length was reached, as net/http tells it.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func FuzzDerivedKey(f *testing.F) {
	id := digest.Sum([]byte("source")).String()
	f.Add("source=" + id + "&kind=zstd&base=" + digest.Digest{}.String())
	f.Add("source=" + id + "&kind=dcz&base=" + id)
	f.Add("kind=dcz")
	f.Fuzz(func(t *testing.T, query string) {
		var args fasthttp.Args
		var key store.DerivedKey
		var err error
		cost.Check(t, len(query), func() {
			args = fasthttp.Args{}
			args.Parse(query)
			key, err = derivedKey(&args)
		})
		if err != nil {
			return
		}
		if coding, ok := codingOf(key.Kind); !ok || (coding == semantics.DCZ) == key.Base.IsZero() || key.Source.IsZero() &&
			string(args.Peek("source")) != (digest.Digest{}).String() {
			t.Errorf("%q is read as %s", query, key)
		}
	})
}
