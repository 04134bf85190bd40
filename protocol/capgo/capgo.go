// Package capgo defines the format of attachments with a release encrypted for Capgo's updater plugin, which the plugin
// requires when the app has a public key. Package publish/capgo writes it, and nodes read it for the plugin.
//
// The life of one description: [Description.Encode] makes the file at [Path], which says how to decrypt the other files
// of the attachment. [Parse] parses it, and [Description.CheckIndex] compares it with the attachment.
//
// The invariant: the plugin accepts what Parse returns, as far as that can be checked without the keys.
package capgo

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"brink/bundle"
	"brink/protocol"
)

// Kind is the kind of the attachments: bundles with the files [Path] and [protocol.ZipPath], which is encrypted, and
// the files that the former lists.
const Kind = "capgo"

// Path is the path of the [Description] in the attachment.
const Path = "capgo.json"

// MinBrotli is the size in bytes from which files are compressed with brotli, as by Capgo's own publisher.
const MinBrotli = 8 << 10

// Bounds of what [Parse] accepts.
const (
	MaxSize  = 32 << 20 // bytes of the file at Path
	MaxFiles = 10_000   // files in the description; with the longest paths they need no more than MaxSize
)

// Sizes in Capgo's encryption, in bytes. Keys are RSA-2048, payloads AES-128-CBC.
const (
	Block  = 16       // an AES block, key or initialisation vector
	Sealed = 2048 / 8 // anything encrypted with the RSA key
)

// ErrFormat is returned for what Capgo's plugin would not accept.
var ErrFormat = errors.New("not accepted by Capgo's plugin")

// Form is the text encoding of a sealed checksum. Devices accept one form, depending on the version of their plugin,
// and only the owner of the private key can make the other.
type Form string

// The forms of a sealed checksum.
const (
	Hex    Form = "hex"    // 512 lower-case hex digits: plugins from 5.30, 6.30, 7.30 and 8.0
	Base64 Form = "base64" // 344 characters: plugins before those
)

// Description is the content of the file at [Path]: what a device needs to verify and decrypt the release. The plugin
// determines the names of its members.
type Description struct {
	Checksum   string `json:"checksum"`         // of the plain zip, sealed, in Form
	SessionKey string `json:"session_key"`      // initialisation vector and sealed AES key, see CheckSession
	KeyID      string `json:"key_id,omitempty"` // the first 20 characters of the public key's base64
	Form       Form   `json:"form"`             // of Checksum and of each FileHash
	Files      []File `json:"files,omitempty"`  // empty: there is only the zip
}

// File is one file of the release, encrypted separately.
type File struct {
	// FileName is the path in the release. A suffix [Brotli] is not part of the path: it means that the decrypted bytes
	// are compressed with brotli.
	FileName string `json:"file_name"`
	FileHash string `json:"file_hash"` // SHA-256 of the decrypted and decompressed file, sealed, in Form
	Path     string `json:"path"`      // of the encrypted bytes in the attachment
	Size     int64  `json:"size"`      // of the encrypted bytes
}

// minFile is the least length of an encoded file in bytes: it has a sealed checksum.
const minFile = len(`{"file_name":"a","file_hash":"","path":"b","size":16}`) + 4*Sealed/3

// UnmarshalJSON refuses an object that is too short, so that decoding a list allocates only a small multiple of its
// bytes.
func (f *File) UnmarshalJSON(raw []byte) error {
	if len(raw) < minFile {
		return fmt.Errorf("%w: a file without a sealed checksum", ErrFormat)
	}
	type fields File
	return json.Unmarshal(raw, (*fields)(f))
}

// Brotli is the suffix of the names of files that are compressed with brotli.
const Brotli = ".br"

// Target returns the path of the file in the release.
func (f *File) Target() string { return strings.TrimSuffix(f.FileName, Brotli) }

// Parse parses the file at [Path] and checks all that can be checked without the keys. [Description.CheckIndex] checks
// that the index has the files. Errors wrap [ErrFormat].
func Parse(raw []byte) (*Description, error) {
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("%s: %w: longer than %d bytes", Path, ErrFormat, MaxSize)
	}
	var c Description
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", Path, ErrFormat, err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", Path, err)
	}
	return &c, nil
}

// Encode returns the bytes that [Parse] parses. They are the same for the same content.
func (c *Description) Encode() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(c); err != nil {
		return nil, err
	}
	if b.Len() > MaxSize {
		return nil, fmt.Errorf("%w: with %d files %s is longer than %d bytes", ErrFormat, len(c.Files), Path, MaxSize)
	}
	return b.Bytes(), nil
}

// CheckIndex returns nil if the index of the attachment has the zip and every file that c lists, with the same size.
func (c *Description) CheckIndex(ix *bundle.Index) error {
	zip := ix.File(protocol.ZipPath)
	if zip == nil {
		return fmt.Errorf("%w: the attachment has no %s", ErrFormat, protocol.ZipPath)
	}
	if err := checkEncryptedSize(zip.Size); err != nil {
		return fmt.Errorf("%s: %w", protocol.ZipPath, err)
	}
	for i := range c.Files {
		f := &c.Files[i]
		if found := ix.File(f.Path); found == nil || found.Size != f.Size {
			return fmt.Errorf("%w: the attachment has no file %q of %d bytes", ErrFormat, f.Path, f.Size)
		}
	}
	return nil
}

func (c *Description) check() error {
	if form, err := FormOf(c.Checksum); err != nil {
		return err
	} else if form != c.Form {
		return fmt.Errorf("%w: the checksum is in %s, want %q", ErrFormat, form, c.Form)
	}
	if err := CheckSession(c.SessionKey); err != nil {
		return err
	}
	if err := CheckKeyID(c.KeyID); err != nil {
		return err
	}
	if len(c.Files) > MaxFiles {
		return fmt.Errorf("%w: more than %d files", ErrFormat, MaxFiles)
	}
	targets := make([]string, len(c.Files))
	for i := range c.Files {
		f := &c.Files[i]
		targets[i] = f.Target()
		if err := f.check(c.Form); err != nil {
			return fmt.Errorf("file %q: %w", f.FileName, err)
		}
	}
	if err := bundle.CheckPaths(targets); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return nil
}

func (f *File) check(form Form) error {
	if err := bundle.CheckPath(f.Path); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if f.Path == Path || f.Path == protocol.ZipPath {
		return fmt.Errorf("%w: its path %s is reserved", ErrFormat, f.Path)
	}
	if err := checkEncryptedSize(f.Size); err != nil {
		return err
	}
	is, err := FormOf(f.FileHash)
	if err == nil && is != form {
		err = fmt.Errorf("%w: its checksum is in %s, want %q", ErrFormat, is, form)
	}
	return err
}

func checkEncryptedSize(size int64) error {
	if size <= 0 || size > bundle.MaxArchive || size%Block != 0 {
		return fmt.Errorf("%w: %d encrypted bytes, want whole blocks of %d", ErrFormat, size, Block)
	}
	return nil
}

// FormOf returns the form of a sealed checksum, and [ErrFormat] for a text that is not one.
func FormOf(checksum string) (Form, error) {
	switch len(checksum) {
	case hex.EncodedLen(Sealed):
		if raw, err := hex.DecodeString(checksum); err == nil && hex.EncodeToString(raw) == checksum {
			return Hex, nil
		}
	case base64.StdEncoding.EncodedLen(Sealed):
		if isBase64(checksum, Sealed) {
			return Base64, nil
		}
	}
	return "", fmt.Errorf("%w: a sealed checksum has %d lower-case hex digits, or %d characters of base64", ErrFormat,
		hex.EncodedLen(Sealed), base64.StdEncoding.EncodedLen(Sealed))
}

// CheckSession returns nil if text is a session key, and otherwise [ErrFormat]. A session key is base64 of the 16 bytes
// of the initialisation vector, a colon, and base64 of the 256 bytes of the sealed AES key.
func CheckSession(text string) error {
	vector, key, _ := strings.Cut(text, ":")
	if isBase64(vector, Block) && isBase64(key, Sealed) {
		return nil
	}
	return fmt.Errorf("%w: a session key is base64 of %d bytes, a colon, and base64 of %d bytes",
		ErrFormat, Block, Sealed)
}

// CheckKeyID returns nil if text can be the ID of a key, and otherwise [ErrFormat]. An ID has up to 20 characters of
// base64, and may be empty.
func CheckKeyID(text string) error {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	if len(text) > MaxKeyID || strings.Trim(text, alphabet) != "" {
		return fmt.Errorf("%w: a key ID has up to %d characters of base64", ErrFormat, MaxKeyID)
	}
	return nil
}

// MaxKeyID bounds, in bytes, the ID of a key: devices send that much of the base64 of the public key.
const MaxKeyID = 20

// isBase64 reports whether text is the canonical base64 of size bytes (RFC 4648, section 4).
func isBase64(text string, size int) bool {
	raw, err := base64.StdEncoding.DecodeString(text)
	return err == nil && len(raw) == size && base64.StdEncoding.EncodeToString(raw) == text
}
