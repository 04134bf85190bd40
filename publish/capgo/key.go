package capgo

import (
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
	"fmt"
	"io"

	"brink/channel"
	"brink/digest"
	format "brink/protocol/capgo"
)

// Key is the private key of an app that has Capgo's plugin. It encrypts, and devices decrypt with the public key, so
// the encryption is also a signature. Use [ParseKey].
type Key struct {
	key    *rsa.PrivateKey
	secret []byte // session keys are derived from it
}

// ParseKey parses an RSA-2048 private key in PEM: PKCS#1 (RFC 8017, appendix A.1.2), as Capgo's CLI writes it to
// .capgo_key_v2, or PKCS#8 (RFC 5958). It returns [channel.ErrKey] for anything else.
func ParseKey(raw []byte) (*Key, error) {
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
			return nil, fmt.Errorf("%w: not an RSA key", channel.ErrKey)
		}
	default:
		return nil, fmt.Errorf("%w: %q is not a private RSA key", channel.ErrKey, block.Type)
	}
	if key.Size() != format.Sealed {
		return nil, fmt.Errorf("%w: RSA key of %d bits, Capgo's plugin requires %d", channel.ErrKey,
			key.N.BitLen(), 8*format.Sealed)
	}
	secret, err := hkdf.Extract(sha256.New, x509.MarshalPKCS1PrivateKey(key), []byte("brink capgo session v1"))
	if err != nil {
		return nil, err
	}
	return &Key{key: key, secret: secret}, nil
}

// ID returns the key ID that devices send: the first 20 characters of the public key as PKCS#1 in base64.
func (k *Key) ID() string {
	text := base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&k.key.PublicKey))
	return text[:format.MaxKeyID]
}

// seal encrypts up to 245 bytes with the private key: PKCS #1 v1.5 with padding of type 1 (RFC 2313, section 8.1),
// which is the same as a signature without a hash identifier. It is deterministic.
func (k *Key) seal(plain []byte) ([]byte, error) {
	return rsa.SignPKCS1v15(nil, k.key, crypto.Hash(0), plain)
}

// checksum seals the SHA-256 of a file.
func (k *Key) checksum(sum digest.SHA256, form format.Form) (string, error) {
	plain := sum[:]
	if form == format.Base64 {
		// These old plugins decode the hex digits as base64, so the result of that is sealed: 48 bytes.
		var err error
		if plain, err = base64.StdEncoding.DecodeString(sum.String()); err != nil {
			return "", err
		}
	}
	sealed, err := k.seal(plain)
	if err != nil {
		return "", err
	}
	if form == format.Base64 {
		return base64.StdEncoding.EncodeToString(sealed), nil
	}
	return hex.EncodeToString(sealed), nil
}

// session is the encryption of one release.
type session struct {
	block  cipher.Block
	vector []byte
	text   string // vector and sealed key, for devices
}

// session returns the session keys of a release. They are derived from the private key and the release, so that they
// are secret, differ between releases, and are the same if the release is published again: that finds or repairs what
// was uploaded before.
func (k *Key) session(app string, id digest.Digest) (*session, error) {
	keys, err := hkdf.Expand(sha256.New, k.secret, app+"\x00"+id.String(), 2*format.Block)
	if err != nil {
		return nil, err
	}
	key, vector := keys[:format.Block], keys[format.Block:]
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	sealed, err := k.seal(key)
	if err != nil {
		return nil, err
	}
	text := base64.StdEncoding.EncodeToString(vector) + ":" + base64.StdEncoding.EncodeToString(sealed)
	return &session{block: block, vector: vector, text: text}, nil
}

// encrypt encrypts r to w with AES-128-CBC and PKCS #7 padding (RFC 5652, section 6.3), and returns the number of bytes
// written.
func (c *session) encrypt(w io.Writer, r io.Reader) (int64, error) {
	mode := cipher.NewCBCEncrypter(c.block, c.vector)
	buffer := make([]byte, 64<<10+format.Block)
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
			padding := format.Block - n%format.Block
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
