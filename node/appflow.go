package node

import (
	"bytes"
	"errors"
	"io"
	"net/url"
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

// findAppflow returns the resource at a path below /appflow/.
func (n *Node) findAppflow(rest string) (resource, [3]string, bool) {
	var names [3]string
	kind, rest, _ := strings.Cut(rest, "/")
	first, rest, deeper := strings.Cut(rest, "/")
	what, tail, _ := strings.Cut(rest, "/")
	second, third, _ := strings.Cut(tail, "/")
	raw := [3]string{first, second, third}
	if kind == "bundles" {
		raw = [3]string{first, rest}
	}
	for i, escaped := range raw {
		var err error
		if names[i], err = url.PathUnescape(escaped); err != nil {
			return n.nowhereAppflow(), names, true
		}
	}
	switch {
	case !deeper || first == "":
	case kind == "apps" && what == "channels" && (tail == "check-device" || tail == "check-device/"):
		return resource{post: n.sayAppflow(n.checkAppflow), postRoute: routeAppflowCheck}, names, true
	case kind == "apps" && what == "snapshots":
		return resource{get: n.sayAppflow(n.redirectAppflow), getRoute: routeAppflowSnapshot}, names, true
	case kind == "bundles" && names[1] == appflow.ManifestFile:
		return resource{get: n.sayAppflow(n.listAppflow), getRoute: routeAppflowList}, names, true
	case kind == "bundles":
		return resource{get: n.file, getRoute: routeFile}, names, true
	}
	return n.nowhereAppflow(), names, true
}

// nowhereAppflow is what a path leads to that the protocol does not have. It is a resource because a device can read
// only answers that other origins may read.
func (n *Node) nowhereAppflow() resource {
	do := n.sayAppflow(func(*request) error {
		return problem(protocol.CodeNotFound, "There is nothing at this path", "the host ends in "+appflowRoot)
	})
	return resource{get: do, post: do}
}

// sayAppflow has the errors of a handler answered in the shape that the plugins read.
func (n *Node) sayAppflow(do handler) handler {
	return func(r *request) error {
		err := do(r)
		if err == nil {
			return nil
		}
		n.fail(r, err) // logs, and sets what goes with the status
		r.answerAppflow(appflow.Fail(asProblemSeen(err), r.identity()))
		return nil
	}
}

// asProblemSeen is asProblem without what strangers are not told.
func asProblemSeen(err error) *protocol.Problem {
	p := *asProblem(err)
	if p.Code == protocol.CodeInternal {
		p.Message = "The node failed to answer"
	}
	return &p
}

// identity names a request among all of this process.
func (r *request) identity() string { return strconv.FormatUint(r.ID(), 16) }

func (r *request) answerAppflow(a appflow.Answer) {
	r.SetStatusCode(a.Status)
	r.SetContentType("application/json")
	r.Response.Header.Set(fasthttp.HeaderCacheControl, semantics.CacheNever)
	r.Response.SetBodyRaw(a.Body)
}

// checkAppflow answers POST /appflow/apps/{id}/channels/check-device.
func (n *Node) checkAppflow(r *request) error {
	body, err := r.readAll(protocol.MaxCheck)
	if err != nil {
		return err
	}
	answer, err := n.ionic.Check(appflow.Query{
		ID: r.names[0], Base: n.baseURL(r) + appflowRoot, Request: r.identity(), Body: body,
	})
	if err != nil {
		return err
	}
	r.answerAppflow(answer)
	return nil
}

// redirectAppflow answers GET /appflow/apps/{id}/snapshots/{bundle}/{form}: the URLs that check-device gives. Devices
// use the query of a list of files for the files in it, so it goes along.
func (n *Node) redirectAppflow(r *request) error {
	id, err := digest.Parse(r.names[1])
	if err != nil {
		return problem(protocol.CodeUnknownBundle, "Snapshot not found", "")
	}
	path, err := n.ionic.Location(id, r.names[2])
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
func (n *Node) listAppflow(r *request) error {
	id, err := digest.Parse(r.names[0])
	if err != nil {
		return problem(protocol.CodeUnknownBundle, "Snapshot not found", "")
	}
	what := served{contentType: "application/json", vary: semantics.VaryCoding, cache: semantics.CacheForever}
	for range 2 { // one that turns out to be damaged is dropped by the store, and made again
		var rep representation
		if rep, err = n.ionic.list(id); err != nil {
			return err
		}
		if err = n.serve(r, what, rep); !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return err
}

// listKind is the kind of a list of files in the store. A change of the list's form is a new kind.
const listKind = "appflow.1"

// list returns the list of files of a bundle. It is made once, however many wait for it, and kept: by the store, or in
// the hot set while the store takes nothing.
func (i *ionic) list(id digest.Digest) (representation, error) {
	n := i.node
	b, err := n.known(id)
	if err != nil {
		return representation{}, err
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
		return representation{}, err
	}
	return representation{name: object.Digest(), size: object.Size(), body: &derivedBody{node: n, object: object}}, nil
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
func (i *ionic) hold(key store.DerivedKey, ix *bundle.Index) (representation, error) {
	name := digest.Sum([]byte(key.String())) // of the key: what it names is not known before it is made
	whole := i.node.hot.find(name)
	if whole == nil {
		var err error
		whole, err = i.node.hot.load(name, func() (*held, error) {
			var b bytes.Buffer
			err := i.write(&b, ix)
			return &held{data: b.Bytes()}, err
		})
		if err != nil {
			return representation{}, err
		}
	}
	data, err := whole.bytes()
	if err != nil {
		return representation{}, err
	}
	return representation{name: digest.Sum(data), size: int64(len(data)), body: memory(data)}, nil
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
func (n *Node) baseURL(r *request) string {
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
