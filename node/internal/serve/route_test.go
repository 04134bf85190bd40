package serve

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fasthttp"

	"brink/bench/cost"
	"brink/protocol"
)

// routesOf returns a table whose handlers answer with the pattern and the names.
func routesOf(t testing.TB, routes []Route, hosts ...HostRoute) *Table {
	t.Helper()
	for i := range routes {
		pattern := routes[i].Method + " " + routes[i].Pattern
		routes[i].Handler = func(r *Request) error {
			r.SetBodyString(strings.Join(append([]string{pattern}, r.Names[:]...), "|"))
			return nil
		}
	}
	for i := range hosts {
		hosts[i].Handler = func(r *Request) error {
			r.SetBodyString(strings.Join(append([]string{"host"}, r.Names[:]...), "|"))
			return nil
		}
	}
	table, err := NewTable(routes, hosts)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// ask sends a request through the table.
func ask(table *Table, method, host, path string) (*Request, error) {
	var ctx fasthttp.RequestCtx
	ctx.Init(&fasthttp.Request{}, nil, nil)
	ctx.Request.Header.SetMethod(method)
	ctx.Request.Header.SetHost(host)
	ctx.Request.SetRequestURI(path)
	r := NewRequest(&ctx, NewBudget(1<<20))
	return r, table.Dispatch(r)
}

func patterns() []Route {
	return []Route{
		{Method: http.MethodGet, Pattern: "/livez", Name: "livez"},
		{Method: http.MethodPost, Pattern: "/v1/chunks", Name: "batch"},
		{Method: http.MethodGet, Pattern: "/v1/chunks/{chunk}", Name: "chunk"},
		{Method: http.MethodGet, Pattern: "/v1/bundles/{bundle}/files/{path...}", Name: "file"},
		{Method: http.MethodGet, Pattern: "/v1/apps/{app}/channels/{channel}", Name: "manifest"},
		{Method: http.MethodPut, Pattern: "/v1/apps/{app}/channels/{channel}", Name: "move"},
		{Method: http.MethodGet, Pattern: "/v1/apps/all", Name: "all"},
		{Method: http.MethodGet, Pattern: "/other/{path...}", Name: "unknown"},
		{Method: http.MethodGet, Pattern: "/other/{a}/{b}/c/", Name: "other"},
	}
}

func TestTable_FindsTheRouteOfAPath(t *testing.T) {
	table := routesOf(t, patterns(), HostRoute{Host: "shop.example", Names: [2]string{"app", "production"}, Name: "web"})
	for _, test := range []struct{ method, host, path, want string }{
		{"GET", "h", "/livez", "GET /livez|||"},
		{"HEAD", "h", "/livez", "GET /livez|||"},
		{"POST", "h", "/v1/chunks", "POST /v1/chunks|||"},
		{"GET", "h", "/v1/chunks/ab", "GET /v1/chunks/{chunk}|ab||"},
		{"GET", "h", "/v1/bundles/x/files/a/b%2fc", "GET /v1/bundles/{bundle}/files/{path...}|x|a/b/c|"},
		{"GET", "h", "/v1/bundles/x/files/", "GET /v1/bundles/{bundle}/files/{path...}|x||"},
		{"GET", "h", "/v1/apps/a%2fb/channels/c", "GET /v1/apps/{app}/channels/{channel}|a/b|c|"},
		{"PUT", "h", "/v1/apps/a/channels/c", "PUT /v1/apps/{app}/channels/{channel}|a|c|"},
		{"GET", "h", "/v1/apps/all", "GET /v1/apps/all|||"},
		{"GET", "h", "/other/x/y/c/", "GET /other/{a}/{b}/c/|x|y|"},
		{"GET", "h", "/other/x/y/d", "GET /other/{path...}|x/y/d||"},
		{"GET", "h", "/other/", "GET /other/{path...}|||"},
		{"GET", "Shop.Example:8080", "/a%20b/c", "host|app|production|a b/c"},
		{"GET", "shop.example", "/livez", "host|app|production|livez"},
		{"GET", "h", "/v1/chunks/", protocol.CodeNotFound},
		{"GET", "h", "/v1/bundles/x/files", protocol.CodeNotFound},
		{"GET", "h", "/v1/bundles//files/a", protocol.CodeNotFound},
		{"GET", "h", "/v1/chunks/%zz", protocol.CodeNotFound},
		{"GET", "h", "/v1/chunks/a/b", protocol.CodeNotFound},
		{"GET", "h", "/", protocol.CodeNotFound},
		{"POST", "h", "/livez", protocol.CodeMethodNotAllowed},
		{"PATCH", "h", "/livez", protocol.CodeMethodNotAllowed},
		{"DELETE", "h", "/v1/apps/a/channels/c", protocol.CodeMethodNotAllowed},
	} {
		r, err := ask(table, test.method, test.host, test.path)
		got := string(r.Response.Body())
		if err != nil {
			got = protocol.CodeOf(err)
		}
		if got != test.want {
			t.Errorf("%s %s of %s: %s, want %s", test.method, test.path, test.host, got, test.want)
		}
	}
}

func TestTable_TellsWhatAPathAllows(t *testing.T) {
	table := routesOf(t, patterns())
	for method, label := range map[string]string{"OPTIONS": "options", "DELETE": "unknown"} {
		r, _ := ask(table, method, "h", "/v1/apps/a/channels/c")
		if got := string(r.Response.Header.Peek("Allow")); got != "GET, HEAD, PUT, OPTIONS" {
			t.Errorf("%s: Allow: %s", method, got)
		}
		if got := table.Name(r.Label); got != label {
			t.Errorf("%s is counted as %s, want %s", method, got, label)
		}
	}
	want := []string{"unknown", "options", "livez", "batch", "chunk", "file", "manifest", "move", "all", "other"}
	if diff := cmp.Diff(want, table.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestNewTable_RefusesWhatCannotBeFound(t *testing.T) {
	for _, routes := range [][]Route{
		{{Method: "GET", Pattern: "no/slash"}},
		{{Method: "PATCH", Pattern: "/a"}},
		{{Method: "GET", Pattern: "/{a}/{b}/{c}/{d}"}},
		{{Method: "GET", Pattern: "/{a...}/b"}},
		{{Method: "GET", Pattern: "/a/{x}"}, {Method: "GET", Pattern: "/a/{y}"}},
	} {
		for i := range routes {
			routes[i].Handler = func(*Request) error { return nil }
		}
		if _, err := NewTable(routes, nil); err == nil {
			t.Errorf("%v is accepted", routes)
		}
	}
}

func TestTable_FindsWithoutAllocating(t *testing.T) {
	table := routesOf(t, patterns())
	if n := testing.AllocsPerRun(100, func() { table.find("/v1/apps/com.acme.shop/channels/production") }); n != 0 {
		t.Errorf("finding a route allocates %v times", n)
	}
}

func FuzzTable_Find(f *testing.F) {
	for _, path := range []string{"/v1/apps/a/channels/b", "/v1/bundles/x/files/a%2fb", "/v1//", "/livez", "/other/%", ""} {
		f.Add(path)
	}
	table := routesOf(f, patterns())
	f.Fuzz(func(t *testing.T, path string) {
		var res *Resource
		var names [3]string
		cost.Check(t, len(path), func() { res, names = table.find(path) })
		if res == nil {
			return
		}
		if res.allow == "" {
			t.Errorf("%q is found, and nothing can be done with it", path)
		}
		for _, name := range names {
			if len(name) > len(path) {
				t.Errorf("%q is longer than the path %q", name, path)
			}
		}
	})
}
