package publish

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/andybalholm/brotli"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
	"brink/protocol/capgo"
)

// capgoFiles is the folder in the attachment that holds the encrypted files, each under the SHA-256 of its bytes.
const capgoFiles = "files"

// minBrotli is the smallest file, in bytes, that is worth compressing: the bound of nodes for what they serve. Plain
// files go to the plugin as brotli from 8 KiB on only, as from Capgo's own publisher (MinBrotli in node/capgo).
const minBrotli = 1 << 10

// brotliLevel is what nodes compress by as well: the next levels take twenty times as long for a tenth less.
const brotliLevel = 9

// capgoEmpty is what Capgo's plugin takes for the brotli of no bytes. It refuses what decrypts to nothing.
const capgoEmpty = "\x1b\x00\x06"

// CapgoKey is the private key of an app that has Capgo's plugin. It encrypts, and devices decrypt with the public key
// that they hold; so it signs as well. Use [ParseCapgoKey].
type CapgoKey struct {
	key    *rsa.PrivateKey
	secret []byte // what session keys are derived from
}

// ParseCapgoKey reads an RSA-2048 private key in PEM: PKCS#1 (RFC 8017, appendix A.1.2), as Capgo's CLI writes it to
// .capgo_key_v2, or PKCS#8 (RFC 5958). It returns [channel.ErrKey] for anything else.
func ParseCapgoKey(raw []byte) (*CapgoKey, error) {
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%w: not PEM", channel.ErrKey)
	}
	var key *rsa.PrivateKey
	switch block.Type {
	case "RSA PRIVATE KEY":
		var err error
		if key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			return nil, fmt.Errorf("%w: %w", channel.ErrKey, err)
		}
	case "PRIVATE KEY":
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", channel.ErrKey, err)
		}
		var ok bool
		if key, ok = parsed.(*rsa.PrivateKey); !ok {
			return nil, fmt.Errorf("%w: no RSA key", channel.ErrKey)
		}
	default:
		return nil, fmt.Errorf("%w: %q is no private RSA key", channel.ErrKey, block.Type)
	}
	if key.Size() != capgo.Sealed {
		return nil, fmt.Errorf("%w: RSA of %d bits, and Capgo's plugin takes %d", channel.ErrKey,
			key.N.BitLen(), 8*capgo.Sealed)
	}
	secret, err := hkdf.Extract(sha256.New, x509.MarshalPKCS1PrivateKey(key), []byte("brink capgo session v1"))
	if err != nil {
		return nil, err
	}
	return &CapgoKey{key: key, secret: secret}, nil
}

// ID returns what devices send as the ID of their key: the first 20 characters of the public key's PKCS#1 in base64.
func (k *CapgoKey) ID() string {
	text := base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&k.key.PublicKey))
	return text[:capgo.MaxKeyID]
}

// seal encrypts up to 245 bytes by the private key: PKCS #1 v1.5 with padding of type 1 (RFC 2313, section 8.1), which
// is what a signature is when nothing says how the bytes were hashed. The same bytes always give the same.
func (k *CapgoKey) seal(plain []byte) ([]byte, error) {
	return rsa.SignPKCS1v15(nil, k.key, crypto.Hash(0), plain)
}

// checksum seals the SHA-256 of a file.
func (k *CapgoKey) checksum(sum digest.SHA256, form capgo.Form) (string, error) {
	plain := sum[:]
	if form == capgo.Base64 {
		// Plugins of that time take the hex digits for base64, so this is what has to be sealed: 48 bytes.
		var err error
		if plain, err = base64.StdEncoding.DecodeString(sum.String()); err != nil {
			return "", err
		}
	}
	sealed, err := k.seal(plain)
	if err != nil {
		return "", err
	}
	if form == capgo.Base64 {
		return base64.StdEncoding.EncodeToString(sealed), nil
	}
	return hex.EncodeToString(sealed), nil
}

// capgoSession is what one release is encrypted by.
type capgoSession struct {
	block  cipher.Block
	vector []byte
	text   string // as devices get it
}

// session returns the keys of a release. They are derived from the private key and from what is encrypted, so that
// nobody can guess them, no two releases share them, and publishing the same again gives the same bytes: it finds what
// is there, and heals what was lost.
func (k *CapgoKey) session(app string, id digest.Digest) (*capgoSession, error) {
	keys, err := hkdf.Expand(sha256.New, k.secret, app+"\x00"+id.String(), 2*capgo.Block)
	if err != nil {
		return nil, err
	}
	key, vector := keys[:capgo.Block], keys[capgo.Block:]
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	sealed, err := k.seal(key)
	if err != nil {
		return nil, err
	}
	text := base64.StdEncoding.EncodeToString(vector) + ":" + base64.StdEncoding.EncodeToString(sealed)
	return &capgoSession{block: block, vector: vector, text: text}, nil
}

// encrypt writes what r reads, encrypted by AES-128-CBC and padded by PKCS #7 (RFC 5652, section 6.3), and returns how
// many bytes it wrote.
func (c *capgoSession) encrypt(w io.Writer, r io.Reader) (int64, error) {
	mode := cipher.NewCBCEncrypter(c.block, c.vector)
	buffer := make([]byte, 64<<10+capgo.Block)
	var total int64
	for n := 0; ; n = 0 {
		last := false
		for n < 64<<10 && !last {
			m, err := r.Read(buffer[n : 64<<10])
			n += m
			if last = err == io.EOF; err != nil && !last {
				return total, err
			}
		}
		if last {
			padding := capgo.Block - n%capgo.Block
			for range padding {
				buffer[n] = byte(padding)
				n++
			}
		}
		mode.CryptBlocks(buffer[:n], buffer[:n])
		written, err := w.Write(buffer[:n])
		total += int64(written)
		if err != nil || last {
			return total, err
		}
	}
}

// encrypt makes the attachment for devices that hold Capgo's public key: the zip, and each file by itself.
func (m *maker) encrypt(ctx context.Context, r Request, plain *bundle.File) error {
	session, err := r.CapgoKey.session(r.App, m.index.Bundle())
	if err != nil {
		return err
	}
	c := &capgo.Description{SessionKey: session.text, KeyID: r.CapgoKey.ID(), Form: r.CapgoForm}
	if c.Form == "" {
		c.Form = capgo.Hex
	}
	if c.Checksum, err = r.CapgoKey.checksum(plain.SHA256, c.Form); err != nil {
		return err
	}
	err = m.create(capgo.Kind, protocol.ZipPath, func(w io.Writer) error {
		in, err := m.root.Open(protocol.AttachmentZip + "/" + protocol.ZipPath)
		if err != nil {
			return err
		}
		_, err = session.encrypt(w, in)
		return errors.Join(err, in.Close())
	})
	if err != nil {
		return err
	}
	packer := brotli.NewWriterLevel(nil, brotliLevel) // one for all: it is large
	// More files than the plugin can sensibly be told of: such a release goes to devices as a zip only.
	for i := 0; i < len(m.index.Files) && len(m.index.Files) <= capgo.MaxFiles; i++ {
		one, err := m.encryptFile(ctx, r.CapgoKey, session, packer, c.Form, &m.index.Files[i])
		if err != nil {
			return err
		}
		c.Files = append(c.Files, one)
		m.progress(m.index.Files[i].Size)
	}
	return m.writeCapgo(c)
}

// encryptFile encrypts one file of the release, after brotli where that pays.
func (m *maker) encryptFile(
	ctx context.Context,
	key *CapgoKey,
	session *capgoSession,
	packer *brotli.Writer,
	form capgo.Form,
	f *bundle.File,
) (capgo.File, error) {
	one := capgo.File{FileName: f.Path}
	var err error
	if one.FileHash, err = key.checksum(f.SHA256, form); err != nil {
		return one, err
	}
	// The plugin takes every name that ends with .br for brotli, so a file that has such a name itself must be brotli.
	must := strings.HasSuffix(f.Path, capgo.Brotli) || f.Size == 0
	packed := int64(-1)
	if f.Size > 0 && (must || f.Size >= minBrotli) {
		packed, err = m.compress(ctx, f, func(w io.Writer) io.WriteCloser {
			packer.Reset(w)
			return packer
		})
		if err != nil {
			return one, err
		}
	}
	const part = capgoFiles + "/part"
	if err := m.root.MkdirAll(capgo.Kind+"/"+capgoFiles, 0o700); err != nil {
		return one, err
	}
	sum := sha256.New()
	err = m.create(capgo.Kind, part, func(w io.Writer) error {
		var err error
		w = io.MultiWriter(w, sum)
		if must || packed >= 0 && packed <= f.Size-f.Size/16 {
			one.FileName += capgo.Brotli
			source := m.spooled(packed)
			if f.Size == 0 {
				source = strings.NewReader(capgoEmpty)
			}
			one.Size, err = session.encrypt(w, source)
			return err
		}
		return m.read(ctx, f, func(r io.Reader) error {
			one.Size, err = session.encrypt(w, r)
			return err
		})
	})
	if err != nil {
		return one, err
	}
	one.Path = capgoFiles + "/" + hex.EncodeToString(sum.Sum(nil))
	return one, m.root.Rename(capgo.Kind+"/"+part, capgo.Kind+"/"+one.Path)
}

func (m *maker) writeCapgo(c *capgo.Description) error {
	raw, err := c.Encode()
	if err != nil {
		return err
	}
	return m.create(capgo.Kind, capgo.Path, func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	})
}
