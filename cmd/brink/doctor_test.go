package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// visit has a doctor see a server, with a clock that is off, and returns the steps by their names.
func visit(t *testing.T, url string, client *http.Client, off time.Duration) map[string]step {
	t.Helper()
	d := &doctor{
		node: url, app: "com.acme.shop", channel: "production", ionic: "abcd1234", capgo: "/capgo", http: client,
		now: func() time.Time { return time.Now().Add(off) },
	}
	d.run(t.Context())
	steps := map[string]step{}
	for _, s := range d.steps {
		steps[s.Step] = s
	}
	return steps
}

func wantFailed(t *testing.T, s step, detail, hint string) {
	t.Helper()
	if s.Result != "failed" || !strings.Contains(s.Detail, detail) || !strings.Contains(s.Hint, hint) {
		t.Errorf("step %+v, want it failed with %q and the hint %q", s, detail, hint)
	}
}

func TestDoctor_TellsWhatIsWrongWithTLS(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0) // it would tell of the handshakes that fail
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	strange := &http.Client{Transport: &http.Transport{}}
	defer strange.CloseIdleConnections()

	wantFailed(t, visit(t, secure.URL, strange, 0)["reach"], "certificate", "public authorities")
	wantFailed(t, visit(t, strings.Replace(plain.URL, "http:", "https:", 1), strange, 0)["reach"], "", "does not use TLS")
	wantFailed(t, visit(t, "https://node.invalid", strange, 0)["reach"], "", "DNS")
	other := secure.Client()
	other.Transport.(*http.Transport).TLSClientConfig.ServerName = "other.example"
	wantFailed(t, visit(t, secure.URL, other, 0)["reach"], "other.example", "for another name")
}

func TestDoctor_TellsWhatStandsBeforeTheNode(t *testing.T) {
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/readyz":
			_, _ = w.Write([]byte(`{"ready":true}`))
		case strings.HasPrefix(r.URL.Path, "/appflow/"):
			w.Header().Set("Access-Control-Allow-Origin", "https://acme.com")
			_, _ = w.Write([]byte(`{"data":{"available":true}}`))
		default:
			_, _ = w.Write([]byte("<html>log in first</html>"))
		}
	}))
	defer front.Close()
	steps := visit(t, front.URL, front.Client(), time.Hour)
	wantFailed(t, steps["clock"], "apart", "NTP")
	wantFailed(t, steps["check"], "does not come from a node", "address")
	wantFailed(t, steps["capgo"], "does not come from a node", "address")
	wantFailed(t, steps["appflow"], "https://acme.com", "WebViews need *")
	if steps["archive"].Result != "skipped" || steps["reach"].Result != "ok" {
		t.Errorf("steps are %+v", steps)
	}
}
