package e2e_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"slices"
	"strings"
	"testing"
)

// capgoNode starts a node with an operators' listener, and a gate before it.
func capgoNode(t *testing.T) (*program, *node, *gate) {
	t.Helper()
	onlyLong(t)
	p := begin(t)
	n := p.serve(t, p.file("data"), "--admin", "127.0.0.1:0")
	return p, n, newGate(t, n)
}

// capgoApp returns the files of an app, some of which brotli makes smaller.
func capgoApp(t *testing.T) tree {
	t.Helper()
	rnd := chance(t)
	return tree{
		"index.html":          "<!doctype html><title>shop</title>",
		"js/vendor.js":        prose(rnd, 60_000),
		"js/main.js":          prose(rnd, 30_000),
		"img/hero.webp":       noise(rnd, 90_000),
		"img/the logo ü.png":  noise(rnd, 9_000),
		"css/small.css":       "body{}",
		"assets/deep/no.json": "{}",
	}
}

// brotli has the node make the brotli of a file, and waits for it.
func brotli(t *testing.T, n *node, bundle string, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, status := get(t, n.url+"/capgo/files/"+bundle+"/"+name+".br"); status != 200 {
			t.Fatalf("%s.br: status %d", name, status)
		}
	}
}

// goes takes a device to the next version: it is downloaded while the app is open, and installed when it is left.
func goes(t *testing.T, phone *phone, want tree) {
	t.Helper()
	phone.say("foreground")
	downloads(t, phone)
	installs(t, phone, want)
}

func downloads(t *testing.T, phone *phone) {
	t.Helper()
	if done := phone.event("planned", "downloadFailed", "backendRefused", "noNeedUpdate"); done.Event != "planned" {
		t.Fatalf("the device said: %s %s", done.Event, done.Data)
	}
}

func installs(t *testing.T, phone *phone, want tree) {
	t.Helper()
	phone.say("background")
	if got := phone.shown(phone.event("path")); !got.equal(want) {
		t.Fatalf("the device shows something else than was published (-want +got):\n%.3000s", want.difference(got))
	}
	phone.call("notifyAppReady", "{}")
}

// fetchedFiles returns the names of the files that devices fetched one by one.
func fetchedFiles(g *gate) []string {
	var names []string
	for _, one := range g.since("/capgo/files/") {
		rest := strings.TrimPrefix(one.path, "/capgo/files/")
		_, name, _ := strings.Cut(rest, "/")
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestCapgo_UpdatesFileByFile(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	for _, version := range []string{plugin8, plugin7, plugin6, plugin5} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			plugin(t, version)
			p, n, g := capgoNode(t)
			first := capgoApp(t)
			made := p.publish(t, n.url, first.write(t, p.file("first")), "1.1.0")
			brotli(t, n, made.Bundle, "js/vendor.js", "js/main.js")
			phone := boot(t, version, p.file("device"), g, nil)
			goes(t, phone, first)
			want := []string{
				"assets/deep/no.json", "css/small.css", "img/hero.webp", "img/the logo ü.png", "index.html",
				"js/main.js.br", "js/vendor.js.br",
			}
			if got := fetchedFiles(g); !slices.Equal(got, want) {
				t.Errorf("the device fetched %q, want %q", got, want)
			}
			g.action(t, "download_complete")
			g.action(t, "set")

			second := first.with("js/main.js", first["js/main.js"]+"// more").with("new.txt", "new")
			made = p.publish(t, n.url, second.write(t, p.file("second")), "1.2.0")
			brotli(t, n, made.Bundle, "js/vendor.js", "js/main.js")
			goes(t, phone, second)
			if got := fetchedFiles(g); !slices.Equal(got, []string{"js/main.js.br", "new.txt"}) {
				t.Errorf("of the second release the device fetched %q", got)
			}

			phone.say("foreground")
			phone.event("noNeedUpdate")
			answer := g.since("/updates")
			if len(answer) == 0 || !strings.Contains(answer[len(answer)-1].answer, `"up_to_date"`) {
				t.Errorf("a device that has it all was told %+v", answer)
			}
			if stats, status := get(t, n.admin+"/stats?app="+app); status != 200 || !strings.Contains(stats, `"set"`) {
				t.Errorf("the statistics are %d %s", status, stats)
			}
		})
	}
}

func TestCapgo_ResumesFilesThatWereCut(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	plugin(t, plugin8)
	p, n, g := capgoNode(t)
	files := capgoApp(t)
	p.publish(t, n.url, files.write(t, p.file("www")), "1.1.0")
	phone := boot(t, plugin8, p.file("device"), g, nil)
	g.cut("/img/hero.webp", 50_000)
	phone.say("foreground")
	phone.event("downloadFailed")
	g.action(t, "download_manifest_file_fail")
	g.since("")
	phone.say("background")
	phone.event("background")
	goes(t, phone, files)
	again := g.since("/capgo/files/")
	if len(again) != 1 || again[0].status != 206 || !strings.HasPrefix(again[0].span, "bytes=") || again[0].span == "bytes=0-" {
		t.Errorf("the second attempt fetched %+v, want the rest of the one file that was cut", again)
	}
}

func TestCapgo_UpdatesByZip(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	for _, version := range []string{pluginOld, plugin8} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			plugin(t, version)
			p, n, g := capgoNode(t)
			// The plugin would cut off the end of this name, so that no device gets the release file by file.
			first := capgoApp(t).with("js/main.js.br", "not to be decoded")
			args := append(p.publishArgs(n.url, first.write(t, p.file("first")), "1.1.0", production), "--zip")
			p.must(t, args...)
			phone := boot(t, version, p.file("device"), g, nil)
			parts := []int{200}
			if version == plugin8 { // the other one takes what was cut for the whole, on this JVM: Android says that it was cut
				g.cut("/bundle.zip", 40_000)
				parts = []int{200, 206}
			}
			goes(t, phone, first)
			var got []int
			for _, one := range g.since("/bundle.zip") {
				got = append(got, one.status)
			}
			if !slices.Equal(got, parts) {
				t.Errorf("the zip was answered with %d, want %d", got, parts)
			}
			g.action(t, "set")

			second := first.with("index.html", "<title>two</title>")
			p.publish(t, n.url, second.write(t, p.file("second")), "1.2.0") // --zip goes on by itself
			goes(t, phone, second)
		})
	}
}

func TestCapgo_GoesBackWhenTheAppDoesNotReport(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	for _, version := range []string{plugin8, pluginOld} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			plugin(t, version)
			p, n, g := capgoNode(t)
			files := capgoApp(t)
			args := append(p.publishArgs(n.url, files.write(t, p.file("www")), "1.1.0", production), "--zip")
			p.must(t, args...)
			phone := boot(t, version, p.file("device"), g, map[string]any{"appReadyTimeout": 1000})
			phone.say("foreground")
			downloads(t, phone)
			phone.say("background")
			phone.event("path")
			phone.event("updateFailed")
			if back := phone.event("path"); back.Path != "public" {
				t.Errorf("the device went to %s, want back to what its app came with", back.Path)
			}
			g.action(t, "update_fail")
		})
	}
}

func TestCapgo_GoesDownWhenAReleaseIsTakenBack(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	for _, version := range []string{plugin8, pluginOld} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			plugin(t, version)
			p, n, g := capgoNode(t)
			first := capgoApp(t)
			second := first.with("index.html", "<title>two</title>")
			channel := []string{"--node", n.url, "--key", p.key, "--trust", p.trust, "--app", app, "--channel", production}
			args := append(p.publishArgs(n.url, first.write(t, p.file("first")), "1.1.0", production), "--zip")
			p.must(t, args...)
			phone := boot(t, version, p.file("device"), g, nil)
			goes(t, phone, first)
			p.publish(t, n.url, second.write(t, p.file("second")), "1.2.0")
			goes(t, phone, second)

			p.must(t, append([]string{"channel", "rollback"}, channel...)...)
			goes(t, phone, first)

			p.must(t, append([]string{"channel", "revert"}, channel...)...)
			phone.shut()
			reverts(t, boot(t, version, p.file("device"), g, nil), g)
		})
	}
}

// reverts checks that a device goes back to what its app came with, and then is content.
func reverts(t *testing.T, phone *phone, g *gate) {
	t.Helper()
	phone.say("foreground")
	downloads(t, phone) // there is nothing to download, and the way is the same
	phone.say("background")
	phone.event("path")
	phone.call("notifyAppReady", "{}")
	if got := phone.call("current", "{}"); !strings.Contains(got, `"builtin"`) {
		t.Errorf("the device runs %s", got)
	}
	g.since("")
	phone.say("foreground")
	phone.event("noNeedUpdate", "backendRefused")
	told := g.since("/updates")
	if len(told) == 0 || !strings.Contains(told[len(told)-1].answer, "already_on_builtin") {
		t.Errorf("a device on what its app came with was told %+v", told)
	}
}

func TestCapgo_SaysWhatIsNotForADevice(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	plugin(t, plugin8)
	p, n, g := capgoNode(t)
	p.publish(t, n.url, capgoApp(t).write(t, p.file("www")), "2.0.0")
	channel := []string{"--node", n.url, "--key", p.key, "--trust", p.trust, "--app", app, "--channel", production}
	set := func(flags ...string) { p.must(t, append(append([]string{"channel", "set"}, channel...), flags...)...) }
	set("--max-step", "minor")
	phone := boot(t, plugin8, p.file("device"), g, nil)
	phone.say("foreground")
	phone.event("breakingAvailable")
	phone.say("background")
	phone.event("background")
	for _, step := range []struct{ flags, want string }{
		{"--max-step=major --devices=false", `"disable_device"`},
		{"--devices --production=false", `"disable_prod_build"`},
		{"--production --private", `"no_channel"`},
		{"--private=false --platforms=ios", `"no_channel"`},
	} {
		set(strings.Fields(step.flags)...)
		g.since("")
		phone.say("foreground")
		phone.event("noNeedUpdate", "downloadFailed")
		phone.say("background")
		phone.event("background")
		told := g.since("/updates")
		if len(told) != 1 || !strings.Contains(told[0].answer, step.want) {
			t.Errorf("%s: the device was told %+v, want %s", step.flags, told, step.want)
		}
	}
}

func TestCapgo_ChoosesChannels(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	for _, version := range []string{plugin8, pluginOld} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			plugin(t, version)
			p, n, g := capgoNode(t)
			stable := capgoApp(t)
			next := stable.with("index.html", "<title>beta</title>")
			p.must(t, append(p.publishArgs(n.url, stable.write(t, p.file("stable")), "1.1.0", production), "--zip")...)
			p.must(t, append(p.publishArgs(n.url, next.write(t, p.file("next")), "1.2.0", beta), "--zip")...)
			channel := func(name string, flags ...string) {
				p.must(t, append([]string{"channel", "set", "--node", n.url, "--key", p.key, "--trust", p.trust, "--app", app, "--channel", name},
					flags...)...)
			}
			channel(production, "--default-for", "android,ios")
			phone := boot(t, version, p.file("device"), g, nil)
			refused := phone.ask("setChannel", `{"channel":"beta"}`)
			if !strings.Contains(string(refused.Rejected), "channel_self_set_not_allowed") {
				t.Errorf("a channel that cannot be chosen: %s %s", refused.Resolved, refused.Rejected)
			}
			channel(beta, "--self-assign")
			channel(production, "--self-assign")
			list := phone.call("listChannels", "{}")
			if !strings.Contains(list, beta) || !strings.Contains(list, production) {
				t.Errorf("the channels are %s", list)
			}
			if got := phone.call("getChannel", "{}"); !strings.Contains(got, `"production"`) {
				t.Errorf("before the choice: %s", got)
			}
			phone.call("setChannel", `{"channel":"beta"}`)
			if got := phone.call("getChannel", "{}"); !strings.Contains(got, `"beta"`) {
				t.Errorf("after the choice: %s", got)
			}
			phone.shut()
			n.kill() // what an old plugin has chosen is durable
			n = p.serve(t, p.file("data"), "--admin", "127.0.0.1:0", "--listen", strings.TrimPrefix(n.url, "http://"))
			phone = boot(t, version, p.file("device"), g, nil)
			goes(t, phone, next)
			phone.call("unsetChannel", "{}")
			if got := phone.call("getChannel", "{}"); !strings.Contains(got, `"production"`) {
				t.Errorf("after it was given up: %s", got)
			}
		})
	}
}

func TestCapgo_UpdatesWhatIsEncrypted(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	for version, form := range map[string]string{plugin8: "hex", pluginOld: "base64"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			plugin(t, version)
			p, n, g := capgoNode(t)
			public := capgoKey(t, p.file("capgo.key"))
			first := capgoApp(t)
			args := append(p.publishArgs(n.url, first.write(t, p.file("first")), "1.1.0", production),
				"--capgo-key", p.file("capgo.key"), "--capgo-checksum-form", form)
			p.must(t, args...)
			phone := boot(t, version, p.file("device"), g, map[string]any{"publicKey": public})
			goes(t, phone, first)
			if list := fetchedFiles(g); form == "hex" == slices.Contains(list, "bundle.zip") {
				t.Errorf("the device fetched %q", list)
			}
		})
	}
}

// capgoKey makes a key as Capgo's CLI does, writes it to a file and returns the public one as apps hold it.
func capgoKey(t *testing.T, file string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(file, private, 0o600); err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{
		Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey),
	}))
}
