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
		"brink/store's tests import brink/node: the store stores": {
			{ImportPath: "brink/store", TestImports: []string{"brink/node"}},
		},
		"brink/store's tests import brink/node/internal/scan: the store stores": {
			{ImportPath: "brink/store", XTestImports: []string{"brink/node/internal/scan", "brink/bench/corpus"}},
		},
		"brink/store imports brink/bench/corpus: the store stores": {
			{ImportPath: "brink/store", Imports: []string{"brink/bench/corpus"}},
		},
		"brink/store imports brink/bench/cost: the store stores": {
			{ImportPath: "brink/store", Imports: []string{"brink/bench/cost"}},
		},
		"brink/bench/cost imports brink/digest: the tests of every room": {
			{ImportPath: "brink/bench/cost", Imports: []string{"brink/digest"}},
		},
		"brink/node/internal/semantics imports brink/digest: a leaf": {
			{ImportPath: "brink/node/internal/semantics", Imports: []string{"brink/digest"}},
		},
		"brink/bench imports brink/cmd/brink: nobody may": {
			{ImportPath: "brink/bench", Imports: []string{"brink/cmd/brink", "brink/node"}},
		},
		"brink/publish reaches github.com/dgraph-io/badger/v4: brink/publish -> a -> b -> github.com/dgraph-io/badger/v4": {
			{ImportPath: "brink/publish", Imports: []string{"fmt", "a"}},
			{ImportPath: "a", Imports: []string{"c", "b"}},
			{ImportPath: "b", Imports: []string{"github.com/dgraph-io/badger/v4"}},
		},
		"brink/store imports github.com/dgraph-io/badger/v4: only store/internal/database may: Badger has traps": {
			{ImportPath: "brink/store", Imports: []string{"github.com/dgraph-io/badger/v4"}},
		},
		"brink/store imports github.com/dgraph-io/badger/v4/table: only store/internal/database may: Badger has traps": {
			{ImportPath: "brink/store", XTestImports: []string{"github.com/dgraph-io/badger/v4/table"}},
		},
		"brink/store/internal/database imports brink/bundle: a database has": {
			{ImportPath: "brink/store/internal/database", Imports: []string{"brink/bundle", "brink/digest"}},
		},
		"brink/channel imports net: which release": {
			{ImportPath: "brink/channel", Imports: []string{"net", "net/url"}},
		},
		module + "/util has no rule": {
			{ImportPath: module + "/util"},
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
		{ImportPath: "brink/node/other", Imports: []string{"brink/node/internal/semantics", "brink/store", "brink/channel"}},
		{ImportPath: "brink/store", Imports: []string{"brink/store/internal/database"}},
		{ImportPath: "brink/store/internal/database", Imports: []string{"brink/digest", "github.com/dgraph-io/badger/v4"}},
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
			} else if slices.Contains(r.nor, to) {
				found = append(found, fmt.Sprintf("%s imports %s: %s", p.ImportPath, to, r.reason))
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
