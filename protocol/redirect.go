package protocol

import (
	"fmt"
	"net/http"
)

// MaxRedirects bounds the redirects of one request.
const MaxRedirects = 3

// CheckRedirect is for [http.Client.CheckRedirect]. It allows redirects only to the same host, and not from https to
// http: requests contain the IDs of devices and what publishers upload.
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
