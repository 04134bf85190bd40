// Package appflow is the guest for the plugins of Ionic Appflow. Package plugin implements their protocol; this package
// connects it to the node.
package appflow

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/internal/guest"
	"brink/node/internal/guest/appflow/plugin"
	"brink/node/internal/represent"
	"brink/node/internal/semantics"
	"brink/node/internal/serve"
	"brink/protocol"
	"brink/store"
)

// Root is the root path of the protocol, with which the host of the plugin is configured.
const Root = "/appflow"

// Guest answers the plugins.
type Guest struct {
	guest.Edge

	plugin *plugin.Appflow
	builds singleflight.Group  // of lists of files, by bundle
	slots  *semaphore.Weighted // bounds the lists of files that are built at the same time
}

// New returns the guest. The apps are by their ID in Appflow.
func New(edge guest.Edge, apps map[string]string) (*Guest, error) {
	g := &Guest{Edge: edge, slots: semaphore.NewWeighted(int64(edge.Builders))}
	var err error
	g.plugin, err = plugin.New(plugin.Config{Apps: apps, Edge: g, Logger: edge.Logger, Now: edge.Now})
	return g, err
}

// Manifest implements [plugin.Edge].
func (g *Guest) Manifest(app, name string) *channel.Manifest { return g.State.Manifest(app, name) }

// HasApp implements [plugin.Edge].
func (g *Guest) HasApp(app string) bool { return g.State.Has(app) }

// Wants implements [guest.Guest]: devices of Appflow ask for the archive and files, as all do.
func (g *Guest) Wants(*channel.Manifest) []represent.Derivation { return nil }

// IsVersion implements [guest.Guest].
func (g *Guest) IsVersion(string) bool { return false }

// Routes implements [guest.Guest].
func (g *Guest) Routes() []serve.Route {
	const apps, bundles = Root + "/apps/{id}", Root + "/bundles/{bundle}"
	check, missing := g.answer(g.check), g.answer(nowhere)
	return []serve.Route{
		serve.Post(apps+"/channels/check-device", "appflow_check", check),
		serve.Post(apps+"/channels/check-device/", "appflow_check", check),
		serve.Get(apps+"/snapshots/{bundle}/{form}", "appflow_snapshot", g.answer(g.redirect)),
		serve.Get(bundles+"/"+plugin.ManifestFile, "appflow_list", g.answer(g.getList)),
		serve.Get(bundles+"/{path...}", "file", g.Files),
		serve.Get(Root+"/{path...}", "unknown", missing),
		serve.Post(Root+"/{path...}", "unknown", missing),
	}
}

// nowhere answers all other paths. It has a route so that the answer has the CORS fields without which a device could
// not read it.
func nowhere(*serve.Request) error {
	return serve.Problem(protocol.CodeNotFound, "There is nothing at this path", "the host ends in "+Root)
}

// answer returns a handler that answers errors in the form of the protocol.
func (g *Guest) answer(do serve.Handler) serve.Handler {
	return func(r *serve.Request) error {
		err := do(r)
		if err == nil {
			return nil
		}
		p := r.Fail(err, "appflow", g.Logger) // logs, and sets the fields for the status
		if p.Code == protocol.CodeInternal {
			p.Message = "The node failed to answer"
		}
		write(r, plugin.Fail(p, identity(r)))
		return nil
	}
}

// identity returns an ID of a request that is unique in this process.
func identity(r *serve.Request) string { return strconv.FormatUint(r.ID(), 16) }

func write(r *serve.Request, a plugin.Answer) {
	r.SetStatusCode(a.Status)
	r.SetContentType("application/json")
	r.Response.Header.Set(fasthttp.HeaderCacheControl, semantics.CacheNever)
	r.Response.SetBodyRaw(a.Body)
}

// check answers POST /appflow/apps/{id}/channels/check-device.
func (g *Guest) check(r *serve.Request) error {
	body, err := r.ReadBody(protocol.MaxCheck)
	if err != nil {
		return err
	}
	answer, err := g.plugin.Check(plugin.Query{
		ID: r.Names[0], Base: g.BaseURL(r) + Root, Request: identity(r), Body: body,
	})
	if err != nil {
		return err
	}
	write(r, answer)
	return nil
}

// redirect answers GET /appflow/apps/{id}/snapshots/{bundle}/{form}, the URLs in answers to check-device. Devices
// append the query of a list of files to its files, so the redirect keeps it.
func (g *Guest) redirect(r *serve.Request) error {
	id, err := digest.Parse(r.Names[1])
	if err != nil {
		return serve.Problem(protocol.CodeUnknownBundle, "Snapshot not found", "")
	}
	path, err := g.plugin.Location(id, r.Names[2])
	if err != nil {
		return err
	}
	target := g.BaseURL(r) + Root + path
	if query := r.URI().QueryString(); len(query) > 0 {
		target += "?" + string(query)
	}
	r.Response.Header.Set(fasthttp.HeaderLocation, target)
	r.Response.Header.Set(fasthttp.HeaderCacheControl, semantics.CacheNever)
	r.SetStatusCode(fasthttp.StatusFound)
	return nil
}

// getList answers GET /appflow/bundles/{bundle}/pro-manifest.json.
func (g *Guest) getList(r *serve.Request) error {
	id, err := digest.Parse(r.Names[0])
	if err != nil {
		return serve.Problem(protocol.CodeUnknownBundle, "Snapshot not found", "")
	}
	what := serve.Headers{ContentType: "application/json", Vary: semantics.VaryCoding, Cache: semantics.CacheForever}
	for range 2 { // the store drops a damaged list, which is then built again
		var rep serve.Representation
		if rep, err = g.list(id); err != nil {
			return err
		}
		if err = g.Server.Sender.Send(r, what, rep); !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return err
}

// listKind is the kind of a list of files in the store. A change of its format needs a new kind.
const listKind = "appflow.1"

// list returns the list of files of a bundle. It is built once for all that wait for it, and cached: in the store, or
// in the hot set while the store is full or read-only.
func (g *Guest) list(id digest.Digest) (serve.Representation, error) {
	b, err := g.Bundles.Bundle(id)
	if err != nil {
		return serve.Representation{}, err
	}
	key := store.DerivedKey{Source: id, Kind: listKind}
	object, err := g.Server.Store.Derived(key)
	if errors.Is(err, store.ErrNotFound) {
		var built any
		built, err, _ = g.builds.Do(id.String(), func() (any, error) { return g.buildList(key, b.Index) })
		object, _ = built.(*store.Object)
	}
	if errors.Is(err, store.ErrQuota) || errors.Is(err, store.ErrReadOnly) {
		return g.buildInMemory(key, b.Index)
	}
	if err != nil {
		return serve.Representation{}, err
	}
	return g.Server.Object(object), nil
}

// buildList builds a list of files and stores it.
func (g *Guest) buildList(key store.DerivedKey, ix *bundle.Index) (*store.Object, error) {
	if err := g.slots.Acquire(g.Context, 1); err != nil {
		return nil, err
	}
	defer g.slots.Release(1)
	reader, writer := io.Pipe()
	var writing sync.WaitGroup
	defer writing.Wait()
	defer func() { _ = reader.Close() }() // always nil; ends the writer if the store stopped reading
	writing.Go(func() {
		_ = writer.CloseWithError(g.writeList(writer, ix)) // always nil
	})
	return g.Server.Store.PutDerived(g.Context, key, reader)
}

// buildInMemory returns a list of files from the hot set, or builds it there.
func (g *Guest) buildInMemory(key store.DerivedKey, ix *bundle.Index) (serve.Representation, error) {
	name := digest.Sum([]byte(key.String())) // the digest of the key, because that of the list is not known yet
	whole := g.Server.Hot.Find(name)
	if whole == nil {
		var err error
		whole, err = g.Server.Hot.Load(name, 0, func() (*serve.Whole, error) {
			var b bytes.Buffer
			err := g.writeList(&b, ix)
			return &serve.Whole{Data: b.Bytes()}, err
		})
		if err != nil {
			return serve.Representation{}, err
		}
	}
	defer whole.Release()
	data, err := whole.Bytes()
	if err != nil {
		return serve.Representation{}, err
	}
	size := int64(len(data))
	return serve.Representation{Digest: digest.Sum(data), Size: size, Body: serve.Memory(data), Private: size}, nil
}

func (g *Guest) writeList(w io.Writer, ix *bundle.Index) error {
	from := g.Bundles.Chunks(ix.Bundle())
	defer from.Close()
	return plugin.WriteManifest(w, ix, func(f *bundle.File) io.Reader {
		return bundle.NewFile(g.Context, f, from)
	})
}
