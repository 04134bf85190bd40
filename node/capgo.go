package node

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/capgo"
	"brink/node/semantics"
	"brink/node/serve"
	"brink/node/tally"
	"brink/protocol"
	"brink/store"
)

// DefaultCapgo is the path below which Capgo's plugin is answered, unless another is configured.
const DefaultCapgo = "/capgo"

// newCapgo returns the node as Capgo's plugin sees it: package capgo answers, this page hands the answers to HTTP.
func newCapgo(n *Node) (*capgo.Server, error) {
	return capgo.New(capgo.Config{
		Edge:    capgoEdge{n},
		Choices: n.choices,
		Checked: func(c capgo.Check) { n.stats.tally.Check(c.App, c.Version, outcomeOf(c.Kind), c.Device) },
		Count: func(e capgo.Event) {
			n.stats.tally.Event(tally.Event{
				App: e.App, Version: e.Version, OldVersion: e.OldVersion, Action: e.Action, Device: e.Device,
			})
		},
		Now: n.config.Now,
	})
}

// checkCapgo returns what is wrong with a path below which Capgo's plugin is to be answered.
func checkCapgo(path string) error {
	if path == "/" {
		return nil
	}
	for _, taken := range []string{"/v1/", "/web/", appflowRoot + "/", "/livez/", "/readyz/"} {
		if strings.HasPrefix(path+"/", taken) {
			return fmt.Errorf("path %q for Capgo's plugin is taken", path)
		}
	}
	if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || strings.ContainsAny(path, "%?#\\") ||
		strings.Contains(path, "//") {
		return fmt.Errorf("path %q for Capgo's plugin: want one such as %s, or /", path, DefaultCapgo)
	}
	return nil
}

// capgoRoutes returns what Capgo's plugin asks. Some versions of it end a path with a slash.
func (n *Node) capgoRoutes() []serve.Route {
	root := strings.TrimSuffix(n.config.Capgo, "/")
	list := []serve.Route{
		serve.Post(root+"/updates/manifest_size", "capgo_sizes", n.sayCapgo(capgo.MaxSizes, n.capgo.Sizes)),
		serve.Get(root+"/files/{bundle}/{path...}", "capgo_file", n.fileCapgo),
	}
	updates, stats := n.sayCapgo(capgo.MaxInfo, n.capgo.Updates), n.sayCapgo(capgo.MaxStats, n.capgo.Stats)
	choose := n.sayCapgo(capgo.MaxInfo, n.capgo.Channel)
	for _, end := range []string{"", "/"} {
		list = append(
			list,
			serve.Get(root+"/updates"+end, "capgo_check", n.healthCapgo),
			serve.Post(root+"/updates"+end, "capgo_check", updates),
			serve.Get(root+"/stats"+end, "capgo_stats", n.healthCapgo),
			serve.Post(root+"/stats"+end, "capgo_stats", stats),
		)
		for _, route := range []func(string, string, serve.Handler) serve.Route{
			serve.Get, serve.Put, serve.Post, serve.Delete,
		} {
			list = append(list, route(root+"/channel_self"+end, "capgo_channel", choose))
		}
	}
	return list
}

func (n *Node) healthCapgo(r *serve.Request) error {
	answerCapgo(r, n.capgo.Health())
	return nil
}

// sayCapgo has a handler of package capgo answer, with bodies of at most limit bytes.
func (n *Node) sayCapgo(limit int64, do func(capgo.Request) capgo.Answer) serve.Handler {
	return func(r *serve.Request) error {
		in := capgo.Request{
			Method: string(r.Method()),
			Query:  func(name string) string { return string(r.QueryArgs().Peek(name)) },
			Base:   n.baseURL(r) + strings.TrimSuffix(n.config.Capgo, "/"),
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
		answerCapgo(r, do(in))
		return nil
	}
}

func answerCapgo(r *serve.Request, a capgo.Answer) {
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

// capgoEdge is what package capgo needs of the node.
type capgoEdge struct{ node *Node }

// Channels implements capgo.Edge.
func (e capgoEdge) Channels(app string) ([]*channel.Manifest, bool) {
	list := e.node.channels.of(app)
	if len(list) > 0 {
		return list, true
	}
	_, err := e.node.channels.owner(app)
	return nil, err == nil
}

// Index implements capgo.Edge.
func (e capgoEdge) Index(id digest.Digest) (*bundle.Index, error) {
	b, err := e.node.known(id)
	if err != nil {
		return nil, err
	}
	return b.Index, nil
}

// Read implements capgo.Edge.
func (e capgoEdge) Read(id digest.Digest, f *bundle.File) ([]byte, error) {
	return e.node.readPlain(e.node.ctx, fileOf(id, f))
}

// Brotli implements capgo.Edge.
func (e capgoEdge) Brotli(id digest.Digest, f *bundle.File) (size int64, known bool) {
	n := e.node
	d := derivation{subject: fileOf(id, f), coding: semantics.Brotli}
	object, err := n.store.Derived(d.key())
	if err != nil {
		n.builder.add(d, asked)
		return 0, false
	}
	return object.Size(), true
}

// wantCapgo makes what devices will ask for, in the background, if the publisher has them in mind.
func (n *Node) wantCapgo(m *channel.Manifest) {
	if m.Release.Attachment(protocol.AttachmentZip) == nil {
		return
	}
	b, err := n.known(m.Release.Bundle)
	if err != nil {
		return
	}
	for i := range b.Index.Files {
		if f := &b.Index.Files[i]; f.Size >= capgo.MinBrotli {
			n.builder.add(derivation{subject: fileOf(m.Release.Bundle, f), coding: semantics.Brotli}, planned)
		}
	}
}

// brotliWait bounds how long a device waits for a file that it was told of as brotli and that was dropped since. Its
// own limit is 20 seconds for most apps.
const brotliWait = 15 * time.Second

// cacheUntouched is for bytes that a device decodes itself: nobody on the way may encode them otherwise.
const cacheUntouched = semantics.CacheForever + ", no-transform"

// fileCapgo answers GET /capgo/files/{bundle}/{path}: a file of a bundle, or with .br behind its path the same as
// brotli. The plugin takes what comes as it is, so there is no Content-Encoding whatever it accepts.
func (n *Node) fileCapgo(r *serve.Request) error {
	id, err := r.Digest()
	if err != nil {
		return err
	}
	b, err := n.known(id)
	if err != nil {
		return err
	}
	what := serve.Headers{ContentType: "application/octet-stream", Vary: semantics.VaryCoding, Cache: cacheUntouched}
	var rep serve.Representation
	if f := b.Index.File(r.Names[1]); f != nil {
		s := fileOf(id, f)
		what.ContentType = serve.ContentType(f.Path)
		rep = serve.Representation{Digest: s.source, Size: s.size, Body: &plainBody{subject: s, node: n}}
	} else if rep, err = n.brotliCapgo(b, r.Names[1]); err != nil {
		return err
	}
	err = n.sender.Send(r, what, rep)
	r.Response.Header.Del(fasthttp.HeaderVary) // it does not vary: there is this one form
	return err
}

// brotliCapgo returns a file as brotli, by its path with .br behind it.
func (n *Node) brotliCapgo(b *store.Bundle, name string) (serve.Representation, error) {
	unknown := serve.Problem(protocol.CodeUnknownFile, fmt.Sprintf("bundle %s has no file %q", b.ID.Short(), name), "")
	plain, ours := strings.CutSuffix(name, ".br")
	f := b.Index.File(plain)
	if !ours || f == nil || f.Size < capgo.MinBrotli {
		return serve.Representation{}, unknown
	}
	d := derivation{subject: fileOf(b.ID, f), coding: semantics.Brotli}
	object, err := n.store.Derived(d.key())
	if errors.Is(err, store.ErrNotFound) {
		late := time.NewTimer(brotliWait)
		defer late.Stop()
		select {
		case <-n.builder.add(d, asked):
		case <-late.C:
		case <-n.ctx.Done():
		}
		object, err = n.store.Derived(d.key())
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return serve.Representation{}, serve.Problem(protocol.CodeUnavailable, "the file is not encoded yet", "ask again")
	case err != nil:
		return serve.Representation{}, err
	case object.Size() == 0:
		return serve.Representation{}, unknown
	}
	return serve.Representation{
		Digest: object.Digest(),
		Size:   object.Size(),
		Body:   &derivedBody{node: n, object: object},
	}, nil
}
