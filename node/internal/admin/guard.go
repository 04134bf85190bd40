package admin

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"brink/protocol"
)

// guard refuses requests that a browser may send on behalf of a foreign web page. A page that an operator has opened
// could otherwise use the listener through the operator's browser.
type guard struct {
	next  http.Handler
	hosts []string // names of the listener in lower case, besides its local address and loopback
}

func newGuard(config Config, next http.Handler) http.Handler {
	hosts := slices.Clone(config.Hosts)
	if host, _, err := net.SplitHostPort(config.Address); err == nil && host != "" {
		hosts = append(hosts, strings.ToLower(host))
	}
	return &guard{next: next, hosts: hosts}
}

// ServeHTTP implements [http.Handler].
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p := g.check(r); p != nil {
		_ = writeJSON(w, p.Status, p) // an error: the client is gone
		return
	}
	g.next.ServeHTTP(w, r)
}

// check returns the problem of a request that is refused, or nil.
func (g *guard) check(r *http.Request) *protocol.Problem {
	refuse := func(message, hint string) *protocol.Problem {
		return &protocol.Problem{
			Status: http.StatusForbidden, Code: protocol.CodeForeign, Message: message, Hint: hint,
		}
	}
	// A foreign page can have its own host name resolve to this address (DNS rebinding), and is then of the same origin
	// for the browser. Host still has the foreign name.
	if !g.isHost(r) {
		return refuse(fmt.Sprintf("this listener is not called %q", r.Host),
			"use its address or localhost, or start the node with --admin-host")
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	// Browsers report the relation to the origin (https://www.w3.org/TR/fetch-metadata/). Links from other sites are
	// allowed.
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		if !reads || r.Header.Get("Sec-Fetch-Mode") != "navigate" {
			return refuse("the request comes from a page of another site", "")
		}
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return refuse("the request comes from a page of another origin", "")
		}
	}
	// For a page of another origin, a browser sends these only after a preflight
	// (https://fetch.spec.whatwg.org/#cors-preflight-fetch), which this listener does not allow.
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	simple := r.Header.Get(protocol.FieldAdmin) == "" && !strings.EqualFold(strings.TrimSpace(kind), "application/json")
	if !reads && simple {
		return refuse("the request changes something, and a form of a web page could have sent it",
			"send "+protocol.FieldAdmin+": 1, or JSON")
	}
	return nil
}

// isHost reports whether the Host of the request is a name or address of the listener.
func (g *guard) isHost(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "" || host == "localhost" || slices.Contains(g.hosts, host) { // browsers never omit it
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if ip.Unmap().IsLoopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap().WithZone("") == ip.Unmap().WithZone("")
}

// Warn logs a warning if strangers may reach the operators' listener.
func Warn(log *slog.Logger, address net.Addr) {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return
	}
	ip := tcp.AddrPort().Addr().Unmap()
	if ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() {
		return
	}
	log.Warn("operators' listener is on an address that others may reach", "address", address.String(),
		"hint", "anybody who reaches it can drain the fleet, replace its key, and read profiles: "+
			"bind it to 127.0.0.1 or a private address, or protect it with a firewall")
}
