package node

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"brink/digest"
	"brink/node/internal/guest/appflow"
	"brink/node/internal/guest/appflow/plugin"
	"brink/protocol"
	"brink/publish"
	"brink/store"
)

const (
	appflowCheck = appflow.Root + "/apps/abcd1234/channels/check-device"
	wantsFiles   = `{"channel_name":"production","device":{"platform":"android"},"manifest":true}`
)

func mapped(c *Config) { c.Appflow = map[string]string{"abcd1234": testApp} }

// offered is what a plugin reads of an answer to check-device.
type offered struct {
	Data struct {
		Available bool
		Snapshot  string
		URL       string
		Build     int64
	}
	Meta struct{ Status int }
}

// checkDevice asks as a plugin does.
func (f *fixture) checkDevice(body string, fields ...string) offered {
	f.t.Helper()
	resp, raw := f.do(http.MethodPost, appflowCheck, strings.NewReader(body), fields...)
	var got offered
	if err := json.Unmarshal(raw, &got); err != nil || resp.StatusCode != 200 || got.Meta.Status != 200 {
		f.t.Fatalf("check-device: %s, %v\n%s", resp.Status, err, raw)
	}
	return got
}

// follow sends a GET as fetch does, and returns the last answer, its body and its URL.
func (f *fixture) follow(from string) (*http.Response, []byte, *url.URL) {
	f.t.Helper()
	where, err := url.Parse(from)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, body := f.get(where.RequestURI())
	wantOpen(f.t, resp)
	if resp.StatusCode == http.StatusFound {
		if where, err = where.Parse(resp.Header.Get("Location")); err != nil {
			f.t.Fatal(err)
		}
		resp, body = f.get(where.RequestURI())
		wantOpen(f.t, resp)
	}
	return resp, body, where
}

// wantOpen checks that scripts of all origins may read an answer.
func wantOpen(t *testing.T, resp *http.Response) {
	t.Helper()
	if got := resp.Header.Get("Access-Control-Allow-Origin"); got != "*" {
		t.Errorf("%s %s: origins allowed are %q", resp.Request.Method, resp.Request.URL, got)
	}
}

func TestAppflow_HasAnUpdateFetchedFileByFile(t *testing.T) {
	f := start(t, mapped)
	f.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r := f.publish("1.0.0")
	got := f.checkDevice(wantsFiles)
	if !got.Data.Available || got.Data.Snapshot != plugin.Snapshot(r.Bundle) || got.Data.Build != plugin.Build(r.Bundle) {
		t.Fatalf("the offer is %+v", got)
	}
	if !strings.HasPrefix(got.Data.URL, f.URL()+appflow.Root+"/") {
		t.Errorf("the URL is %s, the device came to %s", got.Data.URL, f.URL())
	}
	_, raw, where := f.follow(got.Data.URL + "?Signature=a%2Fb&Expires=1")
	if where.RawQuery != "Signature=a%2Fb&Expires=1" {
		t.Errorf("the query is lost on the way: %s", where)
	}
	var entries []plugin.Entry
	if err := json.Unmarshal(raw, &entries); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	want := www("1.0.0")
	if len(entries) != len(want) {
		t.Errorf("%d files are listed, want %d", len(entries), len(want))
	}
	for _, e := range entries {
		file, err := where.Parse((&url.URL{Path: e.Href}).String())
		if err != nil {
			t.Fatal(err)
		}
		file.RawQuery = where.RawQuery
		resp, body := f.get(file.RequestURI())
		wantOpen(t, resp)
		sum := digest.SumSHA256(body)
		if resp.StatusCode != 200 || string(body) != want[e.Href] || int64(len(body)) != e.Size ||
			!strings.HasPrefix(e.Integrity, "sha256-"+base64.StdEncoding.EncodeToString(sum[:])+" sha384-") {
			t.Errorf("%s: %s with %d bytes", file, resp.Status, len(body))
		}
	}
	if _, err := f.store.Derived(store.DerivedKey{Source: r.Bundle, Kind: "appflow.1"}); err != nil {
		t.Errorf("the list is not kept: %v", err)
	}
	if same := f.checkDevice(strings.Replace(wantsFiles, `"android"`, fmt.Sprintf(`"android","snapshot":%q`, got.Data.Snapshot), 1)); same.Data.Available {
		t.Errorf("who has it is offered %+v", same)
	}
}

func TestAppflow_KeepsTheListInMemoryWhereTheStoreTakesNothing(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	f := start(t, func(c *Config) { c.freeSpace = func(string) (uint64, error) { return free.Load(), nil } })
	r := f.publish("1.0.0")
	path := appflow.Root + plugin.FilesPath(r.Bundle) + plugin.ManifestFile
	free.Store(1 << 10)
	_, first := f.get(path)
	if f.store.ReadOnly() == "" {
		t.Fatal("the store takes writes still")
	}
	resp, again := f.get(path)
	if resp.StatusCode != 200 || !bytes.Equal(first, again) || !bytes.Contains(first, []byte(`"href":"index.html"`)) {
		t.Errorf("the list is %s\n%s\nand then\n%s", resp.Status, first, again)
	}
	free.Store(1 << 40)
	f.restart()
	if _, kept := f.get(path); !bytes.Equal(first, kept) {
		t.Errorf("the list that is kept in the store is another:\n%s\n%s", first, kept)
	}
}

// Scripts cannot read an answer that does not name their origin, and WebViews have many.
func TestAppflow_IsOpenToAllOrigins(t *testing.T) {
	f := start(t, mapped)
	f.publish("1.0.0")
	for _, path := range []string{appflowCheck, appflowCheck + "/"} {
		resp, _ := f.do(http.MethodOptions, path, nil, "Origin", "ionic://localhost",
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
		wantOpen(t, resp)
		if resp.StatusCode != 204 || !strings.Contains(resp.Header.Get("Access-Control-Allow-Methods"), "POST") ||
			!strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "Content-Type") {
			t.Errorf("preflight of %s: %s %v", path, resp.Status, resp.Header)
		}
		resp, body := f.do(http.MethodPost, path, strings.NewReader(wantsFiles), "Origin", "ionic://localhost")
		wantOpen(t, resp)
		if resp.StatusCode != 200 {
			t.Errorf("POST %s: %s %s", path, resp.Status, body)
		}
	}
}

func TestAppflow_SaysNoInTheShapeThatPluginsRead(t *testing.T) {
	f := start(t, mapped)
	r := f.publish("1.0.0")
	bundle := r.Bundle.String()
	for _, no := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", appflow.Root + "/apps/none/channels/check-device", wantsFiles, 404, protocol.CodeUnknownApp},
		{"POST", appflowCheck, `{"channel_name":"Production"}`, 404, protocol.CodeUnknownChannel},
		{"POST", appflowCheck, `{`, 400, protocol.CodeBadRequest},
		{"POST", appflowCheck, strings.Repeat(" ", protocol.MaxCheck+1), 413, protocol.CodeTooLarge},
		{"POST", appflowCheck, `{"channel_name":"production"}`, 400, protocol.CodeNotAcceptable},
		{"POST", appflowCheck + "/more", wantsFiles, 404, protocol.CodeNotFound},
		{"POST", appflow.Root + "/", "", 404, protocol.CodeNotFound},
		{"GET", appflow.Root + "/apps//channels/check-device", "", 404, protocol.CodeNotFound},
		{"GET", appflow.Root + "/apps/abcd1234/snapshots/" + bundle + "/download", "", 400, protocol.CodeNotAcceptable},
		{"GET", appflow.Root + "/apps/abcd1234/snapshots/" + bundle, "", 404, protocol.CodeNotFound},
		{"GET", appflow.Root + "/apps/abcd1234/snapshots/66192f03/manifest", "", 404, protocol.CodeUnknownBundle},
		{"GET", appflow.Root + "/apps/abcd1234/snapshots/" + digest.Sum(nil).String() + "/manifest", "", 404, protocol.CodeUnknownBundle},
		{"GET", appflow.Root + "/bundles/" + digest.Sum(nil).String() + "/pro-manifest.json", "", 404, protocol.CodeUnknownBundle},
		{"GET", appflow.Root + "/bundles/x/pro-manifest.json", "", 404, protocol.CodeUnknownBundle},
	} {
		resp, body := f.do(no.method, no.path, strings.NewReader(no.body))
		wantOpen(t, resp)
		var got struct {
			Error struct{ Message, Type, Event_ID string } //nolint:revive // the plugin's name
			Meta  struct {
				Status              int
				Request_ID, Version string //nolint:revive // as above
			}
		}
		if err := json.Unmarshal(body, &got); err != nil || resp.StatusCode != no.status || got.Error.Type != no.code ||
			got.Error.Message == "" || got.Error.Event_ID == "" || got.Meta.Status != no.status || got.Meta.Version == "" {
			t.Errorf("%s %s: %s, %v\n%s\nwant %d %s", no.method, no.path, resp.Status, err, body, no.status, no.code)
		}
	}
}

func TestAppflow_NamesTheNodeAsTheDeviceReachesIt(t *testing.T) {
	f := start(t, mapped)
	f.publish("1.0.0")
	if got := f.checkDevice(wantsFiles, "X-Forwarded-Proto", "https").Data.URL; !strings.HasPrefix(got, "https://"+f.Addr()+"/appflow/") {
		t.Errorf("behind a proxy with TLS the URL is %s", got)
	}
	if got := f.checkDevice(wantsFiles, "X-Forwarded-Proto", "gopher").Data.URL; !strings.HasPrefix(got, f.URL()+"/appflow/") {
		t.Errorf("behind a strange proxy the URL is %s", got)
	}
	f.restart(func(c *Config) { c.PublicURL = "https://updates.example/brink/" })
	got := f.checkDevice(wantsFiles).Data.URL
	if !strings.HasPrefix(got, "https://updates.example/brink/appflow/apps/abcd1234/snapshots/") {
		t.Errorf("the URL is %s, and a public one is set", got)
	}
}

func TestConfig_RefusesWhatIsNoPublicURL(t *testing.T) {
	for _, bad := range []string{"updates.example", "ftp://x", "https://", "https://x/?a=b", "https://x/#a", "://"} {
		c := Config{Data: "x", Trust: [][]byte{{}}, PublicURL: bad}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "public URL") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	c := Config{Data: "x", Trust: [][]byte{{}}, Appflow: map[string]string{"a/b": testApp}}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "a/b") {
		t.Errorf("an ID with a slash: %v", err)
	}
}

// TestAppflow_HandsOutWhatThePublisherSigned sends the two forms that the publisher makes, byte for byte.
func TestAppflow_HandsOutWhatThePublisherSigned(t *testing.T) {
	f := start(t, mapped)
	f.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	files := map[string]string{"index.html": "signed"}
	payload := fmt.Sprintf(`[ {"size":6, "href":"index.html", "integrity":"sha256-%s"} ]`, sum256("signed"))
	files[plugin.SignedFile] = `{ "payload": "` + base64.RawURLEncoding.EncodeToString([]byte(payload)) +
		`", "signatures":[{"protected":"e30","signature":"AAAA"}] }`
	_, err := f.publisher().Publish(context.Background(), publish.Request{
		Dir: folder(t, files), App: testApp, Version: "1.0.0", Channel: "production",
		Attachments: []publish.Attacher{publish.Zip{Choice: publish.Wanted}},
	})
	if err != nil {
		t.Fatal(err)
	}
	asks := func(manifest bool) (*http.Response, []byte, *url.URL) {
		t.Helper()
		return f.follow(f.checkDevice(fmt.Sprintf(`{"device":{"binary_version":"1.0","device_id":"d","platform":"ios",`+
			`"platform_version":"17","snapshot":null,"build":null},"app_id":"abcd1234","channel_name":"production",`+
			`"is_portals":false,"plugin_version":"6","manifest":%t}`, manifest)).Data.URL)
	}
	if _, got, where := asks(true); string(got) != files[plugin.SignedFile] || !strings.HasSuffix(where.Path, "/live-update-manifest.json") {
		t.Errorf("%s is %s", where, got)
	} else if _, page := f.get(strings.Replace(where.Path, "live-update-manifest.json", "index.html", 1)); string(page) != "signed" {
		t.Errorf("the file beside it is %q", page)
	}
	resp, got, where := asks(false)
	if resp.StatusCode != 200 || !bytes.HasPrefix(got, []byte("PK")) || !strings.HasSuffix(where.Path, ".zip") {
		t.Errorf("%s is %s with %d bytes", where, resp.Status, len(got))
	}
}

func sum256(text string) string {
	sum := digest.SumSHA256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// TestAppflow_OffersNothingThatTheNodeHasLost has a device stay on what it runs.
func TestAppflow_OffersNothingThatTheNodeHasLost(t *testing.T) {
	f := start(t, mapped)
	f.publish("1.0.0")
	f.stop()
	if err := os.RemoveAll(filepath.Join(f.config.Data, "chunks")); err != nil {
		t.Fatal(err)
	}
	f.restart()
	resp, body := f.do(http.MethodPost, appflowCheck, strings.NewReader(wantsFiles))
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !bytes.Contains(body, []byte(`"error":{"message"`)) {
		t.Errorf("the answer is %s\n%s", resp.Status, body)
	}
}
