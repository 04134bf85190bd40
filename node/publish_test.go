package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
	"brink/publish"
)

func TestNode_TakesOnlyWhatItLacks(t *testing.T) {
	f := start(t)
	first := f.publish("1.0.0")
	if first.ChunksSent != first.Chunks || first.Sequence != 1 || first.Files != 5 {
		t.Errorf("first publish: %+v", first)
	}
	again := f.publish("1.0.0")
	if again.ChunksSent != 0 || !again.Unchanged || again.Sequence != 1 || again.Bundle != first.Bundle {
		t.Errorf("the same again: %+v", again)
	}
	second := f.publish("1.1.0")
	if second.ChunksSent == 0 || second.ChunksSent >= second.Chunks || second.Sequence != 2 {
		t.Errorf("a small change: %+v", second)
	}
	if second.BytesSent > first.BytesSent/2 {
		t.Errorf("a small change took %d bytes, the whole %d", second.BytesSent, first.BytesSent)
	}
}

func TestNode_RemembersWhatItAcknowledged(t *testing.T) {
	f := start(t)
	id := f.publish("1.0.0").Bundle
	_, before := f.get(protocol.ChannelPath(testApp, "production"))
	f.restart()
	_, after := f.get(protocol.ChannelPath(testApp, "production"))
	if !bytes.Equal(before, after) {
		t.Error("the channel manifest is not the same after a restart")
	}
	if _, archive := f.get(protocol.ArchivePath(id)); digest.Sum(archive) != id {
		t.Error("the archive is not the same after a restart")
	}
}

func TestNode_LetsOneOfTwoRacingPublishersWin(t *testing.T) {
	f := start(t)
	f.publish("1.0.0")
	const racers = 8
	errs := make([]error, racers)
	var race sync.WaitGroup
	for i := range racers {
		files := www("2.0.0")
		files["racer.txt"] = string(rune('a' + i))
		dir := folder(t, files)
		race.Go(func() {
			_, errs[i] = f.publisher().
				Publish(context.Background(), publish.Request{Dir: dir, App: testApp, Version: "2.0.0", Channel: "production"})
		})
	}
	race.Wait()
	winners := 0
	for _, err := range errs {
		switch {
		case err == nil:
			winners++
		case !errors.Is(err, publish.ErrConflict) && channel.CodeOf(err) != channel.CodeVersionTaken:
			t.Errorf("a loser got %v, want a conflict", err)
		}
	}
	if winners != 1 {
		t.Errorf("%d publishers won, want one", winners)
	}
	if m, err := f.publisher().Channel(context.Background(), testApp, "production"); err != nil || m.Sequence != 2 {
		t.Errorf("the channel is at %+v, %v; want sequence 2", m, err)
	}
}

func TestNode_TakesTheSameBundleFromTwoAtOnce(t *testing.T) {
	f := start(t)
	dir := folder(t, www("1.0.0"))
	var race sync.WaitGroup
	for range 4 {
		race.Go(func() {
			_, err := f.publisher().
				Publish(context.Background(), publish.Request{Dir: dir, App: testApp, Version: "1.0.0", Channel: "production"})
			if err != nil && !errors.Is(err, publish.ErrConflict) {
				t.Error(err)
			}
		})
	}
	race.Wait()
}

func TestNode_PromotesAndRollsBack(t *testing.T) {
	f := start(t)
	ctx := context.Background()
	f.publish("1.0.0")
	f.publish("1.1.0")
	p := f.publisher()
	if r, err := p.Promote(ctx, testApp, "production", "beta", false); err != nil || r.Version != "1.1.0" ||
		r.Sequence != 1 {
		t.Errorf("promote: %+v, %v", r, err)
	}
	if r, err := p.RollBack(ctx, testApp, "production", "", true); err != nil || r.Version != "1.0.0" ||
		r.Sequence != 3 ||
		!r.DryRun {
		t.Errorf("rollback, dry: %+v, %v", r, err)
	}
	if m, err := p.Channel(ctx, testApp, "production"); err != nil || m.Sequence != 2 {
		t.Errorf("after a dry run: %+v, %v", m, err)
	}
	if r, err := p.RollBack(ctx, testApp, "production", "", false); err != nil || r.Version != "1.0.0" ||
		r.Sequence != 3 {
		t.Errorf("rollback: %+v, %v", r, err)
	}
	if _, err := p.RollBack(ctx, testApp, "production", "9.9.9", false); channel.CodeOf(
		err,
	) != channel.CodeNotInHistory {
		t.Errorf("rollback to nothing: %v", err)
	}
	if _, err := p.Promote(ctx, testApp, "nothing", "beta", false); !errors.Is(err, publish.ErrUnpublished) {
		t.Errorf("promote nothing: %v", err)
	}
}

func TestNode_KeepsTheFormerReleaseUntilTheNextIsPrepared(t *testing.T) {
	f := start(t, func(c *Config) { c.Prepare = time.Minute })
	f.publish("1.0.0")
	f.settle()
	if err := f.builder.urgent.Acquire(context.Background(), 1); err != nil { // nothing can be made now
		t.Fatal(err)
	}
	published := make(chan publish.Result)
	go func() { published <- f.publish("1.1.0") }()
	inForce := func() uint64 { return f.channels.get(testApp, "production").Sequence }
	// The store has the next manifest as soon as it is durable; only then the node begins to prepare it.
	for durable := false; !durable; {
		raw, err := f.store.Manifest(testApp, "production")
		if err != nil {
			t.Fatal(err)
		}
		m, err := channel.ParseManifest(raw)
		if err != nil {
			t.Fatal(err)
		}
		durable = m.Sequence == 2
		if inForce() != 1 {
			t.Fatal("a release came into force before it was prepared")
		}
	}
	f.builder.urgent.Release(1)
	<-published
	if inForce() != 2 {
		t.Error("a release that is prepared is not in force")
	}
}

func TestNode_TakesARepeatedPublishWhileTheFirstComesIntoForce(t *testing.T) {
	f := start(t, func(c *Config) { c.Prepare = time.Minute })
	f.publish("1.0.0")
	f.settle()
	if err := f.builder.urgent.Acquire(context.Background(), 1); err != nil { // nothing can be made now
		t.Fatal(err)
	}
	results := make(chan publish.Result)
	for range 2 {
		go func() { results <- f.publish("1.1.0") }() // fails the test on a conflict
	}
	for stored := uint64(0); stored != 2; {
		raw, err := f.store.Manifest(testApp, "production")
		if err != nil {
			t.Fatal(err)
		}
		m, err := channel.ParseManifest(raw)
		if err != nil {
			t.Fatal(err)
		}
		stored = m.Sequence
	}
	f.builder.urgent.Release(1)
	first, second := <-results, <-results
	if first.Sequence != 2 || second.Sequence != 2 {
		t.Errorf("both at once: %+v and %+v, want the same sequence", first, second)
	}
}

func TestNode_DryRunLeavesNothing(t *testing.T) {
	f := start(t)
	r, err := f.publisher().
		Publish(context.Background(), publish.Request{Dir: folder(t, www("1.0.0")), App: testApp, Version: "1.0.0", Channel: "production", DryRun: true})
	if err != nil || r.ChunksSent == 0 || r.Sequence != 1 {
		t.Errorf("dry run: %+v, %v", r, err)
	}
	resp, body := f.get(protocol.ChannelPath(testApp, "production"))
	wantProblem(t, resp, body, 404, protocol.CodeUnknownChannel)
	resp, body = f.get(protocol.ArchivePath(r.Bundle))
	wantProblem(t, resp, body, 404, protocol.CodeUnknownBundle)
}

// signed returns the next manifest of production after the one in force, changed and signed by key.
func (f *fixture) signed(key channel.PrivateKey, change func(*channel.Manifest)) []byte {
	f.t.Helper()
	current, err := f.publisher().Channel(context.Background(), testApp, "production")
	if err != nil {
		f.t.Fatal(err)
	}
	release := current.Release
	release.Comment = "amended"
	next, err := current.Amend(release, time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	if change != nil {
		change(next)
	}
	raw, err := channel.SignManifest(next, key)
	if err != nil {
		f.t.Fatal(err)
	}
	return raw
}

func TestNode_RefusesManifestsThatDoNotCount(t *testing.T) {
	f := start(t)
	f.publish("0.9.0")
	f.publish("1.0.0")
	_, now := f.get(protocol.ChannelPath(testApp, "production"))
	tag := protocol.Tag(digest.Sum(now))
	stranger := newKey(t)
	for name, test := range map[string]struct {
		path   string
		body   []byte
		status int
		code   channel.Code
	}{
		"unknown key":    {"", f.signed(stranger, nil), 403, channel.CodeUnknownKey},
		"root key":       {"", f.signed(f.root, nil), 403, channel.CodeWrongRole},
		"wrong channel":  {"", f.signed(f.key, func(m *channel.Manifest) { m.Channel = "locked" }), 403, channel.CodeWrongChannel},
		"wrong app":      {"", f.signed(f.key, func(m *channel.Manifest) { m.App = "org.other" }), 403, channel.CodeWrongApp},
		"another's path": {protocol.ChannelPath(testApp, "beta"), f.signed(f.key, nil), 403, channel.CodeWrongChannel},
		"lower sequence": {"", f.signed(f.key, func(m *channel.Manifest) { m.Sequence = 1 }), 409, channel.CodeSequenceNotHigher},
		"same sequence":  {"", f.signed(f.key, func(m *channel.Manifest) { m.Sequence = 2 }), 409, channel.CodeEquivocation},
		"expired": {"", f.signed(f.key, func(m *channel.Manifest) {
			m.Issued = m.Issued.Add(-2 * time.Hour)
			m.Expires = m.Issued.Add(time.Hour)
		}), 403, channel.CodeExpired},
		"from the future":  {"", f.signed(f.key, func(m *channel.Manifest) { m.Issued = m.Issued.Add(time.Hour) }), 403, channel.CodeNotYetValid},
		"signature broken": {"", spoilSignature(t, f.signed(f.key, nil)), 403, channel.CodeBadSignature},
		"no manifest":      {"", []byte("{}"), 400, channel.CodeWrongType},
		"too large":        {"", bytes.Repeat([]byte(" "), channel.MaxManifest+1), 413, channel.CodeTooLarge},
		"missing bundle":   {"", f.signed(f.key, func(m *channel.Manifest) { m.Release.Bundle = digest.Sum([]byte("nowhere")) }), 409, protocol.CodeIncomplete},
	} {
		path := test.path
		if path == "" {
			path = protocol.ChannelPath(testApp, "production")
		}
		resp, body := f.do(http.MethodPut, path, bytes.NewReader(test.body), "If-Match", tag)
		t.Log(name)
		wantProblem(t, resp, body, test.status, string(test.code))
	}
	next := f.signed(f.key, nil)
	for name, test := range map[string]struct {
		fields []string
		status int
		code   string
	}{
		"no condition":    {nil, 428, protocol.CodePrecondition},
		"both":            {[]string{"If-Match", tag, "If-None-Match", "*"}, 428, protocol.CodePrecondition},
		"garbage":         {[]string{"If-Match", "x"}, 400, protocol.CodeBadRequest},
		"for a new one":   {[]string{"If-None-Match", "*"}, 412, protocol.CodeConflict},
		"for another one": {[]string{"If-Match", protocol.Tag(digest.Sum(nil))}, 412, protocol.CodeConflict},
	} {
		resp, body := f.do(
			http.MethodPut,
			protocol.ChannelPath(testApp, "production"),
			bytes.NewReader(next),
			test.fields...)
		t.Log(name)
		wantProblem(t, resp, body, test.status, test.code)
	}
	if _, after := f.get(protocol.ChannelPath(testApp, "production")); !bytes.Equal(now, after) {
		t.Error("a refused manifest changed the channel")
	}
	for range 2 { // the second is a repetition of a request whose answer was lost
		if resp, body := f.do(http.MethodPut, protocol.ChannelPath(testApp, "production"), bytes.NewReader(next), "If-Match", tag); resp.StatusCode != 200 {
			t.Errorf("the right one: %d %s", resp.StatusCode, body)
		}
	}
}

func spoilSignature(t *testing.T, raw []byte) []byte {
	t.Helper()
	i := bytes.Index(raw, []byte(`"sig":"`)) + len(`"sig":"`)
	if i < 10 {
		t.Fatal("no signature found")
	}
	spoilt := bytes.Clone(raw)
	if spoilt[i] == 'A' {
		spoilt[i] = 'B'
	} else {
		spoilt[i] = 'A'
	}
	return spoilt
}

// offerOf returns the body of an offer of the folder's bundle, signed by key.
func (f *fixture) offerOf(
	dir string,
	key channel.PrivateKey,
	change func(*channel.Intent, *bundle.Index),
) (*bundle.Index, []byte) {
	f.t.Helper()
	ix, err := bundle.Folder{FS: os.DirFS(dir)}.Index(context.Background())
	if err != nil {
		f.t.Fatal(err)
	}
	raw := ix.Encode()
	in := &channel.Intent{
		Org: "acme", App: testApp, Version: "1.0.0", Bundle: ix.Bundle(), Index: digest.Sum(raw), Size: ix.Archive.Size,
		IndexSize: int64(len(raw)), Files: len(ix.Files), Issued: time.Now(), Expires: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(in, ix)
	}
	envelope, err := channel.SignIntent(in, key)
	if err != nil {
		f.t.Fatal(err)
	}
	body, err := json.Marshal(protocol.Offer{Intent: envelope, Index: ix})
	if err != nil {
		f.t.Fatal(err)
	}
	return ix, body
}

// stream returns the chunks of the folder's bundle as a chunk stream.
func stream(t *testing.T, dir string, ix *bundle.Index, want []digest.Digest, spoil func(*bundle.Frame)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, codec, chunks := bundle.NewStreamWriter(&b), bundle.NewCodec(), bundle.NewFolderChunks(os.DirFS(dir), ix)
	sizes := map[digest.Digest]int64{}
	for c := range ix.Chunks() {
		sizes[c.Digest] = c.Size
	}
	for _, d := range want {
		plain, err := chunks.Chunk(context.Background(), bundle.Chunk{Digest: d, Size: sizes[d]})
		if err != nil {
			t.Fatal(err)
		}
		frame := codec.Frame(plain)
		if spoil != nil {
			spoil(&frame)
		}
		if err := w.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (f *fixture) open(body []byte) protocol.Demand {
	f.t.Helper()
	resp, raw := f.do(http.MethodPost, protocol.BundlesPath(testApp), bytes.NewReader(body))
	var answer protocol.Demand
	if err := json.Unmarshal(raw, &answer); err != nil || resp.StatusCode != 200 || answer.Upload == "" {
		f.t.Fatalf("offer: %d %s", resp.StatusCode, raw)
	}
	return answer
}

func TestNode_RefusesOffersThatDoNotCount(t *testing.T) {
	f := start(t)
	dir := folder(t, www("1.0.0"))
	for name, test := range map[string]struct {
		key    channel.PrivateKey
		change func(*channel.Intent, *bundle.Index)
		status int
		code   string
	}{
		"stranger":  {newKey(t), nil, 403, string(channel.CodeUnknownKey)},
		"wrong app": {f.key, func(in *channel.Intent, _ *bundle.Index) { in.App = "org.other" }, 403, string(channel.CodeWrongApp)},
		"other app": {f.key, func(in *channel.Intent, _ *bundle.Index) { in.App = "com.acme.other" }, 400, protocol.CodeBadRequest},
		"expired": {f.key, func(in *channel.Intent, _ *bundle.Index) {
			in.Issued = time.Now().Add(-3 * time.Hour)
			in.Expires = time.Now().Add(-time.Hour)
		}, 403, string(channel.CodeExpired)},
		"other index": {f.key, func(_ *channel.Intent, ix *bundle.Index) { ix.Files[0].Path = "changed" }, 422, protocol.CodeMismatch},
		"bad path": {f.key, func(in *channel.Intent, ix *bundle.Index) {
			ix.Files[0].Path = "../evil"
			in.Index, in.IndexSize = digest.Sum(ix.Encode()), int64(len(ix.Encode()))
		}, 400, protocol.CodeMalformed},
	} {
		_, body := f.offerOf(dir, test.key, test.change)
		resp, raw := f.do(http.MethodPost, protocol.BundlesPath(testApp), bytes.NewReader(body))
		t.Log(name)
		wantProblem(t, resp, raw, test.status, test.code)
		if name == "bad path" && !strings.Contains(string(raw), "../evil") {
			t.Errorf("the answer does not name the path: %s", raw)
		}
	}
	for name, body := range map[string]string{"empty": "", "no JSON": "{", "no index": `{"intent":{}}`} {
		resp, raw := f.do(http.MethodPost, protocol.BundlesPath(testApp), strings.NewReader(body))
		if resp.StatusCode != 400 {
			t.Errorf("%s: %d %s", name, resp.StatusCode, raw)
		}
	}
	resp, raw := f.do(http.MethodPost, protocol.BundlesPath(testApp), strings.NewReader("x"), "Content-Encoding", "br")
	wantProblem(t, resp, raw, 415, protocol.CodeUnsupportedMedia)
}

func TestNode_RefusesUploadsThatAreWrong(t *testing.T) {
	f := start(t)
	for i, test := range []struct {
		name   string
		body   func(dir string, ix *bundle.Index, d protocol.Demand) []byte
		status int
		code   string
	}{
		{"cut", func(dir string, ix *bundle.Index, d protocol.Demand) []byte {
			b := stream(t, dir, ix, d.Missing, nil)
			return b[:len(b)-20]
		}, 409, protocol.CodeIncomplete},
		{"garbage", func(string, *bundle.Index, protocol.Demand) []byte {
			return []byte("this is not a chunk stream")
		}, 400, protocol.CodeMalformed},
		{"a chunk short", func(dir string, ix *bundle.Index, d protocol.Demand) []byte {
			return stream(t, dir, ix, d.Missing[:1], nil)
		}, 409, protocol.CodeIncomplete},
		{"a bit flipped", func(dir string, ix *bundle.Index, d protocol.Demand) []byte {
			return stream(t, dir, ix, d.Missing, func(fr *bundle.Frame) {
				fr.Data = bytes.Clone(fr.Data)
				fr.Data[len(fr.Data)/2] ^= 1
			})
		}, 422, protocol.CodeMismatch},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Noise is sent raw, so that a flipped bit can break nothing but the digest.
			dir := folder(
				t,
				map[string]string{"a": string(noise(byte(10+i), 9000)), "b": string(noise(byte(50+i), 9000))},
			)
			ix, offer := f.offerOf(dir, f.key, nil)
			d := f.open(offer)
			resp, raw := f.do(http.MethodPut, d.Upload, bytes.NewReader(test.body(dir, ix, d)))
			wantProblem(t, resp, raw, test.status, test.code)
			resp, raw = f.get(protocol.ArchivePath(ix.Bundle()))
			wantProblem(t, resp, raw, 404, protocol.CodeUnknownBundle)
			resp, raw = f.do(http.MethodPut, d.Upload, bytes.NewReader(nil))
			wantProblem(t, resp, raw, 404, protocol.CodeUnknownUpload)
		})
	}
	f.publish("1.0.0") // and the node is none the worse for it
}

func TestNode_BoundsUploadsAtOnce(t *testing.T) {
	f := start(t, func(c *Config) { c.Uploads = 2 })
	_, offer := f.offerOf(folder(t, www("1.0.0")), f.key, nil)
	f.open(offer)
	f.open(offer)
	resp, raw := f.do(http.MethodPost, protocol.BundlesPath(testApp), bytes.NewReader(offer))
	wantProblem(t, resp, raw, 429, protocol.CodeBusy)
	if resp.Header.Get("Retry-After") == "" {
		t.Error("a busy node does not say when to try again")
	}
}

func TestNode_KeepsToItsQuota(t *testing.T) {
	f := start(t, func(c *Config) { c.Quota = 1 << 20 })
	files := www("1.0.0")
	files["large.bin"] = string(noise(9, 3<<20))
	_, err := f.publisher().
		Publish(context.Background(), publish.Request{Dir: folder(t, files), App: testApp, Version: "1.0.0", Channel: "production"})
	if protocol.CodeOf(err) != protocol.CodeQuota {
		t.Errorf("publish over the quota: %v, want %s", err, protocol.CodeQuota)
	}
}

func TestNode_KeepsToTheQuotaOfTheOrg(t *testing.T) {
	var quotaKey channel.PrivateKey
	f := start(t, func(c *Config) {
		trust, err := channel.ParseTrust(c.Trust[0], time.Now())
		if err != nil {
			t.Fatal(err)
		}
		next := trust.Next()
		next.Issued, next.Quota = time.Now(), 1<<20
		root, key := newKey(t), newKey(t)
		next.Roots, next.Keys = []channel.PublicKey{root.Public()}, []channel.PublicKey{key.Public()}
		next.Roles[0].Keys = []string{key.Public().ID()}
		if c.Trust[0], err = channel.NewTrust(next, root); err != nil {
			t.Fatal(err)
		}
		quotaKey = key
	})
	f.key = quotaKey
	f.publish("1.0.0")
	f.publish("1.1.0") // two archives of 0.44 MB
	_, err := f.publisher().Publish(context.Background(), publish.Request{
		Dir: folder(t, www("1.2.0")), App: testApp, Version: "1.2.0", Channel: "production",
	})
	if protocol.CodeOf(err) != protocol.CodeQuota || !strings.Contains(err.Error(), "acme") {
		t.Errorf("publish over the org's quota: %v, want %s", err, protocol.CodeQuota)
	}
}

func TestNode_RefusesTrustThatItsFormerRootsDidNotSign(t *testing.T) {
	f := start(t)
	f.publish("1.0.0")
	f.stop()
	config := f.config
	config.Listen, config.Admin = "127.0.0.1:0", ""
	config.Trust = [][]byte{trustOf(t, newKey(t), newKey(t))}
	if n, err := New(config); err == nil {
		t.Error("another root took the org over")
		_ = n.close()
	} else if !strings.Contains(err.Error(), "acme") {
		t.Errorf("the error does not name the org: %v", err)
	}
}
