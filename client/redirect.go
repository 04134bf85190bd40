package client

import (
	"fmt"
	"net/http"
)

// maxRedirects bounds how often a node may send a device on.
const maxRedirects = 3

// stay follows a node's redirects on the node itself only, and never from https to http: requests carry the IDs of the
// device and tell what it runs. It is for [http.Client.CheckRedirect].
func stay(req *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case from.Scheme == "https" && req.URL.Scheme != "https":
		return fmt.Errorf("a redirect from https to %s is not followed", req.URL.Scheme)
	case req.URL.Host != from.Host && (req.URL.Scheme == from.Scheme || req.URL.Hostname() != from.Hostname()):
		return fmt.Errorf("a redirect to another host is not followed: if %s is meant, give it as the node",
			req.URL.Hostname())
	}
	return nil
}
