package node

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"brink/bench/cost"
	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/internal/upload"
	"brink/origin"
	"brink/protocol"
)

// hold sends the beginning of a request and leaves the rest to be waited for, until the test ends.
func (f *fixture) hold(method, path, sent string) net.Conn {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.Addr())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	// In chunks: of a body with a length the server reads some kilobytes before it calls the handler.
	head := method + " " + path + " HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n"
	if _, err := fmt.Fprintf(conn, "%s%x\r\n%s\r\n", head, len(sent), sent); err != nil {
		f.t.Fatal(err)
	}
	return conn
}

// eventually waits until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-late:
			t.Fatalf("it never came to be that %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// bundleOf returns a folder with one file of noise.
func bundleOf(t *testing.T, seed byte) string {
	t.Helper()
	return folder(t, map[string]string{"a": string(noise(seed, 20_000)), "b": string(noise(seed+100, 20_000))})
}

// What a stranger sends is not decoded before a signature was checked: finding it wrong costs next to nothing.
func TestNode_OffersOfStrangersCostLittle(t *testing.T) {
	f := start(t)
	dir := folder(t, www("1.0.0"))
	_, forged := f.offerOf(dir, newKey(t), nil)
	intent, _, _ := bytes.Cut(forged, []byte("\n"))
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	objects := []byte(`{"files":[` + strings.Repeat("{},", 8<<20) + "{}]}")
	const times = 20
	for name, body := range map[string][]byte{
		"no intent":       objects,
		"forged":          protocol.Offer(intent, objects),
		"forged and zstd": protocol.Offer(intent, encoder.EncodeAll(objects, nil)),
		"old form":        []byte(`{"intent":{},"index":` + string(objects) + `}`),
	} {
		spent := cost.Of(func() {
			for range times {
				// The node may close the connection before it has read what it will not look at.
				if resp, err := f.http.Post(f.URL()+protocol.BundlesPath(testApp), "", bytes.NewReader(body)); err == nil {
					if resp.StatusCode != 400 && resp.StatusCode != 403 {
						t.Errorf("%s: status %d", name, resp.StatusCode)
					}
					resp.Body.Close()
				}
			}
		})
		if spent > times*(1<<20) {
			t.Errorf("%s: %d bytes were allocated for %d offers", name, spent, times)
		}
	}
	f.publish("1.0.0")
}

// An index that was signed is read up to its size, and decoded when it has its digest.
func TestNode_ReadsAsMuchOfAnIndexAsWasSigned(t *testing.T) {
	f := start(t)
	ix, offer := f.offerOf(folder(t, www("1.0.0")), f.key, nil)
	intent, _, _ := bytes.Cut(offer, []byte("\n"))
	index := ix.Encode()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 1, 0}, make([]byte, 1<<16)...)
	objects := []byte(`{"files":[` + strings.Repeat("{},", 4<<20) + "{}]}")
	for name, test := range map[string]struct {
		index []byte
		code  string
	}{
		"longer":          {append(bytes.Clone(index), ' '), protocol.CodeMismatch},
		"shorter":         {index[:len(index)-1], protocol.CodeMismatch},
		"another":         {bytes.Replace(index, []byte("index.html"), []byte("indey.html"), 1), protocol.CodeMismatch},
		"many objects":    {objects, protocol.CodeMismatch},
		"many, encoded":   {encoder.EncodeAll(objects, nil), protocol.CodeMalformed},
		"nothing, framed": {bytes.Repeat(skippable, 100), protocol.CodeMismatch},
		"no index":        {nil, protocol.CodeBadRequest},
	} {
		spent := cost.Of(func() {
			answer, err := f.http.Post(f.URL()+protocol.BundlesPath(testApp), "", bytes.NewReader(protocol.Offer(intent, test.index)))
			if err != nil { // the connection was closed before all was sent
				if len(test.index) < 1<<20 {
					t.Errorf("%s: %v", name, err)
				}
				return
			}
			defer answer.Body.Close()
			raw, err := io.ReadAll(answer.Body)
			if got := protocol.ReadProblem(answer.StatusCode, raw); got.Code != test.code || err != nil {
				t.Errorf("%s: %d %s, %v, want %s", name, answer.StatusCode, raw, err, test.code)
			}
		})
		if spent > 2*int64(len(test.index))+2<<20 { // the client copies what it sends
			t.Errorf("%s: %d bytes were allocated for %d", name, spent, len(test.index))
		}
	}
	for name, second := range map[string][]byte{"plain": index, "zstd": encoder.EncodeAll(index, nil)} {
		resp, raw := f.do(http.MethodPost, protocol.BundlesPath(testApp), bytes.NewReader(protocol.Offer(intent, second)))
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", name, resp.StatusCode, raw)
		}
	}
}

// The index has to be that of the bundle that was signed, also where somebody signs for another one.
func TestNode_RefusesAnIndexOfAnotherBundle(t *testing.T) {
	f := start(t)
	for name, change := range map[string]func(*channel.Intent, *bundle.Index){
		"bundle": func(in *channel.Intent, _ *bundle.Index) { in.Bundle = digest.Sum([]byte("another")) },
		"size":   func(in *channel.Intent, _ *bundle.Index) { in.Size-- },
		"files":  func(in *channel.Intent, _ *bundle.Index) { in.Files++ },
	} {
		_, offer := f.offerOf(folder(t, www("1.0.0")), f.key, change)
		resp, raw := f.do(http.MethodPost, protocol.BundlesPath(testApp), bytes.NewReader(offer))
		t.Log(name)
		wantProblem(t, resp, raw, 422, protocol.CodeMismatch)
	}
	for name, change := range map[string]func(*channel.Intent, *bundle.Index){
		"index":   func(in *channel.Intent, _ *bundle.Index) { in.IndexSize = bundle.MaxIndex + 1 },
		"archive": func(in *channel.Intent, _ *bundle.Index) { in.Size = bundle.MaxArchive + 1 },
	} {
		_, offer := f.offerOf(folder(t, www("1.0.0")), f.key, change)
		resp, raw := f.do(http.MethodPost, protocol.BundlesPath(testApp), bytes.NewReader(offer))
		t.Log(name)
		wantProblem(t, resp, raw, 413, protocol.CodeTooLarge)
	}
}

// However many strangers begin to publish and do not go on, whoever has a key publishes.
func TestNode_StrangersHoldNoUploads(t *testing.T) {
	f := start(t)
	_, offer := f.offerOf(folder(t, www("0.9.0")), f.key, nil)
	_, forged := f.offerOf(folder(t, www("0.9.0")), newKey(t), nil)
	intent, index, _ := bytes.Cut(offer, []byte("\n"))
	const strangers = 3 * DefaultUploads
	for i := range strangers {
		f.hold(http.MethodPost, protocol.BundlesPath(testApp), strings.Repeat("x", 60_000))                // of an intent
		f.hold(http.MethodPost, protocol.BundlesPath(testApp), string(forged)+strings.Repeat(" ", 10_000)) // of no key
		f.hold(http.MethodPost, protocol.BundlesPath(testApp), string(intent)+"\n"+string(index[:100+i]))  // a replay
	}
	eventually(t, "strangers are being read", func() bool {
		_, bodies := f.bodies.Stats()
		return bodies == strangers && f.uploads.Reading() > 0
	})
	f.publish("1.0.0")
	if held, _ := f.bodies.Stats(); held > maxBodies {
		t.Errorf("%d bytes are held for strangers", held)
	}
}

// The first part of an offer, which anybody may send, is waited for a bounded time.
func TestNode_WaitsForNoIntentForEver(t *testing.T) {
	f := start(t, func(c *Config) { c.intentWait = 50 * time.Millisecond })
	for _, sent := range []string{"x", strings.Repeat("x", 10_000)} {
		conn := f.hold(http.MethodPost, protocol.BundlesPath(testApp), sent)
		answer, err := io.ReadAll(conn) // until the node closes the connection
		if err != nil || !strings.Contains(string(answer), protocol.CodeBadRequest) {
			t.Errorf("%d bytes of an intent and no more: %q, %v", len(sent), answer, err)
		}
	}
	if held, loans := f.bodies.Stats(); held != 0 || loans != 0 {
		t.Errorf("%d bytes are held by %d loans", held, loans)
	}
}

// Whoever repeats a bundle intent that somebody else has signed comes to the same upload, and takes nothing.
func TestNode_JoinsOffersOfOneBundle(t *testing.T) {
	f := start(t)
	dir := folder(t, www("1.0.0"))
	ix, offer := f.offerOf(dir, f.key, nil)
	first := f.open(offer)
	reserved := func() int64 {
		stats, err := f.store.Stats()
		if err != nil {
			t.Fatal(err)
		}
		return stats.Reserved
	}
	before := reserved()
	for range 3 * DefaultUploads {
		if again := f.open(offer); again.Upload != first.Upload {
			t.Fatalf("the same offer opens %s and %s", first.Upload, again.Upload)
		}
	}
	if after := reserved(); after != before || before == 0 {
		t.Errorf("%d bytes are reserved, after more offers of the same %d", before, after)
	}
	for range 3 * upload.MaxSenders { // connections that send nothing
		f.hold(http.MethodPut, first.Upload, "brinkch1")
	}
	eventually(t, "several connections send to one upload", func() bool {
		stats := f.uploads.Stats("acme")
		return stats.Open == 1 && stats.Sending == upload.MaxSenders
	})
	resp, raw := f.do(http.MethodPut, first.Upload, bytes.NewReader(stream(t, dir, ix, first.Missing, nil)))
	if resp.StatusCode != 200 {
		t.Errorf("among others that send nothing: %d %s", resp.StatusCode, raw)
	}
	resp, raw = f.do(http.MethodPost, protocol.BundlesPath(testApp), bytes.NewReader(offer))
	if resp.StatusCode != 200 || !strings.Contains(string(raw), `"complete":true`) {
		t.Errorf("an offer of what is complete: %d %s", resp.StatusCode, raw)
	}
	eventually(t, "nothing is reserved", func() bool { return reserved() == 0 })
}

func TestNode_BoundsUploadsOfAnOrg(t *testing.T) {
	f := start(t, func(c *Config) { c.Uploads = 2 })
	dirs := []string{bundleOf(t, 1), bundleOf(t, 2), bundleOf(t, 3), bundleOf(t, 4)}
	offers := make([][]byte, len(dirs))
	open := make([]protocol.Demand, 3)
	for i, dir := range dirs {
		_, offers[i] = f.offerOf(dir, f.key, nil)
	}
	for i := range open {
		open[i] = f.open(offers[i])
	}
	resp, raw := f.do(http.MethodPut, open[0].Upload, strings.NewReader("brinkch1"))
	wantProblem(t, resp, raw, 404, protocol.CodeUnknownUpload) // the oldest that nobody used has made room
	for _, up := range open[1:] {
		f.hold(http.MethodPut, up.Upload, "brinkch1")
	}
	eventually(t, "both uploads are being sent", func() bool { return f.uploads.Stats("acme").Sending == 2 })
	resp, raw = f.do(http.MethodPost, protocol.BundlesPath(testApp), bytes.NewReader(offers[3]))
	wantProblem(t, resp, raw, 429, protocol.CodeBusy)
	if resp.Header.Get("Retry-After") == "" {
		t.Error("a busy node does not say when to try again")
	}
}

// otherOrg returns a trust document of one more org, for apps of its own.
func otherOrg(t *testing.T, key channel.PrivateKey, quota int64) []byte {
	t.Helper()
	root := newKey(t)
	raw, err := channel.NewTrust(channel.TrustConfig{
		Org: "umbrella", Issued: time.Now(), Quota: quota,
		Roots: []channel.PublicKey{root.Public()}, Keys: []channel.PublicKey{key.Public()},
		Roles: []channel.Role{{
			Name: "publisher", Keys: []string{key.Public().ID()},
			Apps: []channel.Pattern{"org.umbrella.*"}, Channels: []channel.Pattern{"*"},
		}},
	}, root)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// offerOther offers a bundle of the other org, and returns the code of the answer if it says no.
func (f *fixture) offerOther(key channel.PrivateKey, seed byte) string {
	f.t.Helper()
	_, offer := f.offerOf(bundleOf(f.t, seed), key, func(in *channel.Intent, _ *bundle.Index) {
		in.Org, in.App = "umbrella", otherApp
	})
	resp, raw := f.do(http.MethodPost, protocol.BundlesPath(otherApp), bytes.NewReader(offer))
	if resp.StatusCode == 200 {
		return ""
	}
	return protocol.ReadProblem(resp.StatusCode, raw).Code
}

// An org that opens as many uploads as it may takes none from others.
func TestNode_OrgsHaveUploadsOfTheirOwn(t *testing.T) {
	key := newKey(t)
	f := start(t, func(c *Config) {
		c.Trust = append(c.Trust, otherOrg(t, key, 0))
		c.Uploads, c.Quota = 2, 200_000 // a bundle of 42 KB takes some more
	})
	for seed := range byte(6) {
		if code := f.offerOther(key, seed); code != "" {
			t.Errorf("offer %d of the other org: %s", seed, code)
		}
	}
	_, offer := f.offerOf(bundleOf(t, 50), f.key, nil)
	f.open(offer)
	other := f.uploads.Stats("umbrella")
	if own := f.uploads.Stats("acme"); own.Open != 1 || other.Open != 2 {
		t.Errorf("%d and %d uploads are open, want two of one org and one of the other", other.Open, own.Open)
	}
	if other.Reserved > 100_000 {
		t.Errorf("one of two orgs has reserved %d bytes of 200,000", other.Reserved)
	}
}

func TestNode_CountsUploadsInTheQuotaOfTheOrg(t *testing.T) {
	key := newKey(t)
	f := start(t, func(c *Config) { c.Trust = append(c.Trust, otherOrg(t, key, 100_000)) })
	for seed, want := range []string{"", "", protocol.CodeQuota} { // archives of 43 KB
		if code := f.offerOther(key, byte(seed)); code != want {
			t.Errorf("offer %d: %q, want %q", seed, code, want)
		}
	}
	if code := f.offerOther(key, 1); code != "" {
		t.Errorf("one that is open already, once more: %q", code)
	}
}

// An intent opens uploads until it expires. It comes to other nodes of the fleet with its bundle, and to nobody else.
func TestFleet_IntentsAreForTheFleetOnly(t *testing.T) {
	f := startFleet(t, 2)
	result := f.nodes[0].publish("1.0.0")
	f.agree(result.Sequence)
	want, err := f.nodes[0].store.Intent(result.Bundle)
	if err != nil || len(want) == 0 {
		t.Fatal(err)
	}
	for i, node := range f.nodes {
		if got, err := node.store.Intent(result.Bundle); err != nil || !bytes.Equal(got, want) {
			t.Errorf("node %d has %q, %v", i, got, err)
		}
		resp, raw := node.get(origin.IntentPath(result.Bundle))
		wantProblem(t, resp, raw, http.StatusUnauthorized, protocol.CodeUnsigned)
	}
	alone := start(t)
	id := alone.publish("1.0.0").Bundle
	resp, raw := alone.get(origin.IntentPath(id))
	wantProblem(t, resp, raw, http.StatusNotFound, protocol.CodeNotFound)
}
