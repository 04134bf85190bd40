package client

import (
	"net/http"
	"sync/atomic"
	"testing"

	"brink/protocol"
)

// TestClient_FollowsNoRedirectElsewhere: what a device tells of itself is for the node that it was given.
func TestClient_FollowsNoRedirectElsewhere(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		node, to string
		good     bool
	}{
		"another host":          {"http://one", "http://two", false},
		"another port":          {"http://one", "http://one:81", false},
		"without TLS":           {"https://one", "http://one", false},
		"another host with TLS": {"http://one", "https://two", false},
		"to TLS":                {"http://one", "https://one", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := newFakeNode(t)
			node.publish("1.0.0", version("1.0.0"))
			var elsewhere atomic.Int64
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Scheme+"://"+r.URL.Host == test.node {
					http.Redirect(w, r, test.to+r.URL.Path, http.StatusTemporaryRedirect)
					return
				}
				elsewhere.Add(1)
				node.serve(w, r)
			})
			c := device(t, node, t.TempDir(), func(c *Config) {
				c.Nodes = []string{test.node}
				c.HTTP = &http.Client{Transport: nodes{"one": handler, "two": handler, "one:81": handler}}
			})
			_, err := c.Update(t.Context())
			if n := elsewhere.Load(); (err == nil) != test.good || (n > 0) != test.good {
				t.Errorf("%d requests went to %s: %v", n, test.to, err)
			}
		})
	}
}

func TestClient_FollowsNoCircleOfRedirects(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	c := device(t, newFakeNode(t), t.TempDir(), func(c *Config) {
		c.Nodes = []string{"http://one"}
		c.HTTP = &http.Client{Transport: nodes{"one": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		})}}
	})
	if _, err := c.Update(t.Context()); err == nil || asked.Load() != 1+protocol.MaxRedirects {
		t.Errorf("%d requests, %v", asked.Load(), err)
	}
}
