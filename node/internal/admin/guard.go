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

// guard stands before the handlers. A browser that reaches the listener sends whatever a web page wants it to: the
// guard refuses what only a browser would send on behalf of somebody else.
type guard struct {
	next  http.Handler
	hosts []string // in lower case, by which the listener may be called, besides its address and loopback
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
		_ = writeJSON(w, p.Status, p) // whoever asked may be gone
		return
	}
	g.next.ServeHTTP(w, r)
}

// check returns why a request is refused, nil if it is not.
func (g *guard) check(r *http.Request) *protocol.Problem {
	refuse := func(message, hint string) *protocol.Problem {
		return &protocol.Problem{
			Status: http.StatusForbidden, Code: protocol.CodeForeign, Message: message, Hint: hint,
		}
	}
	// A page of another site can have its own name resolved to this address (DNS rebinding), and is then of the same
	// origin for the browser. The name stays the wrong one.
	if !g.knows(r) {
		return refuse(fmt.Sprintf("this listener is not called %q", r.Host),
			"ask by its address or localhost, or start the node with --admin-host")
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	// What a browser itself says of the origin (https://www.w3.org/TR/fetch-metadata/). Following a link may come from
	// anywhere.
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
	// A browser asks before it sends one of these for a page of another origin
	// (https://fetch.spec.whatwg.org/#cors-preflight-fetch), and is not told that it may.
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	simple := r.Header.Get(protocol.FieldAdmin) == "" && !strings.EqualFold(strings.TrimSpace(kind), "application/json")
	if !reads && simple {
		return refuse("this changes something, and a form of a web page could send it",
			"send "+protocol.FieldAdmin+": 1, or JSON")
	}
	return nil
}

// knows reports whether the request calls the listener by a name or address of its own.
func (g *guard) knows(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "" || host == "localhost" || slices.Contains(g.hosts, host) { // no browser leaves it out
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

// Warn tells whoever starts the node when strangers may reach the operators' listener.
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
		"hint", "whoever reaches it may drain the fleet, replace its key, and read profiles: "+
			"bind it to 127.0.0.1 or to a private address, or see to it that a firewall keeps strangers out")
}
