package publish

import (
	"archive/zip"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"brink/digest"
	"brink/protocol"
)

// entry is one of a zip that others made.
type entry struct {
	name string
	data string
	mode fs.FileMode
}

func theirZip(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	out := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(e.mode | 0o644)
		w, err := out.CreateHeader(h)
		if err == nil {
			_, err = w.Write([]byte(e.data))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPublisher_TakesAPlainZipOfTheSameFilesOnly(t *testing.T) {
	files := fstest.MapFS{"index.html": {Data: []byte("hello")}, "js/app.js": {Data: []byte("let a")}}
	page, script, folder := entry{name: "index.html", data: "hello"}, entry{name: "js/app.js", data: "let a"},
		entry{name: "js/", mode: fs.ModeDir}
	publish := func(n *fakeNode, data []byte, sum digest.SHA256) error {
		dir := t.TempDir()
		if err := os.CopyFS(dir, files); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "app.zip")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := n.publish(func(_ *Config, r *Request) {
			r.Dir, r.Attachments = dir, []Attacher{Zip{Given: &GivenZip{File: file, SHA256: sum}}}
		})
		return err
	}
	n := newFakeNode(t)
	good := theirZip(t, script, folder, page)
	if err := publish(n, good, digest.SumSHA256(good)); err != nil {
		t.Fatal(err)
	}
	if ix, got := n.files(n.inForce(), protocol.AttachmentZip); !bytes.Equal(got[protocol.ZipPath].Data, good) ||
		ix.File(protocol.ZipPath).SHA256 != digest.SumSHA256(good) {
		t.Error("the zip that was published is another")
	}
	for name, bad := range map[string][]byte{
		"a file more":         theirZip(t, page, script, entry{name: "more.js", data: "x"}),
		"a file less":         theirZip(t, page),
		"other content":       theirZip(t, page, entry{name: "js/app.js", data: "let b"}),
		"longer content":      theirZip(t, page, entry{name: "js/app.js", data: "let a = 1"}),
		"a folder above":      theirZip(t, entry{name: "www/index.html", data: "hello"}, script),
		"a file twice":        theirZip(t, page, script, script),
		"a way out":           theirZip(t, page, script, entry{name: "../evil.js", data: "x"}),
		"a folder that is up": theirZip(t, page, script, entry{name: "../up/", mode: fs.ModeDir}),
		"an absolute path":    theirZip(t, page, script, entry{name: "/etc/passwd", data: "x"}),
		"a backslash":         theirZip(t, page, script, entry{name: `js\app.js`, data: "x"}),
		"a link":              theirZip(t, page, entry{name: "js/app.js", data: "let a", mode: fs.ModeSymlink}),
		"no zip":              []byte("PK, but that is all"),
		"a zip that was cut":  good[:len(good)-30],
		"nothing":             nil,
	} {
		n := newFakeNode(t)
		err := publish(n, bad, digest.SumSHA256(bad))
		if refused, ok := errors.AsType[*AttachmentError](err); !ok || refused.Hint == "" || n.called("POST") != 0 {
			t.Errorf("%s: %v, %v", name, err, n.calls)
		}
	}
	err := publish(newFakeNode(t), good, digest.SumSHA256([]byte("another")))
	if refused, ok := errors.AsType[*AttachmentError](err); !ok || !strings.Contains(refused.Reason, "SHA-256") {
		t.Errorf("a zip with another checksum: %v", err)
	}
}

func TestPublisher_RefusesAZipThatIsUnwanted(t *testing.T) {
	n := newFakeNode(t)
	_, err := n.publish(func(_ *Config, r *Request) {
		r.Attachments = []Attacher{Zip{Choice: Unwanted, Given: &GivenZip{File: "app.zip"}}}
	})
	if err == nil || len(n.calls) > 0 {
		t.Errorf("a zip and none: %v, %v", err, n.calls)
	}
}
