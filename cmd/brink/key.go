package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/internal/durable"
)

func keyCommand(sh *shell) *cobra.Command {
	return group("key", "Make and show keys",
		"Keys are Ed25519. Root keys sign the org's trust document, publisher keys sign channel manifests.",
		keyNewCommand(sh), keyShowCommand(sh))
}

// keyInfo is the output of the verbs of key.
type keyInfo struct {
	File   string `json:"file"`
	Kind   string `json:"kind"` // "private" or "public"
	ID     string `json:"id"`
	Public string `json:"public,omitempty"` // the file of the public key, if it was written too
}

const (
	privateKind = "private"
	publicKind  = "public"
)

func publicFile(file string) string { return file + ".pub" }

// writeKey writes the two files of a key pair. It never overwrites a file, and leaves none behind when it fails.
func writeKey(file string, key channel.PrivateKey) error {
	private, err := key.MarshalPEM()
	if err != nil {
		return err
	}
	if err := writeNew(file, private, 0o600); err != nil {
		return err
	}
	if err := writeNew(publicFile(file), key.Public().MarshalPEM(), 0o644); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

// writeNew writes a file that must not exist yet.
func writeNew(file string, content []byte, mode fs.FileMode) error {
	err := durable.Create(file, content, mode)
	if errors.Is(err, fs.ErrExist) {
		return withHint(err, "use another name, or move the file: existing files are never overwritten")
	}
	return err
}

// warnIfShared warns of a private key that other users can read.
func (sh *shell) warnIfShared(file string) {
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o077 != 0 {
		sh.warn(withHint(fmt.Errorf("other users can read the private key %s", file), "chmod 600 %s", file))
	}
}

// readPublicKeys reads the public keys in files.
func readPublicKeys(files []string) (keys []channel.PublicKey, err error) {
	for _, file := range files {
		raw, err := readSecretFile(file, channel.MaxKey) // the parser refuses a private key
		if err != nil {
			return nil, err
		}
		key, err := channel.ParsePublicKey(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// readFile reads a file of at most limit bytes. It returns limit+1 bytes of a longer one, for the parser to refuse. It
// refuses a private key, because the content is shown or sent.
func readFile(file string, limit int64) ([]byte, error) {
	raw, err := readSecretFile(file, limit)
	if err == nil && bytes.Contains(raw, []byte(privateBlock)) {
		return nil, &usageError{
			message: file + " contains a private key, want something public",
			hint:    "never share private keys; brink key new also writes the public key, as FILE.pub",
		}
	}
	return raw, err
}
