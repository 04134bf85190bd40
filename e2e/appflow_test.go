package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"brink/bench/updater"
)

// ionicModules returns the folder that holds the packages of the real plugin as npm has them. They are fetched once per
// machine, and belong to no repository.
func ionicModules(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"node", "npm", "tar"} {
		need(t, tool)
	}
	folders, err := ionicPackages()
	switch {
	case err != nil && os.Getenv("BRINK_CI") == "1":
		t.Fatal(err)
	case err != nil:
		t.Skipf("the plugin cannot be fetched here: %v", err)
	}
	modules := t.TempDir()
	for name, dir := range folders {
		if err := os.Symlink(dir, filepath.Join(modules, name)); err != nil {
			t.Fatal(err)
		}
	}
	return modules
}

// ionicPackages returns the folders of the packages by their names.
var ionicPackages = sync.OnceValues(func() (map[string]string, error) {
	folders := map[string]string{}
	for name, version := range map[string]string{"cordova-plugin-ionic": "5.5.3", "cordova-js": "6.1.0"} {
		dir, err := updater.Fetch(context.Background(), name, version)
		if err != nil {
			return nil, err
		}
		folders[name] = dir
	}
	return folders, nil
})

// ionicApp is a device with an app that holds the real plugin.
type ionicApp struct {
	t       *testing.T
	node    string // the program of Node.js
	modules string
	root    string
	native  map[string]any // what the app was built with
	made    bool           // the app holds the list of its files
}

// launched is how one launch of the app went.
type launched struct {
	Outcomes []struct {
		Value json.RawMessage
		Error string
	}
	Requests []struct {
		Method, URL, Final string
		Status             int
	}
	Shows string
}

// installIonic installs an app with files of its own, which asks host for updates of production.
func installIonic(t *testing.T, modules, host string, files tree) *ionicApp {
	t.Helper()
	p := &ionicApp{t: t, node: need(t, "node"), modules: modules, root: t.TempDir(), made: true, native: map[string]any{
		"host": host, "appId": "abcd1234", "channel": production, "updateMethod": "none", "disabled": false,
		"maxVersions": 2, "minBackgroundDuration": 30,
		"binaryVersion": "1.0.0", "binaryVersionName": "1.0.0", "binaryVersionCode": 100,
	}}
	files.write(t, filepath.Join(p.root, "www"))
	return p
}

// launch starts the app, makes the calls, and ends it.
func (p *ionicApp) launch(calls ...[]any) launched {
	p.t.Helper()
	if calls == nil {
		calls = [][]any{}
	}
	config, err := json.Marshal(map[string]any{
		"modules": p.modules, "root": p.root, "native": p.native, "calls": calls, "manifest": p.made,
		"platform": "android", "device": "dev-uuid-1",
	})
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.CommandContext(p.t.Context(), p.node, filepath.Join("testdata", "appflow", "device.js"), string(config))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("the app: %v\n%s", err, &stderr)
	}
	return decode[launched](p.t, stdout.String())
}

// sync has the app look for an update, which it shows from its next launch on.
func (p *ionicApp) sync() launched {
	p.t.Helper()
	l := p.launch([]any{"sync"})
	if l.Outcomes[0].Error != "" {
		p.t.Fatalf("sync: %s", l.Outcomes[0].Error)
	}
	return l
}

// wantShown checks that the app shows exactly the files of a release from its next launch on, and beside them what its
// package alone has.
func (p *ionicApp) wantShown(files tree) launched {
	p.t.Helper()
	l := p.launch()
	got := readTree(p.t, l.Shows)
	for name := range readTree(p.t, filepath.Join(p.root, "www")) {
		if _, both := files[name]; !both {
			delete(got, name) // the plugin never removes a file of the package
		}
	}
	for name, text := range files {
		if got[name] != text {
			p.t.Errorf("%s has %d bytes, want %d", name, len(got[name]), len(text))
		}
		delete(got, name)
	}
	for name := range got {
		p.t.Errorf("%s is there, and in no release", name)
	}
	return l
}

// fetchedFiles returns the paths of the files that were fetched, sorted.
func (l launched) fetchedFiles() (names []string) {
	for _, r := range l.Requests {
		if r.Method == "FILE" {
			_, name, _ := strings.Cut(r.URL, "/bundles/")
			_, name, _ = strings.Cut(name, "/")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestAppflow_RealPluginUpdates is the life of an app that moves from Appflow, with the plugin as it comes from npm.
func TestAppflow_RealPluginUpdates(t *testing.T) {
	t.Parallel()
	onlyLong(t)
	modules := ionicModules(t)
	p, rnd := begin(t), chance(t)
	n := p.serve(t, "data", "--appflow-app", "abcd1234="+app)
	packaged := tree{
		"index.html": "packaged", "js/app.js": prose(rnd, 30<<10), "sp ace/ü.txt": "same", "img/logo.png": noise(rnd, 20<<10),
		"only in the package.txt": "packaged", "js/app.js.map": "{}",
	}
	first := packaged.with("index.html", "first").with("new/[file]'s.js", "new")
	delete(first, "only in the package.txt")
	first["js/app.js.map"] = "not for devices"
	second := first.with("index.html", "second").with("js/app.js", prose(rnd, 30<<10))
	publish := func(files tree, version string) {
		t.Helper()
		p.publish(t, n.url, files.write(t, p.file(version)), version)
	}
	shown := func(files tree) tree { return files.with("js/app.js.map", "{}") } // maps are not in the list

	// The app asks a host that is no more. One call, which its last update from Appflow makes, points it here for good.
	device := installIonic(t, modules, "http://127.0.0.1:1", packaged)
	if l := device.launch([]any{"sync"}); l.Outcomes[0].Error == "" {
		t.Error("a host that is no more answers")
	}
	publish(first, "1.0.0")
	if l := device.launch([]any{"configure", map[string]any{"host": n.url + "/appflow"}}, []any{"checkForUpdate"}); l.Outcomes[0].Error != "" ||
		!strings.Contains(string(l.Outcomes[1].Value), `"available":true`) {
		t.Errorf("after configure: %+v", l.Outcomes)
	}

	// Install: only what differs from the package is fetched.
	l := device.sync()
	if got, want := l.fetchedFiles(), []string{"index.html", "new/[file]'s.js"}; !slices.Equal(got, want) {
		t.Errorf("the install fetched %q, want %q", got, want)
	}
	device.wantShown(shown(first))
	if l := device.sync(); len(l.fetchedFiles()) != 0 || len(l.Requests) != 1 {
		t.Errorf("with nothing new: %+v", l.Requests)
	}

	// Upgrade, by launching the app twice.
	publish(second, "1.1.0")
	device.sync()
	device.wantShown(shown(second))
	if l := device.launch([]any{"getCurrentVersion"}); !strings.Contains(string(l.Outcomes[0].Value), `"buildId":`) {
		t.Errorf("the version is %s", l.Outcomes[0].Value)
	}

	// Rollback: the channel points at the release before.
	p.must(t, "channel", "rollback", "--channel", production, "--node", n.url, "--key", p.key, "--trust", p.trust,
		"--app", app)
	device.sync()
	device.wantShown(shown(first))

	// An app that updates at its launch, and holds no list of its files, fetches all and shows them at once.
	auto := installIonic(t, modules, n.url+"/appflow", packaged)
	auto.native["updateMethod"], auto.made = "auto", false
	if l := auto.wantShown(shown(first)); len(l.fetchedFiles()) != len(first)-1 {
		t.Errorf("without a list of its files it fetched %q", l.fetchedFiles())
	}

	// A channel by its name, and one by another.
	p.must(t, p.publishArgs(n.url, "1.1.0", "1.2.0", "Beta")...)
	device.launch([]any{"configure", map[string]any{"channel": "Beta"}})
	device.sync()
	device.wantShown(shown(second))
	device.launch([]any{"configure", map[string]any{"channel": production}})
	device.sync()
	device.wantShown(shown(first)) // lower, and yet what that channel has
}

// TestAppflow_RealPluginStaysWhereItIs has the plugin meet every answer that says no.
func TestAppflow_RealPluginStaysWhereItIs(t *testing.T) {
	t.Parallel()
	onlyLong(t)
	modules := ionicModules(t)
	p := begin(t)
	n := p.serve(t, "data", "--appflow-app", "abcd1234="+app)
	packaged := tree{"index.html": "packaged"}
	p.publish(t, n.url, tree{"index.html": "first"}.write(t, p.file("first")), "1.0.0")
	p.must(t, p.publishArgs(n.url, tree{"index.html": "odd", "a#b.js": "odd"}.write(t, p.file("odd")), "1.0.0", "Odd")...)

	device := installIonic(t, modules, n.url+"/appflow", packaged)
	tells := func(want string, calls ...[]any) {
		t.Helper()
		l := device.launch(append(calls, []any{"sync"})...)
		if got := l.Outcomes[len(calls)].Error; !strings.HasPrefix(got, want) {
			t.Errorf("sync: %q, want %q", got, want)
		}
		device.wantShown(packaged)
	}
	set := func(name, value string) []any { return []any{"configure", map[string]any{name: value}} }
	tells("Error Status 404: App not found", set("appId", "ffff0000"))
	tells("Error Status 404: Channel not found", set("appId", "abcd1234"), set("channel", "None"))
	tells("Error Status 400: Version 1.0.0: the plugin cannot fetch the file a#b.js", set("channel", "Odd"))
	tells("Error Status 404: There is nothing at this path", set("channel", production), set("host", n.url+"/appflow/more"))
	p.must(t, "channel", "set", "--channel", production, "--node", n.url, "--key", p.key, "--trust", p.trust, "--app", app,
		"--platforms", "ios")
	if l := device.launch(set("host", n.url+"/appflow"), []any{"checkForUpdate"}); !strings.Contains(string(l.Outcomes[1].Value), `"available":false`) {
		t.Errorf("a channel for others: %+v", l.Outcomes)
	}
	p.must(t, "channel", "set", "--channel", production, "--node", n.url, "--key", p.key, "--trust", p.trust, "--app", app,
		"--platforms", "android")

	// A node that fails, and one that ends on the way: nothing changes, and the next sync starts over.
	for name, breaks := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"Error Status 503": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			http.Error(w, "the node is stopping", http.StatusServiceUnavailable)
			return true
		},
		"HTTP 404": func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/index.html") {
				return false
			}
			http.NotFound(w, r)
			return true
		},
	} {
		front := httptest.NewServer(before(t, n.url, breaks))
		tells(name, set("host", front.URL+"/appflow"))
		front.Close()
	}
	device.launch(set("host", n.url+"/appflow"))
	device.sync()
	device.wantShown(tree{"index.html": "first"})
}

// before answers with what breaks says, and passes all else on to a node.
func before(t *testing.T, node string, breaks func(http.ResponseWriter, *http.Request) bool) http.Handler {
	t.Helper()
	to, err := url.Parse(node)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !breaks(w, r) {
			proxy.ServeHTTP(w, r)
		}
	})
}
