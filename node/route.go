package node

import (
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"

	"brink/digest"
	"brink/protocol"
)

// route is what a request asks for; it labels metrics and log lines.
type route uint8

const (
	routeUnknown route = iota
	routeLive
	routeReady
	routeApp
	routeTrust
	routeCheck
	routeManifest
	routeMove
	routeOffer
	routeUpload
	routeArchive
	routeIndex
	routeFile
	routeChunk
	routeBatch
	routeWeb
	routeCapgoCheck
	routeCapgoSizes
	routeCapgoStats
	routeCapgoChannel
	routeCapgoFile
	routeAppflowCheck
	routeAppflowSnapshot
	routeAppflowList
	routeIntent
	routeFleet
	routeOptions
	routeCount
)

// routeNames are the values of the label "route".
//
//nolint:gochecknoglobals // a table that is never changed
var routeNames = [routeCount]string{
	routeUnknown:  "unknown",
	routeLive:     "livez",
	routeReady:    "readyz",
	routeApp:      "app",
	routeTrust:    "trust",
	routeCheck:    "check",
	routeManifest: "manifest",
	routeMove:     "move",
	routeOffer:    "offer",
	routeUpload:   "upload",
	routeArchive:  "archive",
	routeIndex:    "index",
	routeFile:     "file",
	routeChunk:    "chunk",
	routeBatch:    "batch",
	routeWeb:      "web",

	routeCapgoCheck:   "capgo_check",
	routeCapgoSizes:   "capgo_sizes",
	routeCapgoStats:   "capgo_stats",
	routeCapgoChannel: "capgo_channel",
	routeCapgoFile:    "capgo_file",

	routeAppflowCheck:    "appflow_check",
	routeAppflowSnapshot: "appflow_snapshot",
	routeAppflowList:     "appflow_list",

	routeIntent:  "intent",
	routeFleet:   "fleet",
	routeOptions: "options",
}

// request is one request on its way: what it asks for, and the context that it came in.
type request struct {
	*fasthttp.RequestCtx
	route  route
	names  [3]string // what the path names, in its order: app and channel, digest and file, …
	bodies *budget   // what bodies are read on
	loans  []*loan   // that end with the request
}

// handler answers a request. An error it returns is answered as a problem; then it has written nothing.
type handler func(*request) error

// resource is a path and what can be done with it.
type resource struct {
	get, put, post, remove handler
	getRoute               route
	putRoute               route
	postRoute              route
	removeRoute            route
}

// find returns the resource that a path names, and the names in it. Path segments are unescaped one by one, so that an
// escaped slash does not end a name.
func (n *Node) find(path string) (resource, [3]string, bool) {
	switch path {
	case "/livez":
		return resource{get: n.live, getRoute: routeLive}, [3]string{}, true
	case "/readyz":
		return resource{get: n.ready, getRoute: routeReady}, [3]string{}, true
	case "/v1/chunks":
		return resource{post: n.batch, postRoute: routeBatch}, [3]string{}, true
	}
	if rest, ok := strings.CutPrefix(path, "/web/"); ok {
		return n.findWeb(rest)
	}
	if rest, ok := strings.CutPrefix(path, appflowRoot+"/"); ok {
		return n.findAppflow(rest)
	}
	rest, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return n.findCapgo(path)
	}
	if strings.HasPrefix(rest, "fleet/") {
		return n.findFleet(path)
	}
	kind, rest, _ := strings.Cut(rest, "/")
	name, rest, deeper := strings.Cut(rest, "/")
	name, err := url.PathUnescape(name)
	if err != nil || name == "" {
		return resource{}, [3]string{}, false
	}
	names := [3]string{name}
	if !deeper {
		switch kind {
		case "apps":
			return resource{get: n.app, getRoute: routeApp}, names, true
		case "chunks":
			return resource{get: n.chunk, getRoute: routeChunk}, names, true
		case "uploads":
			return resource{put: n.upload, putRoute: routeUpload}, names, true
		}
		return resource{}, names, false
	}
	what, rest, deeper := strings.Cut(rest, "/")
	if deeper {
		if names[1], err = url.PathUnescape(rest); err != nil || names[1] == "" {
			return resource{}, names, false
		}
	}
	switch kind + "/" + what {
	case "apps/check":
		return resource{post: n.check, postRoute: routeCheck}, names, !deeper
	case "apps/bundles":
		return resource{post: n.offer, postRoute: routeOffer}, names, !deeper
	case "apps/channels":
		return resource{get: n.manifest, getRoute: routeManifest, put: n.move, putRoute: routeMove}, names, deeper
	case "orgs/trust":
		if deeper {
			return resource{get: n.trustVersion, getRoute: routeTrust}, names, true
		}
		return resource{get: n.trust, getRoute: routeTrust, put: n.putTrust, putRoute: routeTrust}, names, !deeper
	case "bundles/archive":
		return resource{get: n.archive, getRoute: routeArchive}, names, !deeper
	case "bundles/index":
		return resource{get: n.index, getRoute: routeIndex}, names, !deeper
	case "bundles/intent":
		return resource{get: n.intent, getRoute: routeIntent}, names, !deeper
	case "bundles/files":
		return resource{get: n.file, getRoute: routeFile}, names, deeper
	}
	return resource{}, names, false
}

// dispatch finds the handler of a request and calls it.
func (n *Node) dispatch(r *request) error {
	path := string(r.URI().PathOriginal())
	res, names, known := n.findSite(r.Host(), path)
	if !known {
		res, names, known = n.find(path)
	}
	if !known {
		return problem(protocol.CodeNotFound, "there is nothing at this path",
			"see docs/protocol.md for the paths of a node")
	}
	r.names = names
	r.Response.Header.Set(fasthttp.HeaderAccessControlAllowOrigin, "*")
	r.Response.Header.Set(fasthttp.HeaderAccessControlExposeHeaders, exposedHeaders)
	var do handler
	switch {
	case r.IsGet() || r.IsHead():
		do, r.route = res.get, res.getRoute
	case r.IsPut():
		do, r.route = res.put, res.putRoute
	case r.IsPost():
		do, r.route = res.post, res.postRoute
	case r.IsDelete():
		do, r.route = res.remove, res.removeRoute
	case r.IsOptions():
		return n.options(r, res)
	}
	if do == nil {
		r.Response.Header.Set(fasthttp.HeaderAllow, res.allow())
		return problem(protocol.CodeMethodNotAllowed, "this path does not take "+string(r.Method()),
			"it takes "+res.allow())
	}
	return do(r)
}

func (res resource) allow() string {
	var methods []string
	if res.get != nil {
		methods = append(methods, "GET", "HEAD")
	}
	if res.put != nil {
		methods = append(methods, "PUT")
	}
	if res.post != nil {
		methods = append(methods, "POST")
	}
	if res.remove != nil {
		methods = append(methods, "DELETE")
	}
	return strings.Join(append(methods, "OPTIONS"), ", ")
}

// exposedHeaders are what a script of another origin may read.
const exposedHeaders = "ETag, Content-Encoding, Content-Range, Accept-Ranges, Retry-After"

// options answers a CORS preflight (https://fetch.spec.whatwg.org/#cors-preflight-fetch). Everything a node serves to
// devices is public, and what it takes is signed, so any origin may ask.
func (n *Node) options(r *request, res resource) error {
	r.route = routeOptions
	h := &r.Response.Header
	h.Set(fasthttp.HeaderAllow, res.allow())
	h.Set(fasthttp.HeaderAccessControlAllowMethods, res.allow())
	h.Set(
		fasthttp.HeaderAccessControlAllowHeaders,
		"Content-Type, If-Match, If-None-Match, If-Range, Range, Available-Dictionary, Dictionary-ID",
	)
	h.Set(fasthttp.HeaderAccessControlMaxAge, "86400")
	r.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

// digestName reads the first name of the path as a digest.
func (r *request) digestName() (digest.Digest, error) {
	d, err := digest.Parse(r.names[0])
	if err != nil {
		return d, problem(protocol.CodeBadRequest, err.Error(), "")
	}
	return d, nil
}
