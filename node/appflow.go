package node

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/appflow"
	"brink/node/semantics"
	"brink/node/serve"
	"brink/protocol"
	"brink/store"
)

// appflowRoot is where the protocol of Ionic Appflow's plugins begins: what a device is told as its host.
const appflowRoot = "/appflow"

// ionic is the node as Ionic Appflow's plugins see it: package appflow answers, this hands the answers to HTTP.
type ionic struct {
	*appflow.Appflow

	node   *Node
	making singleflight.Group  // lists of files, by bundle
	slots  *semaphore.Weighted // lists of files that are made at the same time
}

func newIonic(n *Node) (*ionic, error) {
	i := &ionic{node: n, slots: semaphore.NewWeighted(int64(n.config.Builders))}
	var err error
	i.Appflow, err = appflow.New(appflow.Config{
		Apps:   n.config.Appflow,
		Edge:   appflowEdge{n},
		Logger: n.config.Logger,
		Now:    n.config.Now,
	})
	return i, err
}

// appflowEdge is what package appflow needs of the node.
type appflowEdge struct{ node *Node }

// Manifest implements appflow.Edge.
func (e appflowEdge) Manifest(app, name string) *channel.Manifest {
	return e.node.channels.get(app, name)
}

// HasApp implements appflow.Edge.
func (e appflowEdge) HasApp(app string) bool { return len(e.node.channels.of(app)) > 0 }

// Index implements appflow.Edge.
func (e appflowEdge) Index(id digest.Digest) (*bundle.Index, error) {
	b, err := e.node.known(id)
	if err != nil {
		return nil, err
	}
	return b.Index, nil
}

// Read implements appflow.Edge.
func (e appflowEdge) Read(id digest.Digest, f *bundle.File) ([]byte, error) {
	return e.node.readPlain(e.node.ctx, fileOf(id, f))
}

// appflowRoutes returns what Ionic Appflow's plugins ask.
func (n *Node) appflowRoutes() []serve.Route {
	const apps, bundles = appflowRoot + "/apps/{id}", appflowRoot + "/bundles/{bundle}"
	check, nowhere := n.sayAppflow(n.checkAppflow), n.sayAppflow(nowhereAppflow)
	return []serve.Route{
		serve.Post(apps+"/channels/check-device", "appflow_check", check),
		serve.Post(apps+"/channels/check-device/", "appflow_check", check),
		serve.Get(apps+"/snapshots/{bundle}/{form}", "appflow_snapshot", n.sayAppflow(n.redirectAppflow)),
		serve.Get(bundles+"/"+appflow.ManifestFile, "appflow_list", n.sayAppflow(n.listAppflow)),
		serve.Get(bundles+"/{path...}", "file", n.file),
		serve.Get(appflowRoot+"/{path...}", "unknown", nowhere),
		serve.Post(appflowRoot+"/{path...}", "unknown", nowhere),
	}
}

// nowhereAppflow answers what the protocol does not have. It has a route because a device can read only answers that
// other origins may read.
func nowhereAppflow(*serve.Request) error {
	return serve.Problem(protocol.CodeNotFound, "There is nothing at this path", "the host ends in "+appflowRoot)
}

// sayAppflow has the errors of a handler answered in the shape that the plugins read.
func (n *Node) sayAppflow(do serve.Handler) serve.Handler {
	return func(r *serve.Request) error {
		err := do(r)
		if err == nil {
			return nil
		}
		p := n.fail(r, err) // logs, and sets what goes with the status
		if p.Code == protocol.CodeInternal {
			p.Message = "The node failed to answer"
		}
		answerAppflow(r, appflow.Fail(p, identity(r)))
		return nil
	}
}

// identity names a request among all of this process.
func identity(r *serve.Request) string { return strconv.FormatUint(r.ID(), 16) }

func answerAppflow(r *serve.Request, a appflow.Answer) {
	r.SetStatusCode(a.Status)
	r.SetContentType("application/json")
	r.Response.Header.Set(fasthttp.HeaderCacheControl, semantics.CacheNever)
	r.Response.SetBodyRaw(a.Body)
}

// checkAppflow answers POST /appflow/apps/{id}/channels/check-device.
func (n *Node) checkAppflow(r *serve.Request) error {
	body, err := r.ReadBody(protocol.MaxCheck)
	if err != nil {
		return err
	}
	answer, err := n.ionic.Check(appflow.Query{
		ID: r.Names[0], Base: n.baseURL(r) + appflowRoot, Request: identity(r), Body: body,
	})
	if err != nil {
		return err
	}
	answerAppflow(r, answer)
	return nil
}

// redirectAppflow answers GET /appflow/apps/{id}/snapshots/{bundle}/{form}: the URLs that check-device gives. Devices
// use the query of a list of files for the files in it, so it goes along.
func (n *Node) redirectAppflow(r *serve.Request) error {
	id, err := digest.Parse(r.Names[1])
	if err != nil {
		return serve.Problem(protocol.CodeUnknownBundle, "Snapshot not found", "")
	}
	path, err := n.ionic.Location(id, r.Names[2])
	if err != nil {
		return err
	}
	target := n.baseURL(r) + appflowRoot + path
	if query := r.URI().QueryString(); len(query) > 0 {
		target += "?" + string(query)
	}
	r.Response.Header.Set(fasthttp.HeaderLocation, target)
	r.Response.Header.Set(fasthttp.HeaderCacheControl, semantics.CacheNever)
	r.SetStatusCode(fasthttp.StatusFound)
	return nil
}

// listAppflow answers GET /appflow/bundles/{bundle}/pro-manifest.json.
func (n *Node) listAppflow(r *serve.Request) error {
	id, err := digest.Parse(r.Names[0])
	if err != nil {
		return serve.Problem(protocol.CodeUnknownBundle, "Snapshot not found", "")
	}
	what := serve.Headers{ContentType: "application/json", Vary: semantics.VaryCoding, Cache: semantics.CacheForever}
	for range 2 { // one that turns out to be damaged is dropped by the store, and made again
		var rep serve.Representation
		if rep, err = n.ionic.list(id); err != nil {
			return err
		}
		if err = n.sender.Send(r, what, rep); !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return err
}

// listKind is the kind of a list of files in the store. A change of the list's form is a new kind.
const listKind = "appflow.1"

// list returns the list of files of a bundle. It is made once, however many wait for it, and kept: by the store, or in
// the hot set while the store takes nothing.
func (i *ionic) list(id digest.Digest) (serve.Representation, error) {
	n := i.node
	b, err := n.known(id)
	if err != nil {
		return serve.Representation{}, err
	}
	key := store.DerivedKey{Source: id, Kind: listKind}
	object, err := n.store.Derived(key)
	if errors.Is(err, store.ErrNotFound) {
		var made any
		made, err, _ = i.making.Do(id.String(), func() (any, error) { return i.keep(key, b.Index) })
		object, _ = made.(*store.Object)
	}
	if errors.Is(err, store.ErrQuota) || errors.Is(err, store.ErrReadOnly) {
		return i.hold(key, b.Index)
	}
	if err != nil {
		return serve.Representation{}, err
	}
	return serve.Representation{Digest: object.Digest(), Size: object.Size(), Body: &derivedBody{node: n, object: object}}, nil
}

// keep makes a list of files and stores it.
func (i *ionic) keep(key store.DerivedKey, ix *bundle.Index) (*store.Object, error) {
	if err := i.slots.Acquire(i.node.ctx, 1); err != nil {
		return nil, err
	}
	defer i.slots.Release(1)
	reader, writer := io.Pipe()
	var writing sync.WaitGroup
	defer writing.Wait()
	defer func() { _ = reader.Close() }() // always nil; ends a writer whose reader gave up
	writing.Go(func() {
		_ = writer.CloseWithError(i.write(writer, ix)) // always nil
	})
	return i.node.store.PutDerived(i.node.ctx, key, reader)
}

// hold makes a list of files and keeps it in RAM, for as long as it is wanted.
func (i *ionic) hold(key store.DerivedKey, ix *bundle.Index) (serve.Representation, error) {
	name := digest.Sum([]byte(key.String())) // of the key: what it names is not known before it is made
	whole := i.node.hot.find(name)
	if whole == nil {
		var err error
		whole, err = i.node.hot.load(name, func() (*serve.Whole, error) {
			var b bytes.Buffer
			err := i.write(&b, ix)
			return &serve.Whole{Data: b.Bytes()}, err
		})
		if err != nil {
			return serve.Representation{}, err
		}
	}
	data, err := whole.Bytes()
	if err != nil {
		return serve.Representation{}, err
	}
	return serve.Representation{Digest: digest.Sum(data), Size: int64(len(data)), Body: serve.Memory(data)}, nil
}

func (i *ionic) write(w io.Writer, ix *bundle.Index) error {
	from := i.node.chunks(ix.Bundle())
	defer from.Close()
	return appflow.WriteManifest(w, ix, func(f *bundle.File) io.Reader {
		return bundle.NewFile(i.node.ctx, f, from)
	})
}

// baseURL returns the URL of this node as a device sees it, without a slash at its end: the one that is configured, or
// the one that the request came to. What a request says of itself leads only its own sender somewhere.
func (n *Node) baseURL(r *serve.Request) string {
	if n.config.PublicURL != "" {
		return strings.TrimRight(n.config.PublicURL, "/")
	}
	host := r.Host()
	if len(host) == 0 {
		return n.URL()
	}
	scheme := "http"
	if n.tls != nil || string(r.Request.Header.Peek(fasthttp.HeaderXForwardedProto)) == "https" {
		scheme = "https"
	}
	return scheme + "://" + string(host)
}
