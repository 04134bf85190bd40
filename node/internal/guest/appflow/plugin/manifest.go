package plugin

import (
	"bufio"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"brink/bundle"
)

// Entry is one file of a list of files. Plugins compare entries as the text that JSON.stringify makes of them, so the
// order of the members and the spelling of the integrity are part of the format.
type Entry struct {
	Href      string `json:"href"` // path, relative and not escaped
	Size      int64  `json:"size"` // bytes
	Integrity string `json:"integrity"`
}

// listed reports whether a file is in the list for cordova-plugin-ionic. As in the list of Ionic's CLI, which is the
// one in the native app, source maps and the list itself are not. The list itself must not be: a device would store it
// and compare the next list with it, but copy the files of the native app, and so run files of two releases.
func listed(path string) bool {
	return path != ManifestFile && !strings.HasSuffix(path, "js.map") && !strings.HasSuffix(path, "css.map")
}

// WriteManifest writes the list of files of a bundle for cordova-plugin-ionic to w: a JSON array of [Entry], as
// `ionic live-update manifest` makes it, so that files which are the same as in the native app are not fetched. open
// returns a reader of a file's verified content; each is read once, one after the other. It is a pure function of the
// bundle.
//
// The integrity is that of W3C Subresource Integrity (https://www.w3.org/TR/SRI/): SHA-256, SHA-384 and SHA-512, each
// in base64 after its name, separated by spaces. Versions 4.2 to 5.1 of the plugin check it, later ones do not.
func WriteManifest(w io.Writer, ix *bundle.Index, open func(*bundle.File) io.Reader) error {
	out := bufio.NewWriter(w)
	separator := "[\n"
	for i := range ix.Files {
		f := &ix.Files[i]
		if !listed(f.Path) {
			continue
		}
		middle, long := sha512.New384(), sha512.New()
		if n, err := io.Copy(io.MultiWriter(middle, long), open(f)); err != nil {
			return fmt.Errorf("file %q: %w", f.Path, err)
		} else if n != f.Size {
			return fmt.Errorf("file %q: %d bytes, want %d", f.Path, n, f.Size)
		}
		base := base64.StdEncoding.EncodeToString
		line, err := json.Marshal(Entry{
			Href: f.Path,
			Size: f.Size,
			Integrity: "sha256-" + base(f.SHA256[:]) + " sha384-" + base(middle.Sum(nil)) +
				" sha512-" + base(long.Sum(nil)),
		})
		if err != nil {
			return err
		}
		out.WriteString(separator) //nolint:errcheck // Flush returns the first error
		out.Write(line)            //nolint:errcheck // as above
		separator = ",\n"
	}
	if separator == "[\n" {
		out.WriteString("[") //nolint:errcheck // as above
	}
	out.WriteString("\n]\n") //nolint:errcheck // as above
	return out.Flush()
}
