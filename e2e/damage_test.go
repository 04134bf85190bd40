package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"brink/digest"
	"brink/protocol"
)

// harm is one thing that happens to a file while nobody looks.
type harm struct {
	file   string // below the data folder
	what   string
	offset int64
	size   int64 // bytes, where it matters
	bit    byte
}

func (h harm) String() string {
	return fmt.Sprintf("%s: %s at %d (%d bytes, bit %08b)", h.file, h.what, h.offset, h.size, h.bit)
}

// draw draws what happens to one of the files: a flipped bit, a page of zeros, or an end that is missing. Every file has
// the same chance, and in it every byte that was ever written: most of a memory-mapped file is a hole.
func draw(t *testing.T, rnd *mrand.Rand, data string, files []string) harm {
	t.Helper()
	h := harm{file: files[rnd.IntN(len(files))], bit: 1 << rnd.IntN(8)}
	content, err := os.ReadFile(filepath.Join(data, h.file))
	if err != nil {
		t.Fatal(err)
	}
	used := int64(len(bytes.TrimRight(content, "\x00")))
	if used == 0 || rnd.IntN(8) == 0 {
		used = int64(len(content))
	}
	if used == 0 {
		return harm{file: h.file, what: "nothing, it is empty"}
	}
	h.offset = rnd.Int64N(used)
	switch rnd.IntN(6) {
	case 0:
		h.what = "cut"
	case 1:
		h.what, h.size = "zeroed page", min(4096, int64(len(content))-h.offset)
	default:
		h.what = "flipped bit"
	}
	return h
}

func (h harm) do(t *testing.T, data string) {
	t.Helper()
	path := filepath.Join(data, h.file)
	var err error
	switch h.what {
	case "cut":
		err = os.Truncate(path, h.offset)
	case "zeroed page":
		err = overwrite(path, h.offset, make([]byte, h.size))
	case "flipped bit":
		var content []byte
		if content, err = os.ReadFile(path); err == nil {
			err = overwrite(path, h.offset, []byte{content[h.offset] ^ h.bit})
		}
	}
	if err != nil {
		t.Fatalf("%v: %v", h, err)
	}
}

func overwrite(path string, offset int64, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(content, offset)
	return errors.Join(err, file.Close())
}

// filesOf returns the files of a data folder, without the lock, which holds nothing.
func filesOf(t *testing.T, data string) (names []string) {
	t.Helper()
	for name := range walk(t, data) {
		if name != "LOCK" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

func walk(t *testing.T, dir string) map[string]fs.FileInfo {
	t.Helper()
	found := map[string]fs.FileInfo{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		name, _ := filepath.Rel(dir, path) // both are absolute or neither is
		found[name], err = entry.Info()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// replicate copies a data folder. Holes stay holes.
func replicate(t *testing.T, from, to string) {
	t.Helper()
	for name, info := range walk(t, from) {
		content, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, name)
		used := bytes.TrimRight(content, "\x00")
		err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, used, 0o600), os.Truncate(path, info.Size()))
		if err != nil {
			t.Fatal(err)
		}
	}
}

// smallFiles make the node's files small, so that copies of them are made in no time.
var smallFiles = []string{"--quota", "128MiB"}

// TestDamage_NeverReachesADevice harms a data folder in one place after the other, each time a fresh copy. A node may
// refuse it and say why, or serve; then every answer is right or says no, and publishing again makes it whole.
func TestDamage_NeverReachesADevice(t *testing.T) {
	t.Parallel()
	p, rnd := begin(t), chance(t)
	releases := []state{{version: "1.0.0", files: webApp(rnd, 400<<10)}}
	releases = append(releases,
		state{version: "1.1.0", files: releases[0].files.with("js/main.js", prose(rnd, 50<<10))},
		state{version: "1.2.0", files: releases[0].files.with("img/hero.webp", noise(rnd, 150<<10))})
	n := p.serve(t, "closed", smallFiles...)
	for _, r := range releases {
		r.files.write(t, p.file(r.version))
		p.publish(t, n.url, r.version, r.version)
		p.fetch(t, n.url, "of-"+r.version)
	}
	replicate(t, p.file("closed"), p.file("killed")) // as kill -9 leaves it
	n.stop(t)
	bundles := p.bundles(t, releases)

	ended := map[string]int{}
	for i := range rounds(4, 300) {
		origin := []string{"closed", "killed"}[i%2]
		data := fmt.Sprint("data", i)
		replicate(t, p.file(origin), p.file(data))
		h := draw(t, rnd, p.file(data), filesOf(t, p.file(data)))
		h.do(t, p.file(data))
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("round %d, a folder that was %s, %v", i, origin, h)
				}
			}()
			ended[p.afterDamage(t, data, releases, bundles)]++
		})
		if err := errors.Join(os.RemoveAll(p.file(data)), os.RemoveAll(p.file("devices"))); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%v", ended)
}

// publishedBundle is a bundle as its publisher knows it.
type publishedBundle struct {
	archive, index []byte
}

// bundles returns the archives and indexes of releases as the program makes them of the folders, without a node.
func (p *program) bundles(t *testing.T, releases []state) map[string]publishedBundle {
	t.Helper()
	known := map[string]publishedBundle{}
	for _, r := range releases {
		var one publishedBundle
		one.archive, one.index = pack(t, p.file(r.version))
		known[digest.Sum(one.archive).String()] = one
	}
	return known
}

// afterDamage starts a node on a harmed folder, and returns a word for how it went.
func (p *program) afterDamage(t *testing.T, data string, releases []state, bundles map[string]publishedBundle) string {
	n, ready := p.tryServe(t, data, smallFiles...)
	word := "served"
	if !ready {
		word = "refused"
		wantRefusal(t, n)
		// What the error says to move aside must be enough to go on.
		if n, ready = p.moveAside(t, n, data); !ready {
			return "refused for good"
		}
	}
	defer n.kill()
	wantRightAnswers(t, n, bundles)

	// A device that has the first release, and one that has nothing.
	newest := releases[len(releases)-1]
	for _, device := range []string{"fresh", "of-" + releases[0].version} {
		dir := filepath.Join("devices", data, device)
		if device != "fresh" {
			replicate(t, p.file(device), p.file(dir)) // without the link, which the device makes again
		}
		o := p.run(t, p.fetchArgs(n.url, dir)...)
		files, err := tryReadTree(filepath.Join(p.file(dir), "current"))
		switch {
		case o.code == 0 && (err != nil || !isOneOf(files, releases)):
			t.Errorf("fetch ended well, and the device has something else than was published (%v)", err)
		case err == nil && !isOneOf(files, releases):
			t.Errorf("fetch ended with %d, and the device has something else than was published", o.code)
		case o.code != 0:
			word += ", a fetch failed"
		}
	}

	o := p.run(t, p.publishArgs(n.url, newest.version, newest.version, production)...)
	if o.code != 0 {
		t.Errorf("publishing again ended with %d: %s\n%s", o.code, o.stderr, n.log())
		return word + ", not healed"
	}
	dir := filepath.Join("devices", data, "healed")
	p.fetch(t, n.url, dir)
	wantTree(t, p.file(dir), newest.files)
	wantRightAnswers(t, n, bundles)
	return word
}

func isOneOf(files tree, releases []state) bool {
	for _, r := range releases {
		if files.equal(r.files) {
			return true
		}
	}
	return false
}

// wantRefusal checks that a node that did not start has said why in words.
func wantRefusal(t *testing.T, n *node) {
	t.Helper()
	if n.code <= 0 || n.code > 8 {
		t.Errorf("the node ended with %d", n.code)
	}
	if !strings.Contains(n.log(), "brink: ") {
		t.Errorf("the node did not say why it ended:\n%s", n.log())
	}
}

// aside matches what an error says to move or remove.
var aside = regexp.MustCompile(`(?i)(?:move|remove) (/[^ ,:;]+)`)

// moveAside does what the error of a node says, as often as it says so, and starts it again.
func (p *program) moveAside(t *testing.T, n *node, data string) (*node, bool) {
	t.Helper()
	for range 3 {
		said := aside.FindStringSubmatch(n.log())
		if said == nil {
			t.Logf("the node says nothing of what to do:\n%s", n.log())
			return n, false
		}
		if !strings.HasPrefix(said[1], p.file(data)) {
			t.Fatalf("the node says to move %s", said[1])
		}
		if err := os.Rename(said[1], filepath.Join(t.TempDir(), "aside")); err != nil {
			t.Fatal(err)
		}
		var ready bool
		if n, ready = p.tryServe(t, data, smallFiles...); ready {
			return n, true
		}
		wantRefusal(t, n)
	}
	t.Errorf("the node does not start after what it said was done:\n%s", n.log())
	return n, false
}

// wantRightAnswers asks for everything, in every way, and checks that what comes whole is right.
func wantRightAnswers(t *testing.T, n *node, bundles map[string]publishedBundle) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	get := func(path, accept string) ([]byte, http.Header, bool) {
		req, err := http.NewRequest(http.MethodGet, n.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", accept)
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return nil, nil, false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			var said protocol.Problem
			if err != nil || json.Unmarshal(body, &said) != nil || said.Code == "" {
				t.Errorf("%s: status %d with %q, %v", path, resp.StatusCode, body, err)
			}
			return nil, nil, false
		}
		return body, resp.Header, err == nil // cut is as good as an error
	}
	for id, b := range bundles {
		for _, accept := range []string{"identity", "zstd"} {
			if body, header, whole := get("/v1/bundles/"+id+"/archive", accept); whole && !bytes.Equal(plain(t, body, header), b.archive) {
				t.Errorf("the archive of %s as %s is wrong", id, accept)
			}
		}
		if body, _, whole := get("/v1/bundles/"+id+"/index", "identity"); whole && !bytes.Equal(body, b.index) {
			t.Errorf("the index of %s is wrong", id)
		}
		var index struct {
			Files []struct {
				Path   string
				Digest digest.Digest
				Chunks []struct{ Digest digest.Digest }
			}
		}
		if err := json.Unmarshal(b.index, &index); err != nil {
			t.Fatal(err)
		}
		for _, f := range index.Files {
			if body, header, whole := get("/v1/bundles/"+id+"/files/"+escape(f.Path), "identity"); whole && digest.Sum(plain(t, body, header)) != f.Digest {
				t.Errorf("file %s of %s is wrong", f.Path, id)
			}
			for _, c := range f.Chunks {
				if body, header, whole := get("/v1/chunks/"+c.Digest.String(), "zstd"); whole && digest.Sum(plain(t, body, header)) != c.Digest {
					t.Errorf("chunk %s is wrong", c.Digest)
				}
			}
		}
	}
}

// plain undoes the content encoding of an answer.
func plain(t *testing.T, body []byte, header http.Header) []byte {
	t.Helper()
	if header.Get("Content-Encoding") != "zstd" {
		return body
	}
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	decoded, err := decoder.DecodeAll(body, nil)
	if err != nil {
		t.Errorf("what came as zstd is none: %v", err)
	}
	return decoded
}
