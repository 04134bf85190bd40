package node

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"testing"

	"brink/protocol"
)

func TestAdmin_WebPagesHaveNoEffect(t *testing.T) {
	f := start(t, func(c *Config) { c.AdminHosts = []string{"metrics.internal"} })
	ask := func(method, path, host string, fields ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+f.AdminAddr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			req.Host = host
		}
		for i := 0; i < len(fields); i += 2 {
			req.Header.Set(fields[i], fields[i+1])
		}
		resp, err := f.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body bytes.Buffer
		_, _ = body.ReadFrom(resp.Body)
		return resp.StatusCode, protocol.ReadProblem(resp.StatusCode, body.Bytes()).Code
	}
	own := "http://" + f.AdminAddr()
	for _, row := range []struct {
		method, path, host string
		fields             []string
		foreign            bool
	}{
		{"POST", "/fleet/drain", "", nil, true}, // as a form sends it
		{"POST", "/fleet/drain", "", []string{"Content-Type", "text/plain"}, true},
		{"POST", "/fleet/drain", "", []string{"Brink-Admin", "1", "Origin", "https://evil.example"}, true},
		{"POST", "/fleet/drain", "", []string{"Brink-Admin", "1", "Origin", "null"}, true},
		{"POST", "/fleet/drain", "", []string{"Brink-Admin", "1", "Sec-Fetch-Site", "cross-site"}, true},
		{"POST", "/fleet/drain", "", []string{"Brink-Admin", "1", "Sec-Fetch-Site", "same-site"}, true},
		{"POST", "/fleet/drain", "rebind.example", []string{"Brink-Admin", "1"}, true},
		{"POST", "/fleet/rotate", "rebind.example", nil, true},
		{"POST", "/debug/pprof/symbol", "", nil, true},
		{"DELETE", "/anything", "", nil, true},
		{"GET", "/metrics", "rebind.example", nil, true},
		{"GET", "/metrics", "rebind.example:9090", nil, true},
		{"GET", "/debug/pprof/", "localhost.evil.example", nil, true},
		{"GET", "/debug/pprof/profile", "", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, true},
		{"GET", "/metrics", "192.0.2.1", nil, true},

		{"GET", "/metrics", "", nil, false},
		{"GET", "/metrics", "LOCALHOST:9090", nil, false},
		{"GET", "/metrics", "[::1]:9090", nil, false},
		{"GET", "/metrics", "metrics.internal:9090", nil, false},
		{"GET", "/livez", "", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, false},
		{"GET", "/livez", "", []string{"Sec-Fetch-Site", "same-origin", "Origin", own}, false},
	} {
		status, code := ask(row.method, row.path, row.host, row.fields...)
		if foreign := status == http.StatusForbidden && code == protocol.CodeForeign; foreign != row.foreign {
			t.Errorf("%s %s of %q with %q: %d %s", row.method, row.path, row.host, row.fields, status, code)
		}
	}
	if !f.health.check().Ready {
		t.Error("the node is draining")
	}
	for _, fields := range [][]string{
		{"Brink-Admin", "1"}, {"Content-Type", "application/json; charset=utf-8", "Origin", own},
	} {
		if status, code := ask("POST", "/fleet/drain", "", fields...); status != 200 || f.health.check().Ready {
			t.Errorf("an operator with %q cannot drain the node: %d %s", fields, status, code)
		}
		f.setDraining(false)
	}
}

// TestAdmin_TellsNoArguments: a key may have been given to the program as an argument.
func TestAdmin_TellsNoArguments(t *testing.T) {
	f := start(t)
	resp, err := f.http.Get("http://" + f.AdminAddr() + "/debug/pprof/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != os.Args[0] || len(os.Args) < 2 {
		t.Errorf("the command line is told as %q, %v", body, err)
	}
}
