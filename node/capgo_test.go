package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"

	"brink/channel"
	"brink/digest"
	"brink/protocol"
	"brink/publish"
)

const capgoDevice = "00009a6b-eefe-490a-9c60-8e965132ae51"

// capgo sends what a device tells, with members given as name, value, …, and returns the answer.
func (f *fixture) capgo(method, path string, members ...any) (status int, answer map[string]any) {
	f.t.Helper()
	in := map[string]any{
		"platform": "android", "device_id": capgoDevice, "app_id": testApp, "version_build": "0.9.0",
		"version_name": "builtin", "plugin_version": "8.51.23", "is_prod": true,
	}
	for i := 0; i < len(members); i += 2 {
		in[members[i].(string)] = members[i+1]
	}
	raw, err := json.Marshal(in)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, body := f.do(method, path, bytes.NewReader(raw), "Content-Type", "application/json")
	if err := json.Unmarshal(body, &answer); err != nil {
		f.t.Fatalf("%s %s: %v: %s", method, path, err, body)
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		f.t.Errorf("%s may be kept: %q", path, got)
	}
	return resp.StatusCode, answer
}

func TestNode_ServesCapgosPluginFileByFile(t *testing.T) {
	f := start(t)
	r, err := f.publisher().Publish(context.Background(), publish.Request{
		Dir: folder(t, www("1.0.0")), App: testApp, Version: "1.0.0", Channel: "production",
		Attachments: []publish.Attacher{publish.Zip{Choice: publish.Wanted}},
	})
	if err != nil {
		t.Fatal(err)
	}
	// Asking for a file as brotli waits until it is made.
	const name = "js/app.js"
	coded := "/capgo/files/" + r.Bundle.String() + "/" + name + ".br"
	resp, body := f.get(coded, "Accept-Encoding", "gzip, br, zstd")
	plain, err := io.ReadAll(brotli.NewReader(bytes.NewReader(body)))
	if err != nil || string(plain) != www("1.0.0")[name] || resp.StatusCode != 200 {
		t.Fatalf("%s: status %d, %d bytes, %v", coded, resp.StatusCode, len(body), err)
	}
	for field, want := range map[string]string{
		"Content-Encoding": "", "Vary": "", "Accept-Ranges": "bytes", "Content-Length": fmt.Sprint(len(body)),
		"Cache-Control": "public, max-age=31536000, immutable, no-transform",
	} {
		if got := resp.Header.Get(field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	resp, rest := f.get(coded, "Range", "bytes=10-")
	if resp.StatusCode != 206 || !bytes.Equal(rest, body[10:]) {
		t.Errorf("the rest: status %d, %d bytes", resp.StatusCode, len(rest))
	}
	if resp, _ = f.get(coded, "Range", fmt.Sprintf("bytes=%d-", len(body))); resp.StatusCode != 416 {
		t.Errorf("behind the end: status %d", resp.StatusCode)
	}
	for _, missing := range []string{"/none", "/none.br", "/index.html.br", "/img/logo.png.br", "/"} {
		resp, body := f.get("/capgo/files/" + r.Bundle.String() + missing)
		if resp.StatusCode != 404 {
			t.Errorf("%s: %d %s", missing, resp.StatusCode, body)
		}
	}

	status, answer := f.capgo(http.MethodPost, "/capgo/updates")
	if status != 200 || answer["version"] != "1.0.0" || answer["error"] != nil || answer["kind"] != nil {
		t.Fatalf("the answer is %d %v", status, answer)
	}
	zip, _ := answer["url"].(string)
	_, body = f.get(strings.TrimPrefix(zip, f.URL()), "Accept-Encoding", "gzip")
	if got := digest.SumSHA256(body).String(); got != answer["checksum"] {
		t.Errorf("the zip at %s has the checksum %s, want %s", zip, got, answer["checksum"])
	}
	list, _ := answer["manifest"].([]any)
	if len(list) != len(www("1.0.0")) {
		t.Errorf("the list has %d files, want %d", len(list), len(www("1.0.0")))
	}
	for _, one := range list {
		entry := one.(map[string]any)
		resp, body := f.get(strings.TrimPrefix(entry["download_url"].(string), f.URL()), "Accept-Encoding", "gzip")
		if strings.HasSuffix(entry["file_name"].(string), ".br") {
			body, _ = io.ReadAll(brotli.NewReader(bytes.NewReader(body)))
		}
		if digest.SumSHA256(body).String() != entry["file_hash"] || resp.Header.Get("Content-Encoding") != "" {
			t.Errorf("%v has other bytes: status %d", entry, resp.StatusCode)
		}
	}
	status, answer = f.capgo(http.MethodPost, "/capgo/updates/manifest_size", "manifest", list)
	if status != 200 || answer["unknownFiles"] != 1.0 { // an empty file has no size to tell
		t.Errorf("the sizes are %d %v", status, answer)
	}
}

func TestNode_ServesCapgosPluginWhereItIsTold(t *testing.T) {
	f := start(t, func(c *Config) { c.Capgo, c.PublicURL = "/", "https://ota.example/" })
	f.publish("1.0.0")
	_, answer := f.capgo(http.MethodPost, "/updates")
	if url, _ := answer["url"].(string); url != "https://ota.example/no.zip" {
		t.Errorf("the URL is %v", answer["url"])
	}
	for _, path := range []string{"/updates", "/stats"} {
		if resp, body := f.get(path); resp.StatusCode != 200 || strings.TrimSpace(string(body)) != `{"status":"ok"}` {
			t.Errorf("GET %s: %d %s", path, resp.StatusCode, body)
		}
	}
	resp, body := f.do(http.MethodPost, "/updates", strings.NewReader(strings.Repeat(" ", 20<<10)))
	wantProblem(t, resp, body, 413, protocol.CodeTooLarge)
}

func TestConfig_KeepsCapgosPluginOffOtherPaths(t *testing.T) {
	for path, ok := range map[string]bool{
		"/": true, "/capgo": true, "/livez": false, "/v1": false, "/v1/capgo": false, "/web/x": false, "/appflow": false,
	} {
		c := Config{Data: "x", Trust: [][]byte{{}}, Capgo: path}
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("path %q: %v", path, err)
		}
	}
}

func TestNode_RemembersWhatOldPluginsOfCapgoChose(t *testing.T) {
	f := start(t)
	f.publish("1.0.0")
	p := f.publisher()
	if _, err := p.Promote(context.Background(), testApp, "production", "beta", false); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Change(context.Background(), testApp, "beta", false,
		func(m *channel.Manifest) (*channel.Manifest, error) {
			return m.SetRules(channel.Rules{SelfAssign: true}, time.Now())
		}); err != nil {
		t.Fatal(err)
	}
	old := []any{"plugin_version", "7.0.0", "channel", "beta"}
	want := func(method, member, value string) {
		t.Helper()
		if _, answer := f.capgo(method, "/capgo/channel_self", old...); answer[member] != value {
			t.Errorf("%s: %v, want %s", method, answer, value)
		}
	}
	want(http.MethodDelete, "error", "cannot_override")
	want(http.MethodPost, "status", "ok")
	f.restart()
	want(http.MethodPut, "channel", "beta")
	want(http.MethodDelete, "status", "ok")
	want(http.MethodPut, "channel", "production")
}
