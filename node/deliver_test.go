package node

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

func decode(t *testing.T, coding string, body []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(body)
	var err error
	switch coding {
	case "zstd":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1)); err == nil {
			defer d.Close()
			r = d
		}
	case "gzip":
		r, err = gzip.NewReader(r)
	case "br":
		r = brotli.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// settle waits until all representations that were asked for are made.
func (f *fixture) settle() { f.builder.Wait() }

func TestNode_DeliversEveryRepresentationOfTheArchive(t *testing.T) {
	f := start(t)
	id := f.publish("1.0.0").Bundle
	f.settle()
	path := protocol.ArchivePath(id)
	tags := map[string]bool{}
	for _, test := range []struct{ accept, want string }{
		{"", ""},
		{"identity", ""},
		{"zstd", "zstd"},
		{"gzip", "gzip"},
		{"br", "br"},
		{"gzip;q=0.5, zstd;q=0.9", "zstd"},
		{"zstd;q=0, gzip", "gzip"},
		{"compress", ""},
		{"dcz", ""},
		{"*;q=0.1, gzip", "gzip"},
	} {
		resp, body := f.get(path, "Accept-Encoding", test.accept)
		if got := resp.Header.Get("Content-Encoding"); resp.StatusCode != 200 || got != test.want {
			t.Errorf("Accept-Encoding %q: %d %q, want %q", test.accept, resp.StatusCode, got, test.want)
			continue
		}
		if digest.Sum(decode(t, test.want, body)) != id {
			t.Errorf("Accept-Encoding %q: the bytes are not those of the bundle", test.accept)
		}
		h := resp.Header
		if h.Get("Vary") != "Accept-Encoding, Available-Dictionary" || !strings.Contains(h.Get("Cache-Control"), "immutable") ||
			h.Get("Accept-Ranges") != "bytes" ||
			h.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("Accept-Encoding %q: fields %v", test.accept, h)
		}
		tags[test.want+h.Get("ETag")] = true
	}
	if len(tags) != 4 {
		t.Errorf("four representations have the tags %v", tags)
	}
	resp, body := f.get(path, "Accept-Encoding", "identity;q=0, *;q=0")
	wantProblem(t, resp, body, http.StatusNotAcceptable, protocol.CodeNotAcceptable)
}

func TestNode_SendsPatches(t *testing.T) {
	f := start(t)
	first, second := f.publish("1.0.0"), f.publish("1.1.0")
	_, old := f.get(protocol.ArchivePath(first.Bundle))
	name := digest.SumSHA256(old)
	resp, body := f.get(
		protocol.ArchivePath(second.Bundle),
		"Accept-Encoding",
		"dcz, zstd",
		"Available-Dictionary",
		name.Field(),
	)
	if resp.Header.Get("Content-Encoding") != "dcz" || len(body) > 2000 {
		t.Fatalf("the answer is %q with %d bytes, want a small patch", resp.Header.Get("Content-Encoding"), len(body))
	}
	r, err := bundle.DecodePatch(bytes.NewReader(body), old, name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	next, err := io.ReadAll(r)
	if err != nil || digest.Sum(next) != second.Bundle {
		t.Errorf("the patch gives %d bytes, %v, and not the bundle", len(next), err)
	}
	for field, accept := range map[string]string{
		digest.SumSHA256([]byte("unknown")).Field(): "dcz, zstd",
		"garbage":    "dcz, zstd",
		name.Field(): "zstd",
	} {
		resp, body := f.get(
			protocol.ArchivePath(second.Bundle),
			"Accept-Encoding",
			accept,
			"Available-Dictionary",
			field,
		)
		if resp.Header.Get("Content-Encoding") != "zstd" || digest.Sum(decode(t, "zstd", body)) != second.Bundle {
			t.Errorf("dictionary %q, accept %q: %q, want the full archive", field, accept,
				resp.Header.Get("Content-Encoding"))
		}
	}
}

func TestNode_AttachesASmallPatchToACheck(t *testing.T) {
	f := start(t)
	first, second := f.publish("1.0.0"), f.publish("1.1.0")
	_, old := f.get(protocol.ArchivePath(first.Bundle))
	name := digest.SumSHA256(old)
	check := func(in protocol.CheckRequest) (answer protocol.CheckAnswer) {
		t.Helper()
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		resp, raw := f.do(http.MethodPost, protocol.CheckPath(testApp), bytes.NewReader(body))
		if err := json.Unmarshal(raw, &answer); err != nil || resp.StatusCode != 200 {
			t.Fatalf("check: %d %s", resp.StatusCode, raw)
		}
		return answer
	}
	device := protocol.Device{Version: "1.0.0", Bundle: first.Bundle}
	got := check(protocol.CheckRequest{Channel: "production", Device: device, Dictionary: name, Inline: protocol.MaxInline})
	r, err := bundle.DecodePatch(bytes.NewReader(got.Patch), old, name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if next, err := io.ReadAll(r); err != nil || digest.Sum(next) != second.Bundle {
		t.Errorf("the patch gives %d bytes, %v, and not the bundle", len(next), err)
	}
	_, raw := f.get(protocol.ChannelPath(testApp, "production"))
	if !bytes.Equal(got.Manifest, raw) {
		t.Error("the manifest in the answer is not the one that was signed, byte for byte")
	}
	current := protocol.Device{Version: "1.1.0", Bundle: second.Bundle}
	m, err := channel.ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got := check(protocol.CheckRequest{Channel: "production", Device: current, Seen: m.Statement()}); got.Manifest != nil {
		t.Error("the manifest comes again although it was seen and nothing is new")
	}
	if got := check(protocol.CheckRequest{Channel: "production", Device: device, Seen: m.Statement()}); got.Manifest == nil {
		t.Error("a device that has something to fetch must get the manifest")
	}
	for what, in := range map[string]protocol.CheckRequest{
		"nothing asked":      {Channel: "production", Device: device},
		"too little room":    {Channel: "production", Device: device, Dictionary: name, Inline: 10},
		"unknown dictionary": {Channel: "production", Device: device, Dictionary: digest.SumSHA256(nil), Inline: protocol.MaxInline},
		"up to date":         {Channel: "production", Device: current, Dictionary: name, Inline: protocol.MaxInline},
	} {
		if got := check(in); got.Patch != nil {
			t.Errorf("%s: a patch came all the same", what)
		}
	}
}

func TestNode_AnswersConditionsAndRanges(t *testing.T) {
	f := start(t)
	id := f.publish("1.0.0").Bundle
	f.settle()
	path := protocol.ArchivePath(id)
	whole, all := f.get(path)
	tag := whole.Header.Get("ETag")
	zstdWhole, zstdAll := f.get(path, "Accept-Encoding", "zstd")
	size := len(all)
	for _, test := range []struct {
		name   string
		fields []string
		status int
		body   []byte
	}{
		{"same tag", []string{"If-None-Match", tag}, 304, nil},
		{"any tag", []string{"If-None-Match", "*"}, 304, nil},
		{"tag of another encoding", []string{"If-None-Match", zstdWhole.Header.Get("ETag")}, 200, all},
		{"If-Match", []string{"If-Match", tag}, 200, all},
		{"first bytes", []string{"Range", "bytes=0-9"}, 206, all[:10]},
		{"last bytes", []string{"Range", "bytes=-10"}, 206, all[size-10:]},
		{"from the middle", []string{"Range", fmt.Sprintf("bytes=%d-", size/2)}, 206, all[size/2:]},
		{"range of zstd", []string{"Accept-Encoding", "zstd", "Range", "bytes=5-99"}, 206, zstdAll[5:100]},
		{"If-Range same", []string{"Range", "bytes=0-9", "If-Range", tag}, 206, all[:10]},
		{"If-Range other", []string{"Range", "bytes=0-9", "If-Range", `"other"`}, 200, all},
		{"If-Range date", []string{"Range", "bytes=0-9", "If-Range", "Mon, 02 Jan 2006 15:04:05 GMT"}, 200, all},
		{"several ranges", []string{"Range", "bytes=0-1,5-6"}, 200, all},
		{"other unit", []string{"Range", "lines=0-1"}, 200, all},
	} {
		resp, body := f.get(path, test.fields...)
		if resp.StatusCode != test.status || !bytes.Equal(body, test.body) {
			t.Errorf("%s: %d with %d bytes, want %d with %d", test.name, resp.StatusCode, len(body), test.status,
				len(test.body))
		}
		if resp.StatusCode != 304 && resp.ContentLength != int64(len(test.body)) {
			t.Errorf("%s: Content-Length %d", test.name, resp.ContentLength)
		}
	}
	resp, body := f.get(path, "Range", fmt.Sprintf("bytes=%d-", size))
	wantProblem(t, resp, body, 416, protocol.CodeRangeInvalid)
	if got, want := resp.Header.Get("Content-Range"), fmt.Sprintf("bytes */%d", size); got != want {
		t.Errorf("Content-Range = %q, want %q", got, want)
	}
	resp, body = f.get(path, "If-Match", `"other"`)
	wantProblem(t, resp, body, 412, protocol.CodePreconditionFail)

	resp, body = f.do(http.MethodHead, path, nil, "Accept-Encoding", "zstd")
	if resp.StatusCode != 200 || len(body) != 0 || resp.ContentLength != int64(len(zstdAll)) ||
		resp.Header.Get("ETag") != zstdWhole.Header.Get("ETag") {
		t.Errorf("HEAD: %d, length %d, fields %v", resp.StatusCode, resp.ContentLength, resp.Header)
	}
}

func TestNode_StreamsWhatIsNotHeldInRAM(t *testing.T) {
	f := start(t, func(c *Config) { c.Hot = -1 })
	id := f.publish("1.0.0").Bundle
	for _, accept := range []string{"identity", "zstd"} {
		_, all := f.get(protocol.ArchivePath(id), "Accept-Encoding", accept)
		if digest.Sum(decode(t, accept, all)) != id {
			t.Errorf("%s: the bytes are not those of the bundle", accept)
		}
		resp, part := f.get(protocol.ArchivePath(id), "Accept-Encoding", accept, "Range", "bytes=1000-90000")
		if resp.StatusCode != 206 || !bytes.Equal(part, all[1000:90001]) {
			t.Errorf("%s: range gives %d with %d bytes", accept, resp.StatusCode, len(part))
		}
	}
}

func TestNode_DeliversIndexFilesAndChunks(t *testing.T) {
	f := start(t)
	id := f.publish("1.0.0").Bundle
	_, raw := f.get(protocol.IndexPath(id))
	ix, err := bundle.DecodeIndex(raw)
	if err != nil {
		t.Fatal(err)
	}
	var names []digest.Digest
	for name, want := range www("1.0.0") {
		escaped := (&url.URL{Path: name}).EscapedPath()
		resp, body := f.get("/v1/bundles/" + id.String() + "/files/" + escaped)
		if resp.StatusCode != 200 || string(body) != want {
			t.Errorf("%s: %d with %d bytes", name, resp.StatusCode, len(body))
		}
	}
	resp, _ := f.get("/v1/bundles/" + id.String() + "/files/js/app.js")
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/javascript") {
		t.Errorf("a script has type %q", kind)
	}
	f.get("/v1/bundles/"+id.String()+"/files/js/app.js", "Accept-Encoding", "br") // makes it wanted
	f.settle()
	resp, body := f.get("/v1/bundles/"+id.String()+"/files/js/app.js", "Accept-Encoding", "br")
	if resp.Header.Get("Content-Encoding") != "br" || string(decode(t, "br", body)) != www("1.0.0")["js/app.js"] {
		t.Errorf("a file that was wanted before comes as %q", resp.Header.Get("Content-Encoding"))
	}
	for c := range ix.Chunks() {
		names = append(names, c.Digest)
		_, plain := f.get("/v1/chunks/" + c.Digest.String())
		resp, encoded := f.get("/v1/chunks/"+c.Digest.String(), "Accept-Encoding", "zstd")
		if digest.Sum(plain) != c.Digest ||
			digest.Sum(decode(t, resp.Header.Get("Content-Encoding"), encoded)) != c.Digest {
			t.Errorf("chunk %s comes as other bytes", c.Digest)
		}
	}
	absent := digest.Sum([]byte("absent"))
	request, err := json.Marshal(protocol.Batch{Chunks: append(names, absent)})
	if err != nil {
		t.Fatal(err)
	}
	resp, body = f.do(http.MethodPost, "/v1/chunks", bytes.NewReader(request))
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != protocol.TypeChunks {
		t.Fatalf("batch: %d %s", resp.StatusCode, body)
	}
	stream, codec := bundle.NewStreamReader(bytes.NewReader(body)), bundle.NewCodec()
	for _, want := range append(names, absent) {
		frame, err := stream.Next()
		if err != nil || frame.Digest != want {
			t.Fatalf("batch: chunk %s, %v; want %s", frame.Digest.Short(), err, want.Short())
		}
		if _, err := codec.Plain(frame); (err != nil) != (want == absent) {
			t.Errorf("batch: chunk %s: %v", want.Short(), err)
		}
	}
	if _, err := stream.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("batch ends with %v", err)
	}
}

func TestNode_SaysWhatIsNotThere(t *testing.T) {
	f := start(t)
	id := f.publish("1.0.0").Bundle.String()
	none := digest.Sum(nil).String()
	for path, code := range map[string]string{
		"/":                                    protocol.CodeNotFound,
		"/v1/":                                 protocol.CodeNotFound,
		"/v1/apps/":                            protocol.CodeNotFound,
		"/v1/apps/com.acme.shop/other":         protocol.CodeNotFound,
		"/v1/apps/org.other":                   protocol.CodeUnknownApp,
		"/v1/orgs/other/trust":                 protocol.CodeUnknownOrg,
		"/v1/apps/com.acme.shop/channels/beta": protocol.CodeUnknownChannel,
		"/v1/bundles/" + none + "/archive":     protocol.CodeUnknownBundle,
		"/v1/bundles/" + none + "/index":       protocol.CodeUnknownBundle,
		"/v1/bundles/" + id + "/files/nothing": protocol.CodeUnknownFile,
		"/v1/bundles/" + id + "/files/..%2f..": protocol.CodeUnknownFile,
		"/v1/bundles/" + id + "/archive/more":  protocol.CodeNotFound,
		"/v1/chunks/" + none:                   protocol.CodeUnknownChunk,
		"/v1/bundles/../../etc/passwd":         protocol.CodeNotFound,
	} {
		resp, body := f.get(path)
		wantProblem(t, resp, body, 404, code)
	}
	for path, code := range map[string]string{
		"/v1/bundles/xyz/archive":             protocol.CodeBadRequest,
		"/v1/chunks/" + strings.ToUpper(none): protocol.CodeBadRequest,
	} {
		resp, body := f.get(path)
		wantProblem(t, resp, body, 400, code)
	}
	resp, body := f.do(http.MethodDelete, "/v1/apps/"+testApp, nil)
	wantProblem(t, resp, body, 405, protocol.CodeMethodNotAllowed)
	if allow := resp.Header.Get("Allow"); allow != "GET, HEAD, OPTIONS" {
		t.Errorf("Allow = %q", allow)
	}
	resp, _ = f.do(
		http.MethodOptions,
		"/v1/apps/"+testApp+"/check",
		nil,
		"Origin",
		"https://app.example",
		"Access-Control-Request-Method",
		"POST",
	)
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Methods") != "POST, OPTIONS" ||
		resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
	}
}

func TestNode_NobodyGuessesTheTypeOfFiles(t *testing.T) {
	f := start(t)
	files := map[string]string{
		"index.html": "<p>", "a.js": "1", "b.mjs": "1", "c.css": "p{}", "d.json": "{}", "e.svg": "<svg/>", "f.WOFF2": "x",
		"g.unknown": "<script>", "h": "<html>", "i.wasm": "x",
	}
	id := f.publishFiles("1.0.0", files).Bundle
	for name, want := range map[string]string{
		"index.html": "text/html; charset=utf-8", "a.js": "text/javascript; charset=utf-8",
		"b.mjs": "text/javascript; charset=utf-8", "c.css": "text/css; charset=utf-8", "d.json": "application/json",
		"e.svg": "image/svg+xml", "f.WOFF2": "font/woff2", "g.unknown": "application/octet-stream",
		"h": "application/octet-stream", "i.wasm": "application/wasm",
	} {
		for _, path := range []string{
			filePath(id, name), "/web/" + testApp + "/production/" + name, "/capgo/files/" + id.String() + "/" + name,
		} {
			resp, _ := f.get(path)
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != want ||
				resp.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: %d %q, want %q and nosniff", path, resp.StatusCode, resp.Header.Get("Content-Type"), want)
			}
		}
	}
	if resp, _ := f.get(protocol.ArchivePath(id)); resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("the archive is to be guessed")
	}
}

func TestNode_ListsNoOrgsToStrangers(t *testing.T) {
	f := start(t)
	for _, path := range []string{
		protocol.AppPath("org.nobody"), protocol.TrustPath("nobody"), protocol.ChannelPath("org.nobody", "x"),
	} {
		if resp, body := f.get(path); resp.StatusCode != 404 || strings.Contains(string(body), "acme") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}
