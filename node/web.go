package node

import (
	"bytes"
	"path"
	"sort"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"

	"brink/bundle"
	"brink/channel"
	"brink/node/semantics"
	"brink/node/serve"
	"brink/protocol"
)

// indexFile is what a folder of a web site is served as.
const indexFile = "index.html"

// web serves channels as web sites: /web/{app}/{channel}/{path} is the file at path of the bundle that the channel
// serves, and a host of Config.Sites is a channel all by itself. A browser that has one version of a file gets the next
// as a patch (RFC 9842), where the names tell what belongs together: see hashed.
type web struct {
	node  *Node
	asked sync.Map // channels that browsers have asked for, as keys: app and channel
}

func newWeb(n *Node) *web { return &web{node: n} }

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

// patches returns what browsers will ask for when m comes into force, if any have asked for the channel.
func (w *web) patches(m *channel.Manifest) (list []derivation) {
	release := w.given(m).Release
	if _, asked := w.asked.Load(siteOf(m)); !asked || release == nil {
		return nil
	}
	b, err := w.node.store.Bundle(release.Bundle)
	if err != nil {
		return nil // whoever asks for a file of it is told why
	}
	served := byPattern(b.Index)
	for old := range w.node.before(m, release.Bundle) {
		for pattern, f := range byPattern(old.Index) {
			next := served[pattern]
			if next == nil {
				continue
			}
			base := dictionary{subject: fileOf(old.ID, f), name: f.SHA256}
			if d, possible := base.patchFor(fileOf(release.Bundle, next)); possible {
				list = append(list, d)
			}
		}
	}
	return list
}

func siteOf(m *channel.Manifest) Site { return Site{App: m.App, Channel: m.Channel} }

// given returns what a channel gives to browsers: they are devices of the platform web without a name or a version.
func (w *web) given(m *channel.Manifest) channel.Decision {
	return channel.ResolveLast(m, channel.Device{Platform: channel.Web}, w.node.config.Now())
}

// toFolder sends a browser to the path with a slash at its end, below which relative links lead to the right place.
func (n *Node) toFolder(r *serve.Request) error {
	r.Response.Header.Set(fasthttp.HeaderLocation, string(r.URI().PathOriginal())+"/")
	r.Response.Header.Set(fasthttp.HeaderCacheControl, semantics.CacheChecked)
	r.SetStatusCode(fasthttp.StatusPermanentRedirect)
	return nil
}

// page answers GET /web/{app}/{channel}/{path}.
func (n *Node) page(r *serve.Request) error {
	m, err := n.inForce(r.Names[0], r.Names[1])
	if err != nil {
		return err
	}
	decision := n.web.given(m)
	release := decision.Release
	if release == nil {
		return serve.Problem(protocol.CodeNotFound, "the channel has nothing for browsers",
			"its rules say: "+string(decision.Reason))
	}
	b, err := n.known(release.Bundle)
	if err != nil {
		return err
	}
	name := r.Names[2]
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
		return serve.Problem(protocol.CodeUnknownFile, "the site has no such file", "")
	}
	what := serve.Headers{Vary: semantics.VaryDictionary, Cache: semantics.CacheChecked}
	if _, _, unchanging := findHash(f.Path); unchanging {
		what.Cache = semantics.CacheForever
		offer(r, b.Index, f, false)
	}
	n.web.asked.LoadOrStore(siteOf(m), nil)
	return n.serveFile(r, what, fileOf(release.Bundle, f))
}

// offer names the paths for which a browser may keep the answer, the file f, as a dictionary (RFC 9842, section 2.1.1):
// those that differ from its own in the bundle, if it was asked for by that, or in the hash in the name.
func offer(r *serve.Request, ix *bundle.Index, f *bundle.File, ofBundle bool) {
	if f.Size < smallest {
		return
	}
	match, path := append(make([]byte, 0, 256), `match="`...), r.URI().PathOriginal()
	if ofBundle {
		before, rest, _ := bytes.Cut(path, []byte("/bundles/"))
		match = append(append(match, before...), "/bundles/*"...)
		path = rest[max(bytes.IndexByte(rest, '/'), 0):]
	}
	if special(path) {
		return
	}
	if from, to, ok := findHash(f.Path); ok {
		before, found := bytes.CutSuffix(path, []byte(f.Path[from:]))
		if !found || shared(ix, f, f.Path[:from]) {
			return
		}
		match = append(append(append(match, before...), '*'), f.Path[to:]...)
	} else {
		match = append(match, path...)
	}
	r.Response.Header.SetBytesV("Use-As-Dictionary", append(match, '"'))
}

// special reports whether a path has a character that means something in URL patterns, or can not stand in a string of
// a field as it is.
func special(path []byte) bool {
	for _, c := range path {
		switch c {
		case '"', '\\', '*', '+', ':', '?', '(', ')', '{', '}':
			return true
		}
		if c <= ' ' || c > '~' {
			return true
		}
	}
	return false
}

// shared reports whether another file has a name of the same pattern, of which prefix is the part before the hash:
// nobody could tell which of the two a later one came out of.
func shared(ix *bundle.Index, f *bundle.File, prefix string) bool {
	first := sort.Search(len(ix.Files), func(i int) bool { return ix.Files[i].Path >= prefix })
	for i := first; i < len(ix.Files) && strings.HasPrefix(ix.Files[i].Path, prefix); i++ {
		other := &ix.Files[i]
		if other != f && other.Size >= smallest && sameButHash(other.Path, f.Path) {
			return true
		}
	}
	return false
}
