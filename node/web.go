package node

import (
	"bytes"
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/semantics"
	"brink/protocol"
)

// indexFile is what a folder of a web site is served as.
const indexFile = "index.html"

// web serves channels as web sites: /web/{app}/{channel}/{path} is the file at path of the bundle that the channel
// serves, and a host of Config.Sites is a channel all by itself. A browser that has one version of a file gets the next
// as a patch (RFC 9842), where the names tell what belongs together: see hashed.
type web struct {
	node *Node

	mu    sync.Mutex
	sites map[string]*site // by app and channel; only those that were asked for
}

func newWeb(n *Node) *web { return &web{node: n, sites: map[string]*site{}} }

// site is what a browser's patches are made from, under one channel manifest. It is immutable.
type site struct {
	manifest digest.Digest
	release  digest.Digest                // bundle that browsers are given
	patterns map[string]string            // of the files with hashed names in the release served, by path
	before   map[digest.SHA256]dictionary // what browsers may have of the releases before
	patches  []derivation                 // from those to what is served
}

// byPattern returns the files of an index that have hashed names, by the pattern of their names. Those that share a
// pattern are left out: nobody could tell which of them came out of which.
func byPattern(ix *bundle.Index) map[string]*bundle.File {
	found := map[string]*bundle.File{}
	for i := range ix.Files {
		f := &ix.Files[i]
		if pattern, ok := hashed(f.Path); ok && f.Size >= smallest {
			if _, shared := found[pattern]; shared {
				f = nil
			}
			found[pattern] = f
		}
	}
	for pattern, f := range found {
		if f == nil {
			delete(found, pattern)
		}
	}
	return found
}

// site returns what there is to know about a channel as a web site that serves release.
func (w *web) site(m *channel.Manifest, release *channel.Release) *site {
	key := m.App + "/" + m.Channel
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sites[key]
	if s == nil || s.manifest != m.Digest() || s.release != release.Bundle {
		s = w.build(m, release)
		w.sites[key] = s
	}
	return s
}

func (w *web) build(m *channel.Manifest, release *channel.Release) *site {
	s := &site{
		manifest: m.Digest(),
		release:  release.Bundle,
		patterns: map[string]string{},
		before:   map[digest.SHA256]dictionary{},
	}
	b, err := w.node.store.Bundle(release.Bundle)
	if err != nil {
		return s // whoever asks for a file of it is told why
	}
	served := byPattern(b.Index)
	for pattern, f := range served {
		s.patterns[f.Path] = pattern
	}
	left := w.node.config.PatchReleases
	for former := range m.Releases() {
		if former.Bundle == release.Bundle {
			continue
		}
		if left--; left < 0 {
			break
		}
		old, err := w.node.store.Bundle(former.Bundle)
		if err != nil {
			continue // it was evicted, and with it what patches could be made from
		}
		for pattern, f := range byPattern(old.Index) {
			base := dictionary{subject: fileOf(former.Bundle, f), name: f.SHA256}
			s.before[f.SHA256] = base
			if next := served[pattern]; next != nil {
				if d, possible := base.patchFor(fileOf(release.Bundle, next)); possible {
					s.patches = append(s.patches, d)
				}
			}
		}
	}
	return s
}

// patches returns what browsers will ask for when m comes into force, if any have asked for the channel.
func (w *web) patches(m *channel.Manifest) []derivation {
	w.mu.Lock()
	wanted := w.sites[m.App+"/"+m.Channel] != nil
	w.mu.Unlock()
	release := w.given(m).Release
	if !wanted || release == nil {
		return nil
	}
	return w.build(m, release).patches
}

// given returns what a channel gives to browsers: they are devices of the platform web without a name or a version.
func (w *web) given(m *channel.Manifest) channel.Decision {
	return channel.Resolve(m, channel.Device{Platform: channel.Web}, w.node.config.Now())
}

// findWeb returns the resource at a path below /web/.
func (n *Node) findWeb(rest string) (resource, [3]string, bool) {
	var names [3]string
	app, rest, _ := strings.Cut(rest, "/")
	name, rest, deeper := strings.Cut(rest, "/")
	for i, escaped := range []string{app, name, rest} {
		var err error
		if names[i], err = url.PathUnescape(escaped); err != nil {
			return resource{}, names, false
		}
	}
	if names[0] == "" || names[1] == "" {
		return resource{}, names, false
	}
	if !deeper {
		return resource{get: n.toFolder, getRoute: routeWeb}, names, true
	}
	return resource{get: n.page, getRoute: routeWeb}, names, true
}

// findSite returns the resource at a path of a host that is a channel all by itself.
func (n *Node) findSite(host []byte, path string) (resource, [3]string, bool) {
	if len(n.config.Sites) == 0 {
		return resource{}, [3]string{}, false
	}
	if i := bytes.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	where, ours := n.config.Sites[strings.ToLower(string(host))]
	if !ours {
		return resource{}, [3]string{}, false
	}
	name, err := url.PathUnescape(strings.TrimPrefix(path, "/"))
	return resource{get: n.page, getRoute: routeWeb}, [3]string{where.App, where.Channel, name}, err == nil
}

// toFolder sends a browser to the path with a slash at its end, below which relative links lead to the right place.
func (n *Node) toFolder(r *request) error {
	r.Response.Header.Set(fasthttp.HeaderLocation, string(r.URI().PathOriginal())+"/")
	r.Response.Header.Set(fasthttp.HeaderCacheControl, semantics.CacheChecked)
	r.SetStatusCode(fasthttp.StatusPermanentRedirect)
	return nil
}

// page answers GET /web/{app}/{channel}/{path}.
func (n *Node) page(r *request) error {
	m, err := n.inForce(r.names[0], r.names[1])
	if err != nil {
		return err
	}
	decision := n.web.given(m)
	release := decision.Release
	if release == nil {
		return problem(protocol.CodeNotFound, "the channel has nothing for browsers",
			"its rules say: "+string(decision.Reason))
	}
	b, err := n.known(release.Bundle)
	if err != nil {
		return err
	}
	name := r.names[2]
	if name == "" || strings.HasSuffix(name, "/") {
		name += indexFile
	}
	f := b.Index.File(name)
	if f == nil {
		if b.Index.File(name+"/"+indexFile) != nil {
			return n.toFolder(r)
		}
		if n.config.Fallback && path.Ext(name) == "" {
			f = b.Index.File(indexFile) // a page of a single-page app, which only its script knows
		}
	}
	if f == nil {
		return problem(protocol.CodeUnknownFile, "the site has no such file", "")
	}
	what := served{vary: semantics.VaryDictionary, cache: semantics.CacheChecked}
	site := n.web.site(m, release)
	if _, unchanging := hashed(f.Path); unchanging {
		what.cache = semantics.CacheForever
	}
	if match, ok := r.match(site.patterns[f.Path]); ok {
		r.Response.Header.Set("Use-As-Dictionary", `match="`+match+`"`)
	}
	r.dictionaries = func(name digest.SHA256) (dictionary, bool) {
		d, known := site.before[name]
		return d, known
	}
	return n.serveFile(r, what, fileOf(release.Bundle, f))
}

// match returns the URL pattern of a file's later versions on this site (RFC 9842, section 2.1.1).
func (r *request) match(pattern string) (string, bool) {
	if pattern == "" || strings.ContainsAny(pattern, ":+") {
		return "", false // no pattern, or one with characters that mean something in URL patterns
	}
	prefix := "/"
	if rest, ok := strings.CutPrefix(string(r.URI().PathOriginal()), "/web/"); ok {
		app, rest, _ := strings.Cut(rest, "/")
		name, _, _ := strings.Cut(rest, "/")
		prefix = "/web/" + app + "/" + name + "/"
	}
	before, after, _ := strings.Cut(pattern, "*")
	escape := func(s string) string { return (&url.URL{Path: "/" + s}).EscapedPath()[1:] }
	return prefix + escape(before) + "*" + escape(after), true
}
