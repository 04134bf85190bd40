package corpus

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// entry is one member of a made-up tarball.
type entry struct {
	name string
	kind byte // tar.TypeReg if zero
	body string
	link string
}

func tarball(tb testing.TB, entries ...entry) []byte {
	tb.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Typeflag: e.kind, Size: int64(len(e.body)), Mode: 0o644, Linkname: e.link}
		if err := archive.WriteHeader(header); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(archive, e.body); err != nil {
			tb.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// tree returns the regular files below dir, and fails for anything else but folders.
func tree(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			tb.Errorf("%s is %s", path, d.Type())
		}
		body, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(body)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

func TestUnpack_TakesTheBuiltFolderOnly(t *testing.T) {
	raw := tarball(t,
		entry{name: "package/", kind: tar.TypeDir},
		entry{name: "package/package.json", body: "{}"},
		entry{name: "package/dist/", kind: tar.TypeDir},
		entry{name: "package/dist/index.html", body: "<html>"},
		entry{name: "package/dist/static/app.js", body: "app()"},
		entry{name: "package/dist/static/app.js.map", body: "map"},
		entry{name: "package/distant/other.js", body: "other"},
	)
	for built, want := range map[string]map[string]string{
		"dist": {"index.html": "<html>", "static/app.js": "app()"},
		".": {
			"package.json": "{}", "dist/index.html": "<html>", "dist/static/app.js": "app()",
			"distant/other.js": "other",
		},
	} {
		dst := filepath.Join(t.TempDir(), "built")
		if err := unpack(bytes.NewReader(raw), dst, built, maxUnpacked); err != nil {
			t.Fatalf("unpack %q: %v", built, err)
		}
		if diff := cmp.Diff(want, tree(t, dst)); diff != "" {
			t.Errorf("unpack %q (-want +got):\n%s", built, diff)
		}
	}
}

func TestUnpack_RefusesWhatAPackageNeverNeeds(t *testing.T) {
	good := entry{name: "package/a.js", body: "a"}
	for name, bad := range map[string]entry{
		"traversal":        {name: "package/../../escaped", body: "x"},
		"traversal only":   {name: "..", body: "x"},
		"absolute":         {name: "/escaped", body: "x"},
		"absolute inside":  {name: "package//escaped", body: "x"},
		"backslash":        {name: `package/..\..\escaped`, body: "x"},
		"drive":            {name: "package/c:escaped", body: "x"},
		"dot":              {name: "package/./a.css", body: "x"},
		"unsafe directory": {name: "package/../escaped/", kind: tar.TypeDir},
		"symbolic link":    {name: "package/link", kind: tar.TypeSymlink, link: "/etc/passwd"},
		"hard link":        {name: "package/link", kind: tar.TypeLink, link: "package/a.js"},
		"device":           {name: "package/null", kind: tar.TypeChar},
		"twice":            {name: "package/a.js", body: "b"},
		"file as folder":   {name: "package/a.js/b", body: "b"},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			err := unpack(bytes.NewReader(tarball(t, good, bad)), filepath.Join(parent, "built"), ".", maxUnpacked)
			if !errors.Is(err, errTarball) {
				t.Errorf("unpack = %v, want errTarball", err)
			}
			if diff := cmp.Diff(map[string]string{"built/a.js": "a"}, tree(t, parent)); diff != "" {
				t.Errorf("files left (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnpack_RefusesEveryTruncation(t *testing.T) {
	raw := tarball(t, entry{name: "package/a.js", body: "some body"}, entry{name: "package/b.js", body: "another"})
	parent := t.TempDir()
	for n := range raw {
		dst := filepath.Join(parent, "built")
		if err := unpack(bytes.NewReader(raw[:n]), dst, ".", maxUnpacked); !errors.Is(err, errTarball) {
			t.Errorf("unpack of the first %d of %d bytes = %v, want errTarball", n, len(raw), err)
		}
		if err := os.RemoveAll(dst); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnpack_RefusesATarballWithoutTheBuiltFolder(t *testing.T) {
	raw := tarball(t, entry{name: "package/a.js", body: "a"})
	err := unpack(bytes.NewReader(raw), filepath.Join(t.TempDir(), "built"), "dist", maxUnpacked)
	if !errors.Is(err, errTarball) {
		t.Errorf("unpack = %v, want errTarball", err)
	}
}

func TestUnpack_IsBounded(t *testing.T) {
	body := strings.Repeat("a", 10_000)
	raw := tarball(t, entry{name: "package/a.js", body: body}, entry{name: "package/b.js", body: body})
	unzipped, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	size, err := io.Copy(io.Discard, unzipped)
	if err != nil {
		t.Fatal(err)
	}
	if err := unpack(bytes.NewReader(raw), filepath.Join(t.TempDir(), "built"), ".", size); err != nil {
		t.Errorf("unpack at the bound: %v", err)
	}
	for _, limit := range []int64{size - 1, size / 2, 0} {
		err := unpack(bytes.NewReader(raw), filepath.Join(t.TempDir(), "built"), ".", limit)
		if !errors.Is(err, errTarball) {
			t.Errorf("unpack of %d bytes, bounded at %d = %v, want errTarball", size, limit, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(tarball(f, entry{name: "package/a.js", body: "a"}))
	f.Add(tarball(f, entry{name: "package/../a.js", body: "a"}, entry{name: "l", kind: tar.TypeSymlink, link: ".."}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		parent := t.TempDir()
		err := unpack(bytes.NewReader(raw), filepath.Join(parent, "built"), ".", maxUnpacked)
		if err != nil && !errors.Is(err, errTarball) {
			t.Errorf("unpack = %v, want errTarball", err)
		}
		names, err := os.ReadDir(parent)
		if err != nil || len(names) != 1 {
			t.Errorf("beside the folder: %v, %v", names, err)
		}
		tree(t, parent)
	})
}
