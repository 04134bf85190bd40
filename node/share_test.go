package node

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"brink/digest"
	"brink/gossip"
	"brink/node/internal/represent"
	"brink/node/internal/semantics"
	"brink/origin"
	"brink/origin/sign"
	"brink/protocol"
	"brink/publish"
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
func (f *fixture) whole(id digest.Digest) []represent.Derivation {
	f.t.Helper()
	b, err := f.store.Bundle(id)
	if err != nil {
		f.t.Fatal(err)
	}
	var list []represent.Derivation
	for _, coding := range []semantics.Coding{semantics.Zstd, semantics.Gzip, semantics.Brotli} {
		list = append(list, represent.Derivation{
			Subject: represent.Subject{Bundle: id, Source: id, Size: b.Index.Archive.Size}, Coding: coding,
		})
	}
	return list
}

// patchOf returns how the patch between two archives is made.
func (f *fixture) patchOf(old, next digest.Digest) represent.Derivation {
	f.t.Helper()
	b, err := f.store.Bundle(old)
	if err != nil {
		f.t.Fatal(err)
	}
	base := represent.Dictionary{
		Subject: represent.Subject{Bundle: old, Source: old, Size: b.Index.Archive.Size}, Name: b.SHA256,
	}
	d, possible := base.PatchFor(f.whole(next)[0].Subject)
	if !possible {
		f.t.Fatal("there can be no patch")
	}
	return d
}

// sameAs checks that two nodes have the same representation.
func (f *fixture) sameAs(other *fixture, d represent.Derivation) {
	f.t.Helper()
	mine, err := f.store.Derived(d.Key())
	if err != nil {
		f.t.Fatalf("%s has no %s: %v", f.config.Fleet.Node, d.Coding, err)
	}
	theirs, err := other.store.Derived(d.Key())
	if err != nil {
		f.t.Fatalf("%s has no %s: %v", other.config.Fleet.Node, d.Coding, err)
	}
	if mine.Digest() != theirs.Digest() {
		f.t.Errorf("%s differs between %s and %s", d.Coding, f.config.Fleet.Node, other.config.Fleet.Node)
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
	if built, shared, _ := first.builder.Shared(); shared != 0 || built == 0 {
		t.Fatal("a node without others has not made its own")
	}
	second := f.add(inOneRegion)
	f.agree(next.Sequence)
	until(t, "the second node has the other channel", func() bool { return second.state.Manifest(testApp, "beta") != nil })
	second.settle()
	list := append(first.whole(next.Bundle), first.patchOf(old.Bundle, next.Bundle))
	for _, d := range append(list, first.whole(dull.Bundle)...) {
		<-second.builder.Add(d, represent.Planned) // it may lack what a patch is against until the channel is in force
		second.sameAs(first, d)
	}
	if made, shared, _ := second.builder.Shared(); made != 0 || shared != 7 {
		t.Errorf("the second node has made %d and taken %d, want 0 and 7", made, shared)
	}
	if object, err := second.store.Derived(first.whole(dull.Bundle)[0].Key()); err != nil || object.Size() != 0 {
		t.Errorf("what is not worth it has %d bytes, %v", object.Size(), err)
	}
}

func TestShare_OwnerMakesForAll(t *testing.T) {
	f := startFleet(t, 3, inOneRegion)
	for _, node := range f.nodes {
		until(t, "all know each other", func() bool { return len(node.fleet.Others()) == 2 })
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
	d := represent.Derivation{Subject: represent.FileOf(result.Bundle, b.Index.File("js/app.js")), Coding: semantics.Brotli}
	var owner *fixture
	made, shared := map[*fixture]int64{}, map[*fixture]int64{}
	var waiting []<-chan struct{}
	for _, node := range f.nodes {
		made[node], shared[node], _ = node.builder.Shared()
		if origin.OwnersFirst(node.fleet.Self(), node.fleet.Others(), d.Source) == 0 {
			owner = node
		}
	}
	for _, node := range f.nodes {
		if node != owner {
			waiting = append(waiting, node.builder.Add(d, represent.Planned))
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
		m, s, _ := node.builder.Shared()
		if m, s = m-made[node], s-shared[node]; m != wantMade || s != wantShared {
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
	d := represent.Derivation{Subject: represent.FileOf(result.Bundle, b.Index.File("js/app.js")), Coding: semantics.Gzip}
	var waiting []<-chan struct{}
	for _, node := range f.nodes {
		until(t, "both know each other", func() bool { return len(node.fleet.Others()) == 1 })
		waiting = append(waiting, node.builder.Add(d, represent.Planned))
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
		<-second.builder.Add(d, represent.Planned)
		second.sameAs(first, d)
	}
	if made, shared, refused := second.builder.Shared(); shared != 0 || refused == 0 || made != 4 {
		t.Errorf("taken %d, refused %d, made %d; want 0, some and 4", shared, refused, made)
	}
}

func TestShare_StalledNodeIsLeft(t *testing.T) {
	released := make(chan struct{})
	var asked atomic.Int64
	change, found := toldBy(t, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		asked.Add(1)
		select {
		case <-r.Context().Done():
		case <-released:
		}
	})
	t.Cleanup(func() { close(released) }) // before the server is closed, which waits for its requests
	f := startFleet(t, 2, func(i int, c *Config) {
		change(i, c)
		c.Prepare = time.Minute
		if i == 1 {
			c.askWait = 50 * time.Millisecond
		}
	})
	first, second := f.nodes[0], f.nodes[1]
	found(first)
	result := first.publish("1.0.0")
	f.agree(result.Sequence)
	second.settle()
	for _, d := range first.whole(result.Bundle) {
		if _, err := second.store.Derived(d.Key()); err != nil {
			t.Errorf("%s was not made: %v", d.Coding, err)
		}
	}
	if made, shared, _ := second.builder.Shared(); shared != 0 || made != 3 {
		t.Errorf("taken %d, made %d, want 0 and 3", shared, made)
	}
	// It rests: what it would be asked for, because it holds the bundle, is made at once.
	before := asked.Load()
	b, err := second.store.Bundle(result.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	d := represent.Derivation{
		Subject: represent.FileOf(result.Bundle, b.Index.File("js/app.js")), Coding: semantics.Gzip,
	}
	<-second.builder.Add(d, represent.Planned)
	if _, err := second.store.Derived(d.Key()); err != nil {
		t.Errorf("the file was not made: %v", err)
	}
	if after := asked.Load(); before == 0 || after != before {
		t.Errorf("a node that says nothing was asked %d times, and then %d times more", before, after-before)
	}
}

func TestShare_StrangersAndGarbageAreRefused(t *testing.T) {
	f := startFleet(t, 1)
	node := f.nodes[0]
	id := node.publish("1.0.0").Bundle
	node.settle()
	raw, err := os.ReadFile(node.config.Fleet.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := gossip.ReadKeys(raw)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := sign.NewRing(node.config.Fleet.Name, keys...)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(signed bool, source, kind, base string) (*http.Response, []byte) {
		path := protocol.FleetDerivedPath + "?" +
			url.Values{"source": {source}, "kind": {kind}, "base": {base}}.Encode()
		if !signed {
			return node.get(path)
		}
		return node.get(path, "Authorization", ring.Sign(sign.Request{
			To: node.config.Fleet.Node, Method: http.MethodGet, Target: path, Body: digest.Sum(nil),
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
