package capgo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"brink/digest"
	"brink/protocol"
	format "brink/protocol/capgo"
	"brink/publish"
)

// Made is a zip made by Capgo's CLI. It is encrypted if it has a session key.
type Made struct {
	Zip        string // file
	Checksum   string // plain: its SHA-256 in lower-case hex; encrypted: as printed by the CLI
	SessionKey string // printed by the CLI as ivSessionKey; empty: the zip is not encrypted
	KeyID      string // of the public key that decrypts; may be empty
}

// maxOutput limits the output of Capgo's CLI, in bytes.
const maxOutput = 64 << 10

// ReadMade reads a file with the output of `bundle zip --json` or `bundle encrypt --json` of Capgo's CLI. The zip that
// it names is relative to the folder of that file.
func ReadMade(file string) (*Made, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxOutput))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	made, err := parseMade(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if !filepath.IsAbs(made.Zip) {
		made.Zip = filepath.Join(filepath.Dir(file), made.Zip)
	}
	return made, nil
}

func parseMade(raw []byte) (*Made, error) {
	var out struct {
		Filename     string `json:"filename"`
		Checksum     string `json:"checksum"`
		IVSessionKey string `json:"ivSessionKey"`
	}
	if err := json.Unmarshal(raw, &out); err != nil || out.Filename == "" || out.Checksum == "" {
		return nil, &publish.AttachmentError{
			Kind: format.Kind, Reason: "not the output of Capgo's CLI: want JSON with filename and checksum",
			Hint: "npx @capgo/cli bundle encrypt app.zip CHECKSUM --json > capgo.json",
		}
	}
	return &Made{Zip: out.Filename, Checksum: out.Checksum, SessionKey: out.IVSessionKey}, nil
}

// crc32Length is the number of hex digits of a CRC-32.
const crc32Length = 8

// Check returns a [*publish.AttachmentError] if a text is invalid. The zip itself is checked when it is published.
func (c *Made) Check() error {
	refuse := func(hint, reason string, args ...any) error {
		return &publish.AttachmentError{Kind: format.Kind, Reason: fmt.Sprintf(reason, args...), Hint: hint}
	}
	_, plain := digest.ParseSHA256(c.Checksum)
	_, sealed := format.FormOf(c.Checksum)
	lower := strings.ToLower(c.Checksum)
	_, lowerPlain := digest.ParseSHA256(lower)
	switch {
	case len(c.Checksum) == crc32Length:
		return refuse("make the zip with a CLI that is as new as the plugin: npx @capgo/cli bundle zip --json",
			"the checksum %s is a CRC-32, which current plugins refuse", c.Checksum)
	case plain != nil && lowerPlain == nil || len(lower) == 2*format.Sealed && sealed != nil && lower != c.Checksum:
		return refuse("write it in lower case", "the checksum is in upper case, which devices refuse")
	case c.SessionKey == "" && sealed == nil:
		return refuse("set --capgo-session-key, which the CLI prints as ivSessionKey",
			"the checksum is that of an encrypted zip, and the session key is missing")
	case c.SessionKey == "" && plain != nil:
		return refuse("npx @capgo/cli bundle zip --json prints it", "the checksum is not a SHA-256: %v", plain)
	case c.SessionKey != "" && plain == nil:
		return refuse("use the checksum printed by bundle encrypt, not the one printed by bundle zip",
			"the checksum is that of a plain zip, and the zip is encrypted")
	case c.SessionKey == "":
		return nil
	case sealed != nil:
		return refuse("npx @capgo/cli bundle encrypt --json prints it", "%v", sealed)
	}
	if err := format.CheckSession(c.SessionKey); err != nil {
		return refuse("use the whole ivSessionKey printed by npx @capgo/cli bundle encrypt --json", "%v", err)
	}
	if err := format.CheckKeyID(c.KeyID); err != nil {
		return refuse("it is the start of the public key in base64: MIIBCgKCAQEA and 8 more characters", "%v", err)
	}
	return nil
}

// Given returns a plain zip for [publish.Zip]. It returns the errors of [Made.Check], and an error for an encrypted
// zip.
func (c *Made) Given() (*publish.GivenZip, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if c.SessionKey != "" {
		return nil, errors.New("a zip with a session key is encrypted: it is for Attacher.Made")
	}
	sum, err := digest.ParseSHA256(c.Checksum)
	return &publish.GivenZip{File: c.Zip, SHA256: sum}, err
}

// attach makes an attachment from an encrypted zip. It cannot verify the content, which only devices can decrypt.
func (c *Made) attach(dir *os.Root) error {
	form, err := format.FormOf(c.Checksum)
	if err != nil {
		return err
	}
	in, err := os.Open(c.Zip)
	if err != nil {
		return err
	}
	var magic [4]byte
	var size int64
	err = create(dir, protocol.ZipPath, func(w io.Writer) error {
		n, err := io.ReadFull(in, magic[:])
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		size, err = io.Copy(w, io.MultiReader(bytes.NewReader(magic[:n]), in))
		return err
	})
	if err := errors.Join(err, in.Close()); err != nil {
		return err
	}
	if size == 0 || size%format.Block != 0 || bytes.Equal(magic[:], []byte("PK\x03\x04")) {
		return &publish.AttachmentError{
			Kind: format.Kind, Reason: fmt.Sprintf("%s, of %d bytes, is not encrypted", c.Zip, size),
			Hint: "use the file written by bundle encrypt, whose name ends with _encrypted.zip",
		}
	}
	return describe(dir, &format.Description{
		Checksum: c.Checksum, SessionKey: c.SessionKey, KeyID: c.KeyID, Form: form,
	})
}
