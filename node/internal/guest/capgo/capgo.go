// Package capgo is the guest for Capgo's plugin. Package plugin implements its protocol; this package connects it to
// the node.
package capgo

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/internal/guest"
	"brink/node/internal/guest/capgo/plugin"
	"brink/node/internal/represent"
	"brink/node/internal/semantics"
	"brink/node/internal/serve"
	"brink/node/internal/stats"
	"brink/node/tally"
	"brink/protocol"
	format "brink/protocol/capgo"
	"brink/store"
)

// DefaultRoot is the default path below which requests of the plugin are answered.
const DefaultRoot = "/capgo"

// BuiltIn is the version that the plugin reports when a device runs the built-in.
const BuiltIn = "builtin"

// Guest answers the plugin.
type Guest struct {
	guest.Edge

	root   string // without a slash at its end
	server *plugin.Server
}

// New returns the guest. The root is the path below which it answers, see [CheckRoot].
func New(edge guest.Edge, root string) (*Guest, error) {
	g := &Guest{Edge: edge, root: strings.TrimSuffix(root, "/")}
	var err error
	g.server, err = plugin.New(plugin.Config{
		Edge:    g,
		Choices: edge.Choices,
		Checked: func(c plugin.Check) { edge.Check(c.App, c.Version, stats.OutcomeOf(c.Kind), c.Device) },
		Count: func(e plugin.Event) {
			edge.Event(tally.Event{
				App: e.App, Version: e.Version, OldVersion: e.OldVersion, Action: e.Action, Device: e.Device,
			})
		},
		Now: edge.Now,
	})
	return g, err
}

// IsVersion implements [guest.Guest].
func (g *Guest) IsVersion(version string) bool { return version == BuiltIn }

// CheckRoot returns an error if a path cannot be the root of the guest, because it is malformed or below one in taken.
func CheckRoot(path string, taken ...string) error {
	if path == "/" {
		return nil
	}
	for _, root := range taken {
		if strings.HasPrefix(path+"/", root+"/") {
			return fmt.Errorf("path %q for Capgo's plugin is already in use", path)
		}
	}
	if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || strings.ContainsAny(path, "%?#\\") ||
		strings.Contains(path, "//") {
		return fmt.Errorf("path %q for Capgo's plugin: want one such as %s, or /", path, DefaultRoot)
	}
	return nil
}

// Routes implements [guest.Guest]. Some versions of the plugin end a path with a slash.
func (g *Guest) Routes() []serve.Route {
	list := []serve.Route{
		serve.Post(g.root+"/updates/manifest_size", "capgo_sizes", g.answer(plugin.MaxSizes, g.server.Sizes)),
		serve.Get(g.root+"/files/{bundle}/{path...}", "capgo_file", g.getFile),
	}
	updates, stats := g.answer(plugin.MaxInfo, g.server.Updates), g.answer(plugin.MaxStats, g.server.Stats)
	choose := g.answer(plugin.MaxInfo, g.server.Channel)
	for _, end := range []string{"", "/"} {
		list = append(
			list,
			serve.Get(g.root+"/updates"+end, "capgo_check", g.health),
			serve.Post(g.root+"/updates"+end, "capgo_check", updates),
			serve.Get(g.root+"/stats"+end, "capgo_stats", g.health),
			serve.Post(g.root+"/stats"+end, "capgo_stats", stats),
		)
		for _, route := range []func(string, string, serve.Handler) serve.Route{
			serve.Get, serve.Put, serve.Post, serve.Delete,
		} {
			list = append(list, route(g.root+"/channel_self"+end, "capgo_channel", choose))
		}
	}
	return list
}

func (g *Guest) health(r *serve.Request) error {
	write(r, g.server.Health())
	return nil
}

// answer returns a handler that calls do of package plugin, with bodies of at most limit bytes.
func (g *Guest) answer(limit int64, do func(plugin.Request) plugin.Answer) serve.Handler {
	return func(r *serve.Request) error {
		in := plugin.Request{
			Method: string(r.Method()),
			Query:  func(name string) string { return string(r.QueryArgs().Peek(name)) },
			Base:   g.BaseURL(r) + g.root,
		}
		switch {
		case r.IsHead():
			in.Method = fasthttp.MethodGet
		case !r.IsGet():
			var err error
			if in.Body, err = r.ReadBody(limit); err != nil {
				return err
			}
		}
		write(r, do(in))
		return nil
	}
}

func write(r *serve.Request, a plugin.Answer) {
	h := &r.Response.Header
	r.SetStatusCode(a.Status)
	r.SetContentType("application/json")
	h.Set(fasthttp.HeaderCacheControl, semantics.CacheNever)
	body := a.Body
	if a.Gzip != nil {
		h.Set(fasthttp.HeaderVary, semantics.VaryCoding)
		if coding, ok := r.Accept().Choose(semantics.Gzip, semantics.Identity); ok && coding == semantics.Gzip {
			h.Set(fasthttp.HeaderContentEncoding, coding.String())
			body = a.Gzip
		}
	}
	r.Response.SetBodyRaw(body)
}

// Channels implements [plugin.Edge].
func (g *Guest) Channels(app string) ([]*channel.Manifest, bool) {
	list := g.State.Of(app)
	if len(list) > 0 {
		return list, true
	}
	_, err := g.State.Owner(app)
	return nil, err == nil
}

// Brotli implements [plugin.Edge].
func (g *Guest) Brotli(id digest.Digest, f *bundle.File) (size int64, known bool) {
	d := represent.Derivation{Subject: represent.FileOf(id, f), Coding: semantics.Brotli}
	object, err := g.Server.Store.Derived(d.Key())
	if err != nil {
		g.Server.Add(d, represent.Asked)
		return 0, false
	}
	return object.Size(), true
}

// Wants implements [guest.Guest]: files as brotli, if the release has a zip, as releases for such devices do.
func (g *Guest) Wants(m *channel.Manifest) (list []represent.Derivation) {
	if m.Release.Attachment(protocol.AttachmentZip) == nil {
		return nil
	}
	ix, err := g.Index(m.Release.Bundle)
	if err != nil {
		return nil
	}
	for i := range ix.Files {
		if f := &ix.Files[i]; f.Size >= format.MinBrotli {
			file := represent.FileOf(m.Release.Bundle, f)
			list = append(list, represent.Derivation{Subject: file, Coding: semantics.Brotli})
		}
	}
	return list
}

// brotliWait bounds how long a device waits for a brotli file that it was offered and that was dropped since. The
// device itself waits 20 seconds in most apps.
const brotliWait = 15 * time.Second

// cacheUntouched is for bytes that a device decodes itself: proxies must not change their encoding.
const cacheUntouched = semantics.CacheForever + ", no-transform"

// getFile answers GET /capgo/files/{bundle}/{path} with a file of a bundle, or with .br appended to its path, as
// brotli. The plugin ignores Content-Encoding, so there is none whatever it accepts.
func (g *Guest) getFile(r *serve.Request) error {
	id, err := r.Digest()
	if err != nil {
		return err
	}
	b, err := g.Bundles.Bundle(id)
	if err != nil {
		return err
	}
	what := serve.Headers{ContentType: "application/octet-stream", Vary: semantics.VaryCoding, Cache: cacheUntouched}
	var rep serve.Representation
	if f := b.Index.File(r.Names[1]); f != nil {
		what.ContentType = serve.ContentType(f.Path)
		rep = g.Server.Identity(represent.FileOf(id, f), nil)
	} else if rep, err = g.brotli(b, r.Names[1]); err != nil {
		return err
	}
	err = g.Server.Sender.Send(r, what, rep)
	r.Response.Header.Del(fasthttp.HeaderVary) // the answer does not depend on the request's fields
	return err
}

// brotli returns a file as brotli, by its path with .br appended.
func (g *Guest) brotli(b *store.Bundle, name string) (serve.Representation, error) {
	unknown := serve.Problem(protocol.CodeUnknownFile, fmt.Sprintf("bundle %s has no file %q", b.ID.Short(), name), "")
	plain, ours := strings.CutSuffix(name, ".br")
	f := b.Index.File(plain)
	if !ours || f == nil || f.Size < format.MinBrotli {
		return serve.Representation{}, unknown
	}
	d := represent.Derivation{Subject: represent.FileOf(b.ID, f), Coding: semantics.Brotli}
	object, err := g.Server.Store.Derived(d.Key())
	if errors.Is(err, store.ErrNotFound) {
		late := time.NewTimer(brotliWait)
		defer late.Stop()
		select {
		case <-g.Server.Add(d, represent.Asked):
		case <-late.C:
		case <-g.Context.Done():
		}
		object, err = g.Server.Store.Derived(d.Key())
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return serve.Representation{}, serve.Problem(protocol.CodeUnavailable, "the file is not encoded yet", "try again")
	case err != nil:
		return serve.Representation{}, err
	case object.Size() == 0:
		return serve.Representation{}, unknown
	}
	return g.Server.Object(object), nil
}
