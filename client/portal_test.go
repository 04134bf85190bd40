package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"brink/protocol"
)

// A network that wants a login answers in the place of the node: with a page, or with a redirect to one. The device says
// so, keeps what it has, asks the next node, and goes on once the network is open.
func TestClient_SeesALoginPage(t *testing.T) {
	for name, isClosed := range map[string]func(r *http.Request) bool{
		"every answer": func(*http.Request) bool { return true },
		"bodies only":  func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/archive") },
	} {
		for how, answer := range map[string]http.HandlerFunc{
			"page": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = io.WriteString(w, "<html>please log in</html>")
			},
			"redirect": func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://login.example/?from="+url.QueryEscape(r.URL.String()), http.StatusFound)
			},
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				node, dir := newFakeNode(t), t.TempDir()
				target, err := url.Parse(node.URL)
				if err != nil {
					t.Fatal(err)
				}
				open, proxy := false, httputil.NewSingleHostReverseProxy(target)
				portal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if !open && isClosed(r) {
						answer(w, r)
						return
					}
					proxy.ServeHTTP(w, r)
				}))
				t.Cleanup(portal.Close)
				node.publish("1.0.0", version("1.0.0"))
				c := device(t, node, dir, func(c *Config) { c.Nodes = []string{portal.URL} })
				_, err = c.Update(context.Background())
				problem, isProblem := errors.AsType[*protocol.Problem](err)
				if how == "page" && (!isProblem || problem.Code != protocol.CodeUnexpected || !strings.Contains(problem.Hint, "login")) {
					t.Errorf("Update = %v, want a problem that hints at a login", err)
				}
				if how == "redirect" && (err == nil || !strings.Contains(err.Error(), "redirect")) {
					t.Errorf("Update = %v, want an error about the redirect", err)
				}
				if _, _, err := c.Installed(); !errors.Is(err, ErrNotInstalled) {
					t.Errorf("Installed = %v, want nothing", err)
				}
				c.config.Nodes = []string{portal.URL, node.URL}
				if r := update(t, c); r.Version != "1.0.0" {
					t.Errorf("with another node: %+v", r)
				}
				node.publish("1.1.0", version("1.1.0"))
				c.config.Nodes = []string{portal.URL}
				if _, err := c.Update(context.Background()); err == nil {
					t.Error("an update came through the closed network")
				}
				open = true
				if r := update(t, c); r.Version != "1.1.0" {
					t.Errorf("once the network is open: %+v", r)
				}
			})
		}
	}
}
