package e2e_test

import (
	"bytes"
	"net/url"
	"os"
	"strings"
	"testing"

	"brink/bundle"
)

// pack returns the archive and the index that a folder makes.
func pack(t *testing.T, dir string) (archive, index []byte) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var b bytes.Buffer
	if err := (bundle.Folder{FS: root.FS()}).WriteArchive(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	ix, err := bundle.IndexArchive(t.Context(), bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), ix.Encode()
}

// escape returns the path of a file as it stands in a URL.
func escape(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return strings.Join(segments, "/")
}
