package brink_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// module is the prefix of every package of this repository.
const module = "brink"

// anything, as what a room may import, sets no bound inside the repository.
const anything = "*"

// rule says what one room may import. A room is a package, or a folder with all that is below it.
type rule struct {
	room   string   // path below the module; the longest one that fits a package is its rule
	may    []string // rooms of this repository that it may import; packages of the same room always may be
	never  []string // prefixes of packages that it must not reach, not even through others
	reason string
}

// servers are the modules that only the running edge may link: they cost a device or a publisher megabytes, and bring
// in what only a server may do.
func servers() []string {
	return []string{"github.com/valyala/fasthttp", "github.com/dgraph-io", "github.com/hashicorp/memberlist"}
}

// outside is what a pure package must not reach.
func outside() []string { return append(servers(), "net/http", "database/sql", "os/exec") }

// rules is the direction of every import in this repository: arrows point down only.
func rules() []rule {
	return []rule{
		{
			room: "", may: nil,
			reason: "the root holds words, no code",
		},
		{
			room: "digest", may: nil, never: outside(),
			reason: "everything is named by a digest, so it can know nothing of what it names",
		},
		{
			room: "internal/durable", may: nil, never: outside(),
			reason: "a file outlives power loss or not, whatever it says: whoever writes one may ask, and it asks nobody",
		},
		{
			room: "bundle", may: []string{"digest"}, never: outside(),
			reason: "a bundle is a pure function of its files, on a device as on a node: no network, no database",
		},
		{
			room: "channel", may: []string{"digest"}, never: outside(),
			reason: "who gets what is decided by pure functions of signed records: no network, no database",
		},
		{
			room: "protocol", may: []string{"bundle", "channel", "digest"}, never: servers(),
			reason: "the shapes on the wire are shared by server and client, so they can belong to neither",
		},
		{
			room: "publish", may: []string{"protocol", "bundle", "channel", "digest"}, never: servers(),
			reason: "the publisher's side talks to a node over HTTP and links no part of it",
		},
		{
			room: "client", may: []string{"protocol", "bundle", "channel", "digest", "internal/durable"}, never: servers(),
			reason: "the device's side knows no server package",
		},
		{
			room: "store", may: []string{"bundle", "channel", "digest", "internal/durable"},
			reason: "the store keeps and checks; who asks, and over which protocol, is not its concern",
		},
		{
			room: "store/database", may: []string{"digest"},
			reason: "what is kept, and what may be dropped, is the store's to know: a database has keys and bytes",
		},
		{
			room: "origin", may: []string{"store", "protocol", "bundle", "channel", "digest"},
			reason: "filling ends in the store's one door and serves whoever asks, so it knows nobody above it",
		},
		{
			room:   "gossip",
			may:    []string{"origin", "store", "protocol", "bundle", "channel", "digest", "internal/durable"},
			reason: "announcements are small and say nothing of how a node serves",
		},
		{
			room:   "node",
			may:    []string{"gossip", "origin", "store", "protocol", "bundle", "channel", "digest", "internal/durable"},
			reason: "the running edge wires the rooms below it, and nothing but a program wires the edge",
		},
		{
			room: "node/semantics", may: nil,
			reason: "the rules of HTTP are a leaf of pure functions, tested without a node",
		},
		{
			room: "node/serve",
			may: []string{
				"node/semantics", "node/wire", "store", "protocol", "bundle", "channel", "digest",
			},
			reason: "requests and answers are the ground of a node: they do not know what is served",
		},
		{
			room: "node/capgo", may: []string{"node/scan", "protocol", "bundle", "channel", "digest"}, never: servers(),
			reason: "a device protocol translates to channel.Resolve and back, and knows neither store nor server",
		},
		{
			room: "node/appflow", may: []string{"protocol", "bundle", "channel", "digest"}, never: servers(),
			reason: "a device protocol translates to channel.Resolve and back, and knows neither store nor server",
		},
		{
			room: "node/scan", may: nil, never: outside(),
			reason: "reading plain JSON is a leaf: it does not know what the text means",
		},
		{
			room: "node/tally", may: nil, never: outside(),
			reason: "counting is a leaf: it knows neither who counts nor where it is kept",
		},
		{
			room: "node/wire", may: nil,
			reason: "connections and their pacing are a leaf: they carry bytes and do not know which",
		},
		{
			room: "bench/corpus", may: nil, never: servers(),
			reason: "the tests of every room may import the corpus, so it can import none of them",
		},
		{
			room: "bench/cost", may: nil, never: outside(),
			reason: "the tests of every room may import the measure of cost, so it can import none of them",
		},
		{
			room: "bench", may: []string{anything},
			reason: "what measures must reach everything",
		},
		{
			room: "e2e", may: []string{anything},
			reason: "tests of the whole must reach everything",
		},
		{
			room: "demo", may: []string{anything},
			reason: "a demonstration of the whole must reach everything",
		},
		{
			room: "cmd", may: []string{anything},
			reason: "a program is where the rooms come together",
		},
	}
}

// seal says that a package, or a folder of them, is imported by one room alone. Others may reach it through that room.
type seal struct {
	prefix string
	room   string
	reason string
}

// seals are what has one keeper each.
func seals() []seal {
	return []seal{
		{
			prefix: "github.com/dgraph-io/badger", room: "store/database",
			reason: "Badger has traps that end a process or lose data, and each has its guard in one place",
		},
		{
			prefix: module + "/store/database", room: "store",
			reason: "bytes from a database are not yet verified, and the store's one door is where they are",
		},
	}
}

// nobodys are the rooms that no other room may import, not even one that may import anything.
func nobodys() []string { return []string{"cmd", "e2e", "demo"} }

// tested are the rooms that any test may import beside what its package may: the corpus, the measure of cost, and the
// publisher's side, by which the tests of a node get their releases as real nodes do.
func tested() []string { return []string{"bench/corpus", "bench/cost", "publish"} }

// goPackage is what this test needs of `go list -json`.
type goPackage struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func TestImports_PointDownOnly(t *testing.T) {
	packages := list(t)
	if len(packages) == 0 {
		t.Fatal("go list found no package")
	}
	for _, fault := range faults(packages) {
		t.Error(fault)
	}
}

// The checker itself must be able to fail: each of these made-up trees has the one fault that is named.
func TestFaults_FindEveryKindOfArrowThatPointsUp(t *testing.T) {
	for want, packages := range map[string][]goPackage{
		"brink/client imports brink/store: the device's side": {
			{ImportPath: "brink/client", Imports: []string{"brink/store"}},
		},
		"brink/client/disk imports brink/store: the device's side": {
			{ImportPath: "brink/client/disk", Imports: []string{"brink/store"}},
		},
		"brink/store's tests import brink/node: the store keeps": {
			{ImportPath: "brink/store", TestImports: []string{"brink/node"}},
		},
		"brink/store's tests import brink/node/capgo: the store keeps": {
			{ImportPath: "brink/store", XTestImports: []string{"brink/node/capgo", "brink/bench/corpus"}},
		},
		"brink/store imports brink/bench/corpus: the store keeps": {
			{ImportPath: "brink/store", Imports: []string{"brink/bench/corpus"}},
		},
		"brink/store imports brink/bench/cost: the store keeps": {
			{ImportPath: "brink/store", Imports: []string{"brink/bench/cost"}},
		},
		"brink/bench/cost imports brink/digest: the tests of every room": {
			{ImportPath: "brink/bench/cost", Imports: []string{"brink/digest"}},
		},
		"brink/node/semantics imports brink/digest: the rules of HTTP": {
			{ImportPath: "brink/node/semantics", Imports: []string{"brink/digest"}},
		},
		"brink/bench imports brink/cmd/brink: nobody may": {
			{ImportPath: "brink/bench", Imports: []string{"brink/cmd/brink", "brink/node"}},
		},
		"brink/publish reaches github.com/dgraph-io/badger/v4: brink/publish -> a -> b -> github.com/dgraph-io/badger/v4": {
			{ImportPath: "brink/publish", Imports: []string{"fmt", "a"}},
			{ImportPath: "a", Imports: []string{"c", "b"}},
			{ImportPath: "b", Imports: []string{"github.com/dgraph-io/badger/v4"}},
		},
		"brink/store imports github.com/dgraph-io/badger/v4: only store/database may: Badger has traps": {
			{ImportPath: "brink/store", Imports: []string{"github.com/dgraph-io/badger/v4"}},
		},
		"brink/store imports github.com/dgraph-io/badger/v4/table: only store/database may: Badger has traps": {
			{ImportPath: "brink/store", XTestImports: []string{"github.com/dgraph-io/badger/v4/table"}},
		},
		"brink/node imports brink/store/database: only store may: bytes from a database": {
			{ImportPath: "brink/node", Imports: []string{"brink/store/database"}},
		},
		"brink/store/database imports brink/bundle: what is kept": {
			{ImportPath: "brink/store/database", Imports: []string{"brink/bundle", "brink/digest"}},
		},
		"brink/util has no rule": {
			{ImportPath: "brink/util"},
		},
	} {
		got := faults(packages)
		if len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("faults = %q, want one that begins with %q", got, want)
		}
	}
}

func TestFaults_LetWhatPointsDownPass(t *testing.T) {
	got := faults([]goPackage{
		{ImportPath: "brink/digest", Imports: []string{"github.com/zeebo/blake3"}},
		{ImportPath: "brink/bundle", Imports: []string{"brink/digest"}, TestImports: []string{"brink/bench/cost"}},
		{ImportPath: "brink/store", XTestImports: []string{"brink/bench/corpus"}},
		{ImportPath: "brink/node/other", Imports: []string{"brink/node/semantics", "brink/store", "brink/channel"}},
		{ImportPath: "brink/store", Imports: []string{"brink/store/database"}},
		{ImportPath: "brink/store/database", Imports: []string{"brink/digest", "github.com/dgraph-io/badger/v4"}},
		{ImportPath: "brink/client/disk", Imports: []string{"brink/client", "net/http"}},
		{ImportPath: "brink/cmd/brink", Imports: []string{"brink/node", "brink/client", "brink/publish"}},
	})
	if diff := cmp.Diff([]string(nil), got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

// faults returns a sentence for every import that the rules do not allow.
func faults(packages []goPackage) []string {
	var found []string
	imports := map[string][]string{}
	for _, p := range packages {
		imports[p.ImportPath] = p.Imports
	}
	for _, p := range packages {
		path, ours := room(p.ImportPath)
		if !ours {
			continue
		}
		r, ok := ruleOf(path)
		if !ok {
			found = append(found, fmt.Sprintf("%s has no rule: add one to the table, with its reason", p.ImportPath))
			continue
		}
		for _, to := range p.Imports {
			if why := r.forbids(to, nil); why != "" {
				found = append(found, fmt.Sprintf("%s imports %s: %s", p.ImportPath, to, why))
			}
		}
		for _, to := range append(p.TestImports, p.XTestImports...) {
			if why := r.forbids(to, tested()); why != "" {
				found = append(found, fmt.Sprintf("%s's tests import %s: %s", p.ImportPath, to, why))
			}
		}
		for _, to := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			for _, s := range seals() {
				if within(to, s.prefix) && !within(path, s.room) {
					found = append(found, fmt.Sprintf("%s imports %s: only %s may: %s", p.ImportPath, to, s.room, s.reason))
				}
			}
		}
		for _, prefix := range r.never {
			if chain := reach(imports, p.ImportPath, prefix); chain != nil {
				found = append(found, fmt.Sprintf("%s reaches %s: %s: %s",
					p.ImportPath, chain[len(chain)-1], strings.Join(chain, " -> "), r.reason))
			}
		}
	}
	return found
}

// forbids returns why the room may not import the package to, or "" if it may.
func (r rule) forbids(to string, also []string) string {
	path, ours := room(to)
	if !ours || r.room != "" && within(path, r.room) {
		return ""
	}
	for _, n := range nobodys() {
		if within(path, n) {
			return "nobody may: it is where everything comes together"
		}
	}
	for _, allowed := range append(r.may, also...) {
		if allowed == anything || within(path, allowed) {
			return ""
		}
	}
	return r.reason
}

// reach returns the shortest way along imports from a package to one below the prefix, or nil.
func reach(imports map[string][]string, from, prefix string) []string {
	cameFrom := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if within(at, prefix) {
			var chain []string
			for ; at != ""; at = cameFrom[at] {
				chain = append(chain, at)
			}
			slices.Reverse(chain)
			return chain
		}
		for _, to := range imports[at] {
			if _, seen := cameFrom[to]; !seen {
				cameFrom[to] = at
				queue = append(queue, to)
			}
		}
	}
	return nil
}

func ruleOf(path string) (rule, bool) {
	var best rule
	found := false
	for _, r := range rules() {
		if (r.room == path || r.room != "" && within(path, r.room)) && len(r.room) >= len(best.room) {
			best, found = r, true
		}
	}
	return best, found
}

// room returns the path of a package below the module, and whether it is a package of this repository.
func room(importPath string) (string, bool) {
	if importPath == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// within reports whether path is the folder or below it.
func within(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

// list returns the packages of this repository and everything they import.
func list(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports,TestImports,XTestImports",
		"./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}
