package protocol

import (
	"fmt"
	"net/http"
)

// MaxRedirects bounds how often a node may send a client on.
const MaxRedirects = 3

// CheckRedirect follows a node's redirects on the node itself only, and never from https to http: requests carry the
// IDs of devices and what publishers send. It is for [http.Client.CheckRedirect].
func CheckRedirect(req *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL
	switch {
	case len(via) > MaxRedirects:
		return fmt.Errorf("more than %d redirects", MaxRedirects)
	case from.Scheme == "https" && req.URL.Scheme != "https":
		return fmt.Errorf("a redirect from https to %s is not followed", req.URL.Scheme)
	case req.URL.Host != from.Host && (req.URL.Scheme == from.Scheme || req.URL.Hostname() != from.Hostname()):
		return fmt.Errorf("a redirect to another host is not followed: if %s is meant, give it as the node",
			req.URL.Hostname())
	}
	return nil
}
