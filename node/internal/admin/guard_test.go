package admin

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"brink/bench/cost"
	"brink/protocol"
)

func TestAdmin_WarnsOfAddressesThatOthersReach(t *testing.T) {
	for address, warns := range map[string]bool{
		"127.0.0.1:1": false, "[::1]:1": false, "10.1.2.3:1": false, "192.168.0.1:1": false, "[fd00::1]:1": false,
		"0.0.0.0:1": true, "[::]:1": true, "192.0.2.1:1": true, "[2001:db8::1]:1": true,
	} {
		tcp, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		var logs bytes.Buffer
		Warn(slog.New(slog.NewTextHandler(&logs, nil)), tcp)
		if strings.Contains(logs.String(), "WARN") != warns {
			t.Errorf("%s: the log says %q", address, logs.String())
		}
	}
}

func FuzzGuard(f *testing.F) {
	f.Add("POST", "rebind.example", "https://evil.example", "cross-site", "text/plain")
	f.Add("GET", "[::1%25lo]:80", "null", "", "")
	g := &guard{}
	f.Fuzz(func(t *testing.T, method, host, origin, site, kind string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Method, r.Host = method, host
		r.Header.Set("Origin", origin)
		r.Header.Set("Sec-Fetch-Site", site)
		r.Header.Set("Content-Type", kind)
		var refused *protocol.Problem
		cost.Check(t, len(method)+len(host)+len(origin)+len(site)+len(kind), func() { refused = g.check(r) })
		if refused != nil {
			return
		}
		if strings.Contains(host, "evil") || site == "cross-site" && method != "GET" && method != "HEAD" {
			t.Errorf("%s of %q from %q %q is let through", method, host, origin, site)
		}
	})
}
