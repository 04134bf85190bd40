package publish

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"brink/bundle"
)

// Warning is something in a folder that publishers rarely want to publish: everybody can download what is published.
type Warning struct {
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Hint    string   `json:"hint,omitempty"`
	Files   []string `json:"files,omitempty"` // the first maxNamed of them
	Count   int      `json:"count,omitempty"` // of all of them
}

// Codes of a [Warning].
const (
	WarnPrivateKey    = "private_key"
	WarnSecret        = "secret"
	WarnRepository    = "repository"
	WarnSourceMap     = "source_map"
	WarnLeftover      = "leftover"
	WarnNoIndex       = "no_index"
	WarnUnusedPattern = "unused_pattern"
)

// PrivateKeyError is returned for a folder with private keys.
type PrivateKeyError struct{ Files []string }

func (e *PrivateKeyError) Error() string {
	return "private keys are not published: " + strings.Join(e.Files, ", ")
}

const (
	// maxNamed bounds the files that one warning names.
	maxNamed = 10
	// maxKeyFile bounds, in bytes, the files that are searched for private keys. A key has a few kilobytes.
	maxKeyFile = 64 << 10
)

// unwanted returns the kinds of files that [Inspect] recognizes by name and [Request.ExcludeWarned] leaves out.
func unwanted() []struct{ code, message, patterns string } {
	return []struct{ code, message, patterns string }{
		{
			WarnSecret, "files that often hold secrets",
			".env .env.* .npmrc .netrc .aws/ .ssh/ *.p12 *.pfx *.jks *.keystore *.key .capgo_key* id_rsa id_ecdsa id_ed25519",
		},
		{WarnRepository, "a repository with its history", ".git .svn .hg"},
		{WarnSourceMap, "source maps, from which the source code can be read", "*.map"},
		{WarnLeftover, "files that an app has no use for", "node_modules/ .DS_Store Thumbs.db __MACOSX/ *.swp *~"},
	}
}

// unwantedPatterns returns all patterns of unwanted.
func unwantedPatterns() (all []string) {
	for _, kind := range unwanted() {
		all = append(all, strings.Fields(kind.patterns)...)
	}
	return all
}

// Inspect returns warnings about the files of a bundle. Private keys are found in files of up to 64 KiB, in PEM.
func Inspect(files fs.FS, ix *bundle.Index) ([]Warning, error) {
	var warnings []Warning
	keys, err := privateKeys(files, ix)
	if err != nil {
		return nil, err
	}
	add := func(w Warning, found []string) {
		if w.Count = len(found); w.Count > 0 {
			w.Files = found[:min(len(found), maxNamed)]
			warnings = append(warnings, w)
		}
	}
	add(Warning{
		Code: WarnPrivateKey, Message: "private keys, with which anybody can sign",
		Hint: "leave them out with --exclude, and replace them if they were published before",
	}, keys)
	for _, kind := range unwanted() {
		patterns, err := bundle.ParsePatterns(strings.Fields(kind.patterns)...)
		if err != nil {
			return nil, err
		}
		var found []string
		for i := range ix.Files {
			if p := ix.Files[i].Path; patterns.Match(p) && !slices.Contains(keys, p) {
				found = append(found, p)
			}
		}
		add(Warning{Code: kind.code, Message: kind.message, Hint: "leave them out with --exclude-warned"}, found)
	}
	if ix.File("index.html") == nil {
		warnings = append(warnings, noIndex(ix))
	}
	return warnings, nil
}

// noIndex returns the warning about a bundle without an index.html at its root, with the path of another one.
func noIndex(ix *bundle.Index) Warning {
	w := Warning{Code: WarnNoIndex, Message: "no index.html at the top of the folder: web views have no page to open"}
	var found string // the shallowest one
	for i := range ix.Files {
		p := ix.Files[i].Path
		if path.Base(p) == "index.html" && (found == "" || strings.Count(p, "/") < strings.Count(found, "/")) {
			found = p
		}
	}
	if found != "" {
		w.Files, w.Count = []string{found}, 1
		w.Hint = "to publish the app below " + path.Dir(found) + ", name that folder"
	}
	return w
}

// privateKeys returns the files that hold a private key.
func privateKeys(files fs.FS, ix *bundle.Index) (found []string, err error) {
	buffer := make([]byte, maxKeyFile)
	for i := range ix.Files {
		f := &ix.Files[i]
		if f.Size > maxKeyFile {
			continue
		}
		file, err := files.Open(f.Path)
		if err != nil {
			return nil, err
		}
		n, err := io.ReadFull(file, buffer[:f.Size])
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("file %q: %w", f.Path, err)
		}
		if hasPrivateKey(buffer[:n]) {
			found = append(found, f.Path)
		}
	}
	return found, nil
}

// hasPrivateKey reports whether text contains a complete private key in PEM. Programs that only mention the header do
// not.
func hasPrivateKey(text []byte) bool {
	if !bytes.Contains(text, []byte("PRIVATE KEY-----")) {
		return false
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return true
		}
	}
}
