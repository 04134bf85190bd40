package publish

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// seen is a transport that sends each request on, and tells where the last one went.
type seen struct{ to, last string }

func (s *seen) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	s.last = r.URL.Scheme + "://" + r.URL.Host
	if s.last != s.to {
		http.Redirect(w, r, s.to+r.URL.Path, http.StatusTemporaryRedirect)
	}
	return w.Result(), nil
}

// TestSession_FollowsNoRedirectElsewhere: what is published is for the node that was named.
func TestSession_FollowsNoRedirectElsewhere(t *testing.T) {
	t.Parallel()
	trust := newThief(t, newKey(t), 1).trust // anybody's
	for name, test := range map[string]struct {
		node, to string
		good     bool
	}{
		"another host": {"http://one", "http://two", false},
		"another port": {"http://one", "http://one:81", false},
		"without TLS":  {"https://one", "http://one", false},
		"to TLS":       {"http://one", "https://one", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transport := &seen{to: test.to}
			p, err := New(Config{Node: test.node, Trust: trust, HTTP: &http.Client{Transport: transport}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = (&session{Publisher: p, result: &Result{}}).fetch(t.Context(), "/v1/apps/a", 1)
			if (err == nil) != test.good || !test.good && transport.last != test.node {
				t.Errorf("a request went to %s: %v", transport.last, err)
			}
		})
	}
}
