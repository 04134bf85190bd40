package node

import (
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

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
		{"archive", protocol.ArchivePath(id), "", 7},
		{"archive as zstd", protocol.ArchivePath(id), "zstd", 13},
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
			f.hot.cache.Wait()
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
