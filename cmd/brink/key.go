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
	return group("key", "Make and look at keys",
		"Keys are Ed25519. Root keys sign the org's trust document, publisher keys sign what is published.",
		keyNewCommand(sh), keyShowCommand(sh))
}

// keyInfo is what the verbs of key print.
type keyInfo struct {
	File   string `json:"file"`
	Kind   string `json:"kind"` // "private" or "public"
	ID     string `json:"id"`
	Public string `json:"public,omitempty"` // the file of the public key, when it was made too
}

const (
	privateKind = "private"
	publicKind  = "public"
)

func publicFile(file string) string { return file + ".pub" }

// writeKey writes the two files of a key pair. It overwrites nothing, and leaves nothing behind when it fails.
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

// writeNew writes a file that must not exist.
func writeNew(file string, content []byte, mode fs.FileMode) error {
	err := durable.Create(file, content, mode)
	if errors.Is(err, fs.ErrExist) {
		return withHint(err, "choose another name, or move the old file away: it is never overwritten")
	}
	return err
}

// warnIfShared warns of a private key that others can read too.
func (sh *shell) warnIfShared(file string) {
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o077 != 0 {
		sh.warn(withHint(fmt.Errorf("others can read the private key %s", file), "chmod 600 %s", file))
	}
}

// readPublicKeys reads the public keys in files.
func readPublicKeys(files []string) (keys []channel.PublicKey, err error) {
	for _, file := range files {
		raw, err := readSecretFile(file, channel.MaxKey) // a private key is told of by the parser
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

// readFile reads a file of at most limit bytes; of a longer one it returns one byte more than that, for the parser to
// refuse. A private key is refused: what is read here is shown or handed on.
func readFile(file string, limit int64) ([]byte, error) {
	raw, err := readSecretFile(file, limit)
	if err == nil && bytes.Contains(raw, []byte(privateBlock)) {
		return nil, &usageError{
			message: file + ": it holds a private key, and something public is wanted",
			hint:    "keep private keys to yourself; brink key new writes the public one beside it, as .pub",
		}
	}
	return raw, err
}
