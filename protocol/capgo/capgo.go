// Package capgo is the format of the attachments that hold a release encrypted for Capgo's updater plugin: what the
// plugin asks for when the app holds a public key. Package publish/capgo writes it and a node reads it for the plugin,
// so it belongs to neither.
//
// The life of one: [Description.Encode] makes the file at [Path], which says how to decrypt the other files of the
// attachment. [Parse] reads it and [Description.CheckIndex] compares it with the attachment.
//
// The invariant: what Parse returns the plugin can take, as far as that can be known without the keys.
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
// those that the former names.
const Kind = "capgo"

// Path is where the attachment holds its [Description].
const Path = "capgo.json"

// MinBrotli is the size in bytes from which files are sent to the plugin as brotli, as Capgo's own publisher does.
const MinBrotli = 8 << 10

// Bounds of what [Parse] reads.
const (
	MaxSize  = 32 << 20 // bytes of the file at Path
	MaxFiles = 10_000   // files named there: with the longest paths they make no more than MaxSize
)

// The sizes, in bytes, that the encryption of Capgo fixes: the keys are RSA-2048, the payloads AES-128-CBC.
const (
	Block  = 16       // a block of AES, its key and its initial vector
	Sealed = 2048 / 8 // anything that the RSA key sealed
)

// ErrFormat is returned for what the plugin of Capgo would not take.
var ErrFormat = errors.New("not what Capgo's plugin takes")

// Form says how a sealed checksum is written as text. Devices take one of them, by the version of their plugin,
// and only who holds the private key can make the other.
type Form string

// The forms of a sealed checksum.
const (
	Hex    Form = "hex"    // 512 lower-case hex digits: plugins from 5.30, 6.30, 7.30 and 8.0
	Base64 Form = "base64" // 344 characters: plugins before those
)

// Description is the content of the file at [Path]: what a device needs to check and to decrypt the release. The
// names of its members are those that the plugin knows.
type Description struct {
	Checksum   string `json:"checksum"`         // of the plain zip, sealed, in the form
	SessionKey string `json:"session_key"`      // initial vector and sealed AES key, see CheckSession
	KeyID      string `json:"key_id,omitempty"` // the first 20 characters of the public key's base64
	Form       Form   `json:"form"`             // of Checksum and of each FileHash
	Files      []File `json:"files,omitempty"`  // none: there is only the zip
}

// File is one file of the release, encrypted by itself.
type File struct {
	// FileName is the path in the release; [Brotli] at its end says that what is decrypted is brotli still, and is
	// no part of the path.
	FileName string `json:"file_name"`
	FileHash string `json:"file_hash"` // SHA-256 of the file as it will be used, sealed, in the form
	Path     string `json:"path"`      // of the encrypted bytes in the attachment
	Size     int64  `json:"size"`      // of the encrypted bytes
}

// minFile is the length in bytes below which no file is written: it has a sealed checksum.
const minFile = len(`{"file_name":"a","file_hash":"","path":"b","size":16}`) + 4*Sealed/3

// UnmarshalJSON refuses what is too short, so that a list takes no more memory than a few times its bytes.
func (f *File) UnmarshalJSON(raw []byte) error {
	if len(raw) < minFile {
		return fmt.Errorf("%w: a file without a sealed checksum", ErrFormat)
	}
	type fields File
	return json.Unmarshal(raw, (*fields)(f))
}

// Brotli at the end of a file's name says that its bytes are brotli.
const Brotli = ".br"

// Target returns the path that the file has in the release.
func (f *File) Target() string { return strings.TrimSuffix(f.FileName, Brotli) }

// Parse reads the file at [Path] and checks all that can be known without the keys. Whether the index has the
// files is for [Description.CheckIndex]. It returns [ErrFormat], with the reason.
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

// Encode returns the bytes that [Parse] reads: the same for the same content.
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
		return nil, fmt.Errorf("%w: %d files make %s longer than %d bytes", ErrFormat, len(c.Files), Path, MaxSize)
	}
	return b.Bytes(), nil
}

// CheckIndex reports whether the index of the attachment has the zip and every file that c names, of the size that it
// says.
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
		if there := ix.File(f.Path); there == nil || there.Size != f.Size {
			return fmt.Errorf("%w: the attachment has no file %q of %d bytes", ErrFormat, f.Path, f.Size)
		}
	}
	return nil
}

func (c *Description) check() error {
	if form, err := FormOf(c.Checksum); err != nil {
		return err
	} else if form != c.Form {
		return fmt.Errorf("%w: the checksum is in %s, not in %q", ErrFormat, form, c.Form)
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
		return fmt.Errorf("%w: its path is %s", ErrFormat, f.Path)
	}
	if err := checkEncryptedSize(f.Size); err != nil {
		return err
	}
	is, err := FormOf(f.FileHash)
	if err == nil && is != form {
		err = fmt.Errorf("%w: its checksum is in %s, not in %q", ErrFormat, is, form)
	}
	return err
}

func checkEncryptedSize(size int64) error {
	if size <= 0 || size > bundle.MaxArchive || size%Block != 0 {
		return fmt.Errorf("%w: %d encrypted bytes are no blocks of AES", ErrFormat, size)
	}
	return nil
}

// FormOf tells in which form a sealed checksum is. It returns [ErrFormat] for what is none.
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

// CheckSession reports whether text is a session key: base64 of the 16 bytes of the initial vector, a colon,
// base64 of the 256 bytes of the sealed AES key. It returns nil or [ErrFormat].
func CheckSession(text string) error {
	vector, key, _ := strings.Cut(text, ":")
	if isBase64(vector, Block) && isBase64(key, Sealed) {
		return nil
	}
	return fmt.Errorf("%w: a session key is base64 of %d bytes, a colon, and base64 of %d bytes",
		ErrFormat, Block, Sealed)
}

// CheckKeyID reports whether text can be the ID of a key: up to 20 characters of base64, or none. It returns nil
// or [ErrFormat].
func CheckKeyID(text string) error {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	if len(text) > MaxKeyID || strings.Trim(text, alphabet) != "" {
		return fmt.Errorf("%w: a key ID has up to %d characters of base64", ErrFormat, MaxKeyID)
	}
	return nil
}

// MaxKeyID bounds, in bytes, the ID of a key: so much of the base64 of the public key is sent by devices.
const MaxKeyID = 20

// isBase64 reports whether text is the one way to write size bytes in base64 (RFC 4648, section 4).
func isBase64(text string, size int) bool {
	raw, err := base64.StdEncoding.DecodeString(text)
	return err == nil && len(raw) == size && base64.StdEncoding.EncodeToString(raw) == text
}
