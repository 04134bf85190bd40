package serve

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"brink/protocol"
)

// Handler answers a request. When it returns an error, it has written nothing, and the error is answered as a problem.
type Handler func(*Request) error

// Route is one method on the paths of one pattern.
type Route struct {
	Method string // GET, which also answers HEAD, PUT, POST or DELETE
	// Pattern is a path in which {name} matches one segment that is not empty, and {name...} at the end the rest of the
	// path, which may have slashes or be empty. A literal segment takes precedence over a name, and a name over a rest.
	Pattern string
	Name    string // of the route in metrics and logs; routes may share one
	Handler Handler
}

// Get returns the route of GET and HEAD.
func Get(pattern, name string, do Handler) Route { return Route{http.MethodGet, pattern, name, do} }

// Put returns the route of PUT.
func Put(pattern, name string, do Handler) Route { return Route{http.MethodPut, pattern, name, do} }

// Post returns the route of POST.
func Post(pattern, name string, do Handler) Route { return Route{http.MethodPost, pattern, name, do} }

// Delete returns the route of DELETE.
func Delete(pattern, name string, do Handler) Route {
	return Route{http.MethodDelete, pattern, name, do}
}

// Label numbers the names of routes.
type Label int

// The labels that every table has.
const (
	LabelUnknown Label = iota // no route was found
	LabelOptions              // a preflight
	firstLabel
)

// maxNames bounds the names in one pattern.
const maxNames = len(Request{}.Names)

// Table finds routes. It never changes.
type Table struct {
	root   segment
	hosts  map[string]hostRoute
	labels []string
}

// segment is a node in the tree of patterns.
type segment struct {
	literal map[string]*segment
	name    *segment  // for any segment that is not empty
	rest    *Resource // for any rest of the path
	here    *Resource // for the path that ends here
}

// Resource is the methods of one pattern.
type Resource struct {
	methods [methodCount]method
	allow   string
}

type method struct {
	handler Handler
	label   Label
}

const (
	methodGet = iota
	methodPut
	methodPost
	methodDelete
	methodCount
)

// methodNames are the methods as in the field Allow.
//
//nolint:gochecknoglobals // a table that is never changed
var methodNames = [methodCount]string{"GET, HEAD", "PUT", "POST", "DELETE"}

// HostRoute answers GET on all paths of a host.
type HostRoute struct {
	Host    string    // in lower case, without a port
	Names   [2]string // the first names of the request; the third one is the path without its leading slash
	Name    string    // of the route in metrics and logs
	Handler Handler
}

type hostRoute struct {
	names    [2]string
	resource *Resource
}

// NewTable returns the table of the routes. It refuses malformed patterns and duplicate routes.
func NewTable(routes []Route, hosts []HostRoute) (*Table, error) {
	t := &Table{labels: []string{LabelUnknown: "unknown", LabelOptions: "options"}, hosts: map[string]hostRoute{}}
	for _, r := range routes {
		if err := t.add(r); err != nil {
			return nil, fmt.Errorf("route %s %s: %w", r.Method, r.Pattern, err)
		}
	}
	for _, h := range hosts {
		res := &Resource{}
		if err := res.set(methodGet, method{h.Handler, t.label(h.Name)}); err != nil {
			return nil, err
		}
		t.hosts[h.Host] = hostRoute{h.Names, res}
	}
	return t, nil
}

// Names returns the names of routes by their labels.
func (t *Table) Names() []string { return t.labels }

// Name returns the name of a label.
func (t *Table) Name(l Label) string { return t.labels[l] }

func (t *Table) label(name string) Label {
	if i := slices.Index(t.labels, name); i >= 0 {
		return Label(i)
	}
	t.labels = append(t.labels, name)
	return Label(len(t.labels) - 1)
}

func (t *Table) add(r Route) error {
	index := slices.Index([]string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete}, r.Method)
	if index < 0 {
		return fmt.Errorf("the method is not GET, PUT, POST or DELETE")
	}
	rest, ok := strings.CutPrefix(r.Pattern, "/")
	if !ok {
		return fmt.Errorf("the pattern does not begin with a slash")
	}
	at, names := &t.root, 0
	for more := true; more; {
		var one string
		one, rest, more = strings.Cut(rest, "/")
		name, named := strings.CutPrefix(one, "{")
		if named {
			if names++; names > maxNames {
				return fmt.Errorf("the pattern has more than %d names", maxNames)
			}
		}
		switch {
		case named && strings.HasSuffix(name, "...}"):
			if more {
				return fmt.Errorf("a segment follows the rest")
			}
			if at.rest == nil {
				at.rest = &Resource{}
			}
			return at.rest.set(index, method{r.Handler, t.label(r.Name)})
		case named:
			if at.name == nil {
				at.name = &segment{}
			}
			at = at.name
		default:
			if at.literal == nil {
				at.literal = map[string]*segment{}
			}
			if at.literal[one] == nil {
				at.literal[one] = &segment{}
			}
			at = at.literal[one]
		}
	}
	if at.here == nil {
		at.here = &Resource{}
	}
	return at.here.set(index, method{r.Handler, t.label(r.Name)})
}

func (res *Resource) set(index int, m method) error {
	if res.methods[index].handler != nil {
		return fmt.Errorf("another route has the same method and pattern")
	}
	res.methods[index] = m
	var allowed []string
	for i, name := range methodNames {
		if res.methods[i].handler != nil {
			allowed = append(allowed, name)
		}
	}
	res.allow = strings.Join(append(allowed, "OPTIONS"), ", ")
	return nil
}

// find returns the resource of a path, or nil, and the names in the path. Segments are unescaped one by one, so that an
// escaped slash does not end a name.
func (t *Table) find(path string) (*Resource, [3]string) {
	var names, atRest [3]string
	var rest *Resource // of the longest pattern with a rest that matches
	var tail string    // that rest
	var tailAt int     // which name it is
	path, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil, names
	}
	count := 0
	for at, more := &t.root, true; ; {
		if more && at.rest != nil {
			rest, atRest, tail, tailAt = at.rest, names, path, count
		}
		if !more {
			if at.here != nil {
				return at.here, names
			}
			break
		}
		var one string
		one, path, more = strings.Cut(path, "/")
		next := at.literal[one]
		if next == nil && at.name != nil {
			text, err := url.PathUnescape(one)
			if err != nil || text == "" {
				break
			}
			names[count] = text
			count++
			next = at.name
		}
		if next == nil {
			break
		}
		at = next
	}
	if rest == nil {
		return nil, names
	}
	var err error
	if atRest[tailAt], err = url.PathUnescape(tail); err != nil {
		return nil, names
	}
	return rest, atRest
}

// findHost is find for hosts that have a route.
func (t *Table) findHost(host []byte, path string) (*Resource, [3]string) {
	if len(t.hosts) == 0 {
		return nil, [3]string{}
	}
	name := string(host)
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[:i]
	}
	h, ours := t.hosts[strings.ToLower(name)]
	if !ours {
		return nil, [3]string{}
	}
	rest, err := url.PathUnescape(strings.TrimPrefix(path, "/"))
	if err != nil {
		return nil, [3]string{}
	}
	return h.resource, [3]string{h.names[0], h.names[1], rest}
}

// Dispatch finds the handler of a request and calls it.
func (t *Table) Dispatch(r *Request) error {
	path := string(r.URI().PathOriginal())
	res, names := t.findHost(r.Host(), path)
	if res == nil {
		res, names = t.find(path)
	}
	if res == nil {
		return Problem(protocol.CodeNotFound, "there is nothing at this path",
			"see docs/protocol.md for the paths of a node")
	}
	r.Names = names
	r.Response.Header.Set(fasthttp.HeaderAccessControlAllowOrigin, "*")
	r.Response.Header.Set(fasthttp.HeaderAccessControlExposeHeaders, exposedHeaders)
	var do method
	switch {
	case r.IsGet() || r.IsHead():
		do = res.methods[methodGet]
	case r.IsPut():
		do = res.methods[methodPut]
	case r.IsPost():
		do = res.methods[methodPost]
	case r.IsDelete():
		do = res.methods[methodDelete]
	case r.IsOptions():
		return r.preflight(res)
	}
	r.Label = do.label
	if do.handler == nil {
		r.Response.Header.Set(fasthttp.HeaderAllow, res.allow)
		return Problem(protocol.CodeMethodNotAllowed, "this path does not allow "+string(r.Method()),
			"it allows "+res.allow)
	}
	return do.handler(r)
}

// exposedHeaders are the fields that scripts of other origins may read.
const exposedHeaders = "ETag, Content-Encoding, Content-Range, Accept-Ranges, Retry-After"

// preflight answers a CORS preflight (https://fetch.spec.whatwg.org/#cors-preflight-fetch). Everything that a node
// serves to devices is public, and everything that it accepts is signed, so it allows any origin.
func (r *Request) preflight(res *Resource) error {
	r.Label = LabelOptions
	h := &r.Response.Header
	h.Set(fasthttp.HeaderAllow, res.allow)
	h.Set(fasthttp.HeaderAccessControlAllowMethods, res.allow)
	h.Set(
		fasthttp.HeaderAccessControlAllowHeaders,
		"Content-Type, If-Match, If-None-Match, If-Range, Range, Available-Dictionary, Dictionary-ID",
	)
	h.Set(fasthttp.HeaderAccessControlMaxAge, "86400")
	r.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}
