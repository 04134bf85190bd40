package publish

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
	"brink/protocol/capgo"
)

// CapgoMade is a zip that Capgo's CLI has made, and has encrypted if there is a session key.
type CapgoMade struct {
	Zip        string // file
	Checksum   string // plain: its SHA-256 in lower-case hex; encrypted: what the CLI printed for it
	SessionKey string // what the CLI calls ivSessionKey; empty: the zip is not encrypted
	KeyID      string // of the public key that decrypts; may be empty
}

// maxCapgoOutput bounds, in bytes, what Capgo's CLI prints.
const maxCapgoOutput = 64 << 10

// ReadCapgoMade reads what `bundle zip --json` or `bundle encrypt --json` of Capgo's CLI printed to a file. The zip
// that it names is looked for beside that file.
func ReadCapgoMade(file string) (*CapgoMade, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxCapgoOutput))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	made, err := parseCapgoMade(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if !filepath.IsAbs(made.Zip) {
		made.Zip = filepath.Join(filepath.Dir(file), made.Zip)
	}
	return made, nil
}

func parseCapgoMade(raw []byte) (*CapgoMade, error) {
	var out struct {
		Filename     string `json:"filename"`
		Checksum     string `json:"checksum"`
		IVSessionKey string `json:"ivSessionKey"`
	}
	if err := json.Unmarshal(raw, &out); err != nil || out.Filename == "" || out.Checksum == "" {
		return nil, &AttachmentError{
			Kind: capgo.Kind, Reason: "not what Capgo's CLI prints: JSON with filename and checksum",
			Hint: "npx @capgo/cli bundle encrypt app.zip CHECKSUM --json > capgo.json",
		}
	}
	return &CapgoMade{Zip: out.Filename, Checksum: out.Checksum, SessionKey: out.IVSessionKey}, nil
}

// crc32Length is how many hex digits a CRC-32 has.
const crc32Length = 8

// Check reports what is wrong with the texts: an [*AttachmentError] or nil. The zip itself is looked at when it is
// published.
func (c *CapgoMade) Check() error {
	refuse := func(hint, format string, args ...any) error {
		return &AttachmentError{Kind: capgo.Kind, Reason: fmt.Sprintf(format, args...), Hint: hint}
	}
	_, plain := digest.ParseSHA256(c.Checksum)
	_, sealed := capgo.FormOf(c.Checksum)
	lower := strings.ToLower(c.Checksum)
	_, lowerPlain := digest.ParseSHA256(lower)
	switch {
	case len(c.Checksum) == crc32Length:
		return refuse("make the zip by a CLI that is as new as the plugin: npx @capgo/cli bundle zip --json",
			"the checksum %s is a CRC-32, which plugins of today refuse", c.Checksum)
	case plain != nil && lowerPlain == nil || len(lower) == 2*capgo.Sealed && sealed != nil && lower != c.Checksum:
		return refuse("write it in lower case", "the checksum is in upper case, which devices take for another")
	case c.SessionKey == "" && sealed == nil:
		return refuse("give --capgo-session-key: the CLI prints it as ivSessionKey",
			"the checksum is that of an encrypted zip, and there is no session key")
	case c.SessionKey == "" && plain != nil:
		return refuse("npx @capgo/cli bundle zip --json prints it", "the checksum is no SHA-256: %v", plain)
	case c.SessionKey != "" && plain == nil:
		return refuse("take the checksum that bundle encrypt printed, not the one that bundle zip did",
			"the checksum is that of a plain zip, and the zip is encrypted")
	case c.SessionKey == "":
		return nil
	case sealed != nil:
		return refuse("npx @capgo/cli bundle encrypt --json prints it", "%v", sealed)
	}
	if err := capgo.CheckSession(c.SessionKey); err != nil {
		return refuse("take what npx @capgo/cli bundle encrypt --json printed as ivSessionKey, all of it", "%v", err)
	}
	if err := capgo.CheckKeyID(c.KeyID); err != nil {
		return refuse("it is the beginning of the public key's base64, MIIBCgKCAQEA and 8 more", "%v", err)
	}
	return nil
}

// take copies a file into the folder of a kind, as its zip.
func (m *maker) take(kind, file string) (digest.SHA256, int64, error) {
	in, err := os.Open(file)
	if err != nil {
		return digest.SHA256{}, 0, err
	}
	sum := digest.NewHasher()
	err = m.create(kind, protocol.ZipPath, func(w io.Writer) error {
		_, err := io.Copy(io.MultiWriter(w, sum), in)
		return err
	})
	return sum.SHA256(), sum.Size(), errors.Join(err, in.Close())
}

// takeEncrypted makes an attachment of a zip that others have encrypted. What is in it only devices can tell.
func (m *maker) takeEncrypted(given *CapgoMade) error {
	_, size, err := m.take(capgo.Kind, given.Zip)
	if err != nil {
		return err
	}
	f, err := m.root.Open(capgo.Kind + "/" + protocol.ZipPath)
	if err != nil {
		return err
	}
	var magic [4]byte
	_, err = io.ReadFull(f, magic[:])
	if err := errors.Join(err, f.Close()); size == 0 || size%capgo.Block != 0 ||
		err != nil || bytes.Equal(magic[:], []byte("PK\x03\x04")) {
		return &AttachmentError{
			Kind: capgo.Kind, Reason: fmt.Sprintf("%s, of %d bytes, is not encrypted", given.Zip, size),
			Hint: "take the file that bundle encrypt wrote: its name ends with _encrypted.zip",
		}
	}
	form, err := capgo.FormOf(given.Checksum)
	if err != nil {
		return err
	}
	return m.writeCapgo(&capgo.Description{
		Checksum: given.Checksum, SessionKey: given.SessionKey, KeyID: given.KeyID, Form: form,
	})
}
