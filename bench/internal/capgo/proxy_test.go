package capgo

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCountingProxy_CountsUpdatesAndNotStatistics(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.WriteString(w, r.Host+strings.Repeat("x", 100-len(r.Host))); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	p, err := openProxy()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}()
	at := p.forwardTo(server.URL)
	for _, path := range []string{"/capgo/stats", "/capgo/updates", "/capgo/files/abc/js/main.js.br", "/capgo/files/abc/a"} {
		raw, err := fetch(t.Context(), http.MethodGet, at+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host := strings.TrimPrefix(p.url, "http://"); !strings.HasPrefix(string(raw), host) {
			t.Errorf("the server was asked as %.30s, not as %s", raw, host)
		}
	}
	want := traffic{requests: 3, files: 2, bytes: 300, answer: 100}
	if got := p.total(); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	p.reset()
	if got := p.total(); got != (traffic{}) {
		t.Errorf("after it was reset, %+v is counted", got)
	}
}
