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
	return ix, protocol.Offer(envelope, ix.Encode())
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
			// The upload waits for the right chunks, whoever else sent wrong ones.
			again := f.open(offer)
			if again.Upload != d.Upload || len(again.Missing) > len(d.Missing) {
				t.Errorf("another offer opens %s, which lacks %d chunks", again.Upload, len(again.Missing))
			}
			resp, raw = f.do(http.MethodPut, d.Upload, bytes.NewReader(stream(t, dir, ix, again.Missing, nil)))
			if resp.StatusCode != 200 {
				t.Errorf("the right chunks: %d %s", resp.StatusCode, raw)
			}
			resp, raw = f.do(http.MethodPut, d.Upload, bytes.NewReader(nil))
			wantProblem(t, resp, raw, 404, protocol.CodeUnknownUpload)
		})
	}
	f.publish("1.0.0") // and the node is none the worse for it
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
