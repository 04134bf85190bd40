package protocol

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"brink/bundle"
)

// The kinds of attachment that publishers make: bundles of their own that hold the release's files in another form.
const (
	// AttachmentZip is a bundle with the one file [ZipPath]: the release's files as a zip. Its SHA-256 and its size are
	// those of that file in the attachment's index.
	AttachmentZip = "zip"
	// AttachmentCapgo is a bundle with the files [CapgoPath] and [ZipPath], which is encrypted, and those that the
	// former names: what the plugin of Capgo asks for when the app holds a public key.
	AttachmentCapgo = "capgo"
)

// Paths of files within attachments.
const (
	ZipPath   = "bundle.zip"
	CapgoPath = "capgo.json"
)

// Bounds of what [ParseCapgo] reads.
const (
	MaxCapgo      = 32 << 20 // bytes of the file at CapgoPath
	MaxCapgoFiles = 10_000   // files named there: with the longest paths they make no more than MaxCapgo
)

// The sizes, in bytes, that the encryption of Capgo fixes: the keys are RSA-2048, the payloads AES-128-CBC.
const (
	CapgoBlock  = 16       // a block of AES, its key and its initial vector
	CapgoSealed = 2048 / 8 // anything that the RSA key sealed
)

// ErrCapgo is returned for what the plugin of Capgo would not take.
var ErrCapgo = errors.New("not what Capgo's plugin takes")

// CapgoForm says how a sealed checksum is written as text. Devices take one of them, by the version of their plugin,
// and only who holds the private key can make the other.
type CapgoForm string

// The forms of a sealed checksum.
const (
	CapgoHex    CapgoForm = "hex"    // 512 lower-case hex digits: plugins from 5.30, 6.30, 7.30 and 8.0
	CapgoBase64 CapgoForm = "base64" // 344 characters: plugins before those
)

// CapgoBundle is the content of the file at [CapgoPath]: what a device needs to check and to decrypt the release. The
// names of its members are those that the plugin knows.
type CapgoBundle struct {
	Checksum   string      `json:"checksum"`         // of the plain zip, sealed, in the form
	SessionKey string      `json:"session_key"`      // initial vector and sealed AES key, see CheckCapgoSession
	KeyID      string      `json:"key_id,omitempty"` // the first 20 characters of the public key's base64
	Form       CapgoForm   `json:"form"`             // of Checksum and of each FileHash
	Files      []CapgoFile `json:"files,omitempty"`  // none: there is only the zip
}

// CapgoFile is one file of the release, encrypted by itself.
type CapgoFile struct {
	// FileName is the path in the release; [CapgoBrotli] at its end says that what is decrypted is brotli still, and is
	// no part of the path.
	FileName string `json:"file_name"`
	FileHash string `json:"file_hash"` // SHA-256 of the file as it will be used, sealed, in the form
	Path     string `json:"path"`      // of the encrypted bytes in the attachment
	Size     int64  `json:"size"`      // of the encrypted bytes
}

// minCapgoFile is the length in bytes below which no file is written: it has a sealed checksum.
const minCapgoFile = len(`{"file_name":"a","file_hash":"","path":"b","size":16}`) + 4*CapgoSealed/3

// UnmarshalJSON refuses what is too short, so that a list takes no more memory than a few times its bytes.
func (f *CapgoFile) UnmarshalJSON(raw []byte) error {
	if len(raw) < minCapgoFile {
		return fmt.Errorf("%w: a file without a sealed checksum", ErrCapgo)
	}
	type fields CapgoFile
	return json.Unmarshal(raw, (*fields)(f))
}

// CapgoBrotli at the end of a file's name says that its bytes are brotli.
const CapgoBrotli = ".br"

// Target returns the path that the file has in the release.
func (f *CapgoFile) Target() string { return strings.TrimSuffix(f.FileName, CapgoBrotli) }

// ParseCapgo reads the file at [CapgoPath] and checks all that can be known without the keys. Whether the index has the
// files is for [CapgoBundle.CheckIndex]. It returns [ErrCapgo], with the reason.
func ParseCapgo(raw []byte) (*CapgoBundle, error) {
	if len(raw) > MaxCapgo {
		return nil, fmt.Errorf("%s: %w: longer than %d bytes", CapgoPath, ErrCapgo, MaxCapgo)
	}
	var c CapgoBundle
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", CapgoPath, ErrCapgo, err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", CapgoPath, err)
	}
	return &c, nil
}

// Encode returns the bytes that [ParseCapgo] reads: the same for the same content.
func (c *CapgoBundle) Encode() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(c); err != nil {
		return nil, err
	}
	if b.Len() > MaxCapgo {
		return nil, fmt.Errorf("%w: %d files make %s longer than %d bytes", ErrCapgo, len(c.Files), CapgoPath, MaxCapgo)
	}
	return b.Bytes(), nil
}

// CheckIndex reports whether the index of the attachment has the zip and every file that c names, of the size that it
// says.
func (c *CapgoBundle) CheckIndex(ix *bundle.Index) error {
	zip := ix.File(ZipPath)
	if zip == nil {
		return fmt.Errorf("%w: the attachment has no %s", ErrCapgo, ZipPath)
	}
	if err := checkEncryptedSize(zip.Size); err != nil {
		return fmt.Errorf("%s: %w", ZipPath, err)
	}
	for i := range c.Files {
		f := &c.Files[i]
		if there := ix.File(f.Path); there == nil || there.Size != f.Size {
			return fmt.Errorf("%w: the attachment has no file %q of %d bytes", ErrCapgo, f.Path, f.Size)
		}
	}
	return nil
}

func (c *CapgoBundle) check() error {
	if form, err := CapgoChecksumForm(c.Checksum); err != nil {
		return err
	} else if form != c.Form {
		return fmt.Errorf("%w: the checksum is in %s, not in %q", ErrCapgo, form, c.Form)
	}
	if err := CheckCapgoSession(c.SessionKey); err != nil {
		return err
	}
	if err := CheckCapgoKeyID(c.KeyID); err != nil {
		return err
	}
	if len(c.Files) > MaxCapgoFiles {
		return fmt.Errorf("%w: more than %d files", ErrCapgo, MaxCapgoFiles)
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
		return fmt.Errorf("%w: %w", ErrCapgo, err)
	}
	return nil
}

func (f *CapgoFile) check(form CapgoForm) error {
	if err := bundle.CheckPath(f.Path); err != nil {
		return fmt.Errorf("%w: %w", ErrCapgo, err)
	}
	if f.Path == CapgoPath || f.Path == ZipPath {
		return fmt.Errorf("%w: its path is %s", ErrCapgo, f.Path)
	}
	if err := checkEncryptedSize(f.Size); err != nil {
		return err
	}
	is, err := CapgoChecksumForm(f.FileHash)
	if err == nil && is != form {
		err = fmt.Errorf("%w: its checksum is in %s, not in %q", ErrCapgo, is, form)
	}
	return err
}

func checkEncryptedSize(size int64) error {
	if size <= 0 || size > bundle.MaxArchive || size%CapgoBlock != 0 {
		return fmt.Errorf("%w: %d encrypted bytes are no blocks of AES", ErrCapgo, size)
	}
	return nil
}

// CapgoChecksumForm tells in which form a sealed checksum is. It returns [ErrCapgo] for what is none.
func CapgoChecksumForm(checksum string) (CapgoForm, error) {
	switch len(checksum) {
	case hex.EncodedLen(CapgoSealed):
		if raw, err := hex.DecodeString(checksum); err == nil && hex.EncodeToString(raw) == checksum {
			return CapgoHex, nil
		}
	case base64.StdEncoding.EncodedLen(CapgoSealed):
		if isBase64(checksum, CapgoSealed) {
			return CapgoBase64, nil
		}
	}
	return "", fmt.Errorf("%w: a sealed checksum has %d lower-case hex digits, or %d characters of base64", ErrCapgo,
		hex.EncodedLen(CapgoSealed), base64.StdEncoding.EncodedLen(CapgoSealed))
}

// CheckCapgoSession reports whether text is a session key: base64 of the 16 bytes of the initial vector, a colon,
// base64 of the 256 bytes of the sealed AES key. It returns nil or [ErrCapgo].
func CheckCapgoSession(text string) error {
	vector, key, _ := strings.Cut(text, ":")
	if isBase64(vector, CapgoBlock) && isBase64(key, CapgoSealed) {
		return nil
	}
	return fmt.Errorf("%w: a session key is base64 of %d bytes, a colon, and base64 of %d bytes",
		ErrCapgo, CapgoBlock, CapgoSealed)
}

// CheckCapgoKeyID reports whether text can be the ID of a key: up to 20 characters of base64, or none. It returns nil
// or [ErrCapgo].
func CheckCapgoKeyID(text string) error {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	if len(text) > MaxCapgoKeyID || strings.Trim(text, alphabet) != "" {
		return fmt.Errorf("%w: a key ID has up to %d characters of base64", ErrCapgo, MaxCapgoKeyID)
	}
	return nil
}

// MaxCapgoKeyID bounds, in bytes, the ID of a key: so much of the base64 of the public key is sent by devices.
const MaxCapgoKeyID = 20

// isBase64 reports whether text is the one way to write size bytes in base64 (RFC 4648, section 4).
func isBase64(text string, size int) bool {
	raw, err := base64.StdEncoding.DecodeString(text)
	return err == nil && len(raw) == size && base64.StdEncoding.EncodeToString(raw) == text
}
