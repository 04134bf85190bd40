package node

import (
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"brink/node/internal/guest/capgo"
	"brink/protocol"
)

// The allocations of a request for what is in RAM: the request, its path, the bundle, the body, and a reader for what
// the kernel sends without copying; for an encoding its name in the store and its object. A new one here costs every
// request of every device: see that it is worth it.
func TestNode_AllocatesLittleForWhatIsHot(t *testing.T) {
	f := start(t)
	id := f.publish("1.0.0").Bundle
	f.settle()
	for _, test := range []struct {
		name, path, accept string
		most               float64
	}{
		{"small file", "/v1/bundles/" + id.String() + "/files/index.html", "", 5},
		{"file sent without copying", "/v1/bundles/" + id.String() + "/files/img/logo.png", "", 6},
		{"archive", protocol.ArchivePath(id), "", 6},
		{"archive as zstd", protocol.ArchivePath(id), "zstd", 12},
	} {
		t.Run(test.name, func(t *testing.T) {
			var ctx fasthttp.RequestCtx
			var request fasthttp.Request
			request.SetRequestURI("http://node" + test.path)
			if test.accept != "" {
				request.Header.Set("Accept-Encoding", test.accept)
			}
			ctx.Init(&request, nil, nil)
			run := func() {
				ctx.Response.Reset()
				f.handle(&ctx)
			}
			run()
			eventually(t, "it is in RAM", func() bool {
				before := f.hot.Metrics().Hits()
				run()
				return f.hot.Metrics().Hits() > before
			})
			if got := testing.AllocsPerRun(200, run); got > test.most {
				t.Errorf("%.0f allocations, want at most %.0f", got, test.most)
			}
			if got := ctx.Response.StatusCode(); got != 200 {
				t.Errorf("status %d", got)
			}
			if got := string(ctx.Response.Header.ContentEncoding()); !strings.EqualFold(got, test.accept) {
				t.Errorf("encoding %q", got)
			}
		})
	}
}

// TestNode_AllocatesLittleForACheck: a check is what devices do most. What is left is the request and its path, the
// text of the body, the reader of the body, the names, and what the answer names.
func TestNode_AllocatesLittleForACheck(t *testing.T) {
	f := start(t)
	f.publish("1.0.0")
	f.settle()
	capgoPath := capgo.DefaultRoot + "/updates"
	capgoBody := `{"app_id":"` + testApp + `","device_id":"00009a6b-eefe-490a-9c60-8e965132ae51","platform":"android",` +
		`"version_os":"15","plugin_version":"8.51.23","version_build":"0.2.1","version_code":"1","custom_id":"",` +
		`"is_prod":true,"is_emulator":false,"defaultChannel":"production","version_name":"`
	for _, test := range []struct {
		name, path, body string
		most             float64
	}{
		{"nothing new", protocol.CheckPath(testApp), `{"channel":"production","device":{"id":"x","version":"1.0.0"}}`, 7},
		{"an update", protocol.CheckPath(testApp), `{"channel":"production","device":{"id":"x","version":"0.9.0"}}`, 11},
		{"Capgo, nothing new", capgoPath, capgoBody + `1.0.0"}`, 18},
		{"Capgo, an update", capgoPath, capgoBody + `0.9.0"}`, 17},
	} {
		t.Run(test.name, func(t *testing.T) {
			var ctx fasthttp.RequestCtx
			var request fasthttp.Request
			request.SetRequestURI("http://node" + test.path)
			request.Header.SetMethod(fasthttp.MethodPost)
			request.SetBodyString(test.body)
			ctx.Init(&request, nil, nil)
			run := func() {
				ctx.Response.Reset()
				f.handle(&ctx)
			}
			run()
			if got := testing.AllocsPerRun(200, run); got > test.most {
				t.Errorf("%.0f allocations, want at most %.0f", got, test.most)
			}
			if got := ctx.Response.StatusCode(); got != 200 {
				t.Errorf("status %d: %s", got, ctx.Response.Body())
			}
		})
	}
}
