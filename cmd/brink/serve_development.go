package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/internal/durable"
	"brink/node"
	"brink/store"
)

// developmentDir is the name of the folder, in the data folder, for the org and the keys that a node makes if it has no
// trust document.
const developmentDir = "dev"

const (
	developmentOrg  = channel.DevelopmentOrg
	developmentRoot = "root.key"
	developmentKey  = "publisher.key"
	developmentFile = "trust.json"
	developmentApp  = "com.example.app" // in the commands to copy; the keys may publish any app
)

// development is an org with its keys for development: anyone who can read the folder can publish.
type development struct {
	dir             string
	root, publisher channel.PrivateKey // zero if they were made by an earlier run
	trust           []byte
}

// newDevelopment makes an org whose only publisher key may publish anything. It does not save it.
func newDevelopment(dir string, now time.Time) (*development, error) {
	root, err := channel.NewKey(nil)
	if err != nil {
		return nil, err
	}
	publisher, err := channel.NewKey(nil)
	if err != nil {
		return nil, err
	}
	trust, err := channel.NewTrust(channel.TrustConfig{
		Org: developmentOrg, Issued: now.UTC().Truncate(time.Second),
		Roots: []channel.PublicKey{root.Public()}, Keys: []channel.PublicKey{publisher.Public()},
		Roles: []channel.Role{{
			Name: publisherRole, Keys: []string{publisher.Public().ID()},
			Apps: []channel.Pattern{"*"}, Channels: []channel.Pattern{"*"},
		}},
	}, root)
	return &development{dir: dir, root: root, publisher: publisher, trust: trust}, err
}

// openDevelopment adds a trust document to a configuration that has none: that of an earlier run or, if the data folder
// is empty, that of a new org. It refuses to do so if other machines could reach the node.
func openDevelopment(cmd *cobra.Command, s *serveFlags, config *node.Config) (*development, error) {
	for _, address := range []string{s.listen, s.admin} {
		if address != "" && !isLoopback(address) {
			return nil, (&usageError{
				message: fmt.Sprintf("%s is not loopback, and --trust is missing: the keys for development are only for "+
					"this machine", address),
				hint: "make an org (brink key new, brink org new) and pass its trust document with --trust",
			}).of(cmd)
		}
	}
	dir := filepath.Join(s.data, developmentDir)
	trust, err := readFile(filepath.Join(dir, developmentFile), channel.MaxTrust)
	if err == nil {
		config.Trust = [][]byte{trust}
		return &development{dir: dir, trust: trust}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if empty, err := isEmpty(s.data); err != nil {
		return nil, err
	} else if !empty {
		return nil, (&usageError{
			message: fmt.Sprintf("--trust missing, and %s is not empty", s.data),
			hint:    "pass the org's trust document with --trust; keys for development are made only in an empty folder",
		}).of(cmd)
	}
	dev, err := newDevelopment(dir, time.Now())
	if err != nil {
		return nil, err
	}
	config.Trust = [][]byte{dev.trust}
	return dev, nil
}

// saveTo saves the org and the keys in the data folder, unless an earlier run did. It creates the store first, because
// a store can only be created in an empty folder.
func (d *development) saveTo(data store.Config) error {
	if d.root.IsZero() {
		return nil
	}
	created, err := store.Open(data)
	if err != nil {
		return err
	}
	if err := created.Close(); err != nil {
		return err
	}
	return d.save()
}

// save writes the org and the keys atomically.
func (d *development) save() error {
	fresh := d.dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := os.MkdirAll(fresh, 0o700); err != nil {
		return err
	}
	if err := writeKey(filepath.Join(fresh, developmentRoot), d.root); err != nil {
		return err
	}
	if err := writeKey(filepath.Join(fresh, developmentKey), d.publisher); err != nil {
		return err
	}
	if err := writeNew(filepath.Join(fresh, developmentFile), d.trust, 0o644); err != nil {
		return err
	}
	return durable.Rename(fresh, d.dir)
}

// announce prints a prominent notice that the node is for development, and how to use it.
func (sh *shell) announce(d *development, url string) {
	frame(sh.stderr,
		"DEVELOPMENT",
		"--trust is not set, so this node trusts keys that it made itself.",
		"Anyone who can read "+d.dir+" can publish. It listens on loopback only.",
		"For production, make an org: brink org new --help",
	)
	sh.commands(d, url, developmentApp, "./www", "1.0.0")
}

// commands prints to stderr commands to copy that publish to a node and fetch from it.
func (sh *shell) commands(d *development, url, app, folder, version string) {
	self := program()
	key, trust := filepath.Join(d.dir, developmentKey), filepath.Join(d.dir, developmentFile)
	fmt.Fprintf(sh.stderr, `publish a folder:
  %s publish %s --node %s --key %s --trust %s \
      --app %s --version %s --channel production
fetch it, as a device does:
  %s fetch ./device --node %s --trust %s \
      --app %s --channel production

`, self, quote(folder), url, quote(key), quote(trust), app, version, self, url, quote(trust), app)
}

// frame prints lines in a box.
func frame(w io.Writer, lines ...string) {
	width := 0
	for _, line := range lines {
		width = max(width, utf8.RuneCountInString(line))
	}
	rule := strings.Repeat("─", width+2)
	fmt.Fprintf(w, "┌%s┐\n", rule)
	for _, line := range lines {
		fmt.Fprintf(w, "│ %s%s │\n", line, strings.Repeat(" ", width-utf8.RuneCountInString(line)))
	}
	fmt.Fprintf(w, "└%s┘\n", rule)
}

// program returns how to call this program again from a shell in the same folder.
func program() string {
	self, err := os.Executable()
	if err != nil {
		return "brink"
	}
	if found, err := exec.LookPath("brink"); err == nil && sameFile(found, self) {
		return "brink"
	}
	if strings.Contains(self, string(filepath.Separator)+"go-build") {
		return "go run ./cmd/brink" // go run removes the binary when the program exits
	}
	return quote(os.Args[0])
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// quote quotes text so that a POSIX shell reads it as one word.
func quote(text string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_-./:@%+,=", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// isEmpty reports whether a folder does not exist, or contains at most what a new file system contains.
func isEmpty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	for _, entry := range entries {
		if entry.Name() != "lost+found" {
			return false, nil
		}
	}
	return err == nil, err
}
