package channel

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
)

// MaxKey is the largest key file that is read, in bytes. An Ed25519 key takes about 120.
const MaxKey = 16 << 10

// ErrKey is returned for a file or text that is not a key of the required kind. The error that wraps it says what it is
// instead.
var ErrKey = errors.New("not an Ed25519 key")

// Types of PEM blocks (RFC 7468, sections 10 and 13).
const (
	privateBlock = "PRIVATE KEY"
	publicBlock  = "PUBLIC KEY"
)

// PrivateKey is an Ed25519 key (RFC 8032) that signs. It formats as its key ID, so that the secret cannot end up in a
// log. The zero value cannot sign.
type PrivateKey struct{ key ed25519.PrivateKey }

// NewKey generates a key from 32 bytes of random. Outside of tests random should be nil, which means [crypto/rand].
func NewKey(random io.Reader) (PrivateKey, error) {
	if random == nil {
		random = rand.Reader
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return PrivateKey{}, fmt.Errorf("make key: %w", err)
	}
	return PrivateKey{ed25519.NewKeyFromSeed(seed)}, nil
}

// ParsePrivateKey parses a PEM file with one PKCS#8 private key (RFC 5958), as [PrivateKey.MarshalPEM] and "openssl
// genpkey -algorithm ed25519" write it. For anything else it returns an [ErrKey] that says what the file is.
func ParsePrivateKey(file []byte) (PrivateKey, error) {
	der, err := parseBlock(file, privateBlock)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("read private key: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("read private key: %w: %w", ErrKey, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return PrivateKey{}, fmt.Errorf("read private key: %w: it is a %T", ErrKey, parsed)
	}
	return PrivateKey{key}, nil
}

// MarshalPEM returns the key as a PEM file. Store it so that only its owner can read it.
func (k PrivateKey) MarshalPEM() ([]byte, error) {
	if k.IsZero() {
		return nil, fmt.Errorf("write private key: %w: it is empty", ErrKey)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("write private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der}), nil
}

// Public returns the public key of k; that of the zero value is the zero PublicKey.
func (k PrivateKey) Public() PublicKey {
	var public PublicKey
	if !k.IsZero() {
		copy(public.key[:], k.key[ed25519.SeedSize:])
	}
	return public
}

// IsZero reports whether k is the zero value.
func (k PrivateKey) IsZero() bool { return len(k.key) == 0 }

// Format implements [fmt.Formatter]: whatever the verb, the secret is not printed.
func (k PrivateKey) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "private key of "+k.Public().ID())
}

// PublicKey is an Ed25519 key that verifies signatures. Keys can be compared with ==. The zero value verifies nothing.
type PublicKey struct{ key [ed25519.PublicKeySize]byte }

// ParsePublicKey parses a PEM file with one public key (SubjectPublicKeyInfo, RFC 8410), as [PublicKey.MarshalPEM] and
// "openssl pkey -pubout" write it. For anything else it returns an [ErrKey] that says what the file is.
func ParsePublicKey(file []byte) (PublicKey, error) {
	der, err := parseBlock(file, publicBlock)
	if err != nil {
		return PublicKey{}, fmt.Errorf("read public key: %w", err)
	}
	key, err := parsePublic(der)
	if err != nil {
		return PublicKey{}, fmt.Errorf("read public key: %w", err)
	}
	return key, nil
}

// MarshalPEM returns the key as a PEM file.
func (k PublicKey) MarshalPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: k.der()})
}

// MarshalText implements [encoding.TextMarshaler]: the base64 (RFC 4648, section 4) of the DER in the PEM file.
func (k PublicKey) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, k.der()), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler]. It accepts only what MarshalText writes.
func (k *PublicKey) UnmarshalText(text []byte) error {
	der, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKey, err)
	}
	key, err := parsePublic(der)
	if err != nil {
		return err
	}
	if again, _ := key.MarshalText(); !bytes.Equal(again, text) {
		return fmt.Errorf("%w: its base64 is not canonical", ErrKey)
	}
	*k = key
	return nil
}

// ID returns the key ID: 64 hex digits, the SHA-256 of the key's DER. In a shell:
// openssl pkey -pubin -in FILE -outform DER | sha256sum.
func (k PublicKey) ID() string {
	sum := sha256.Sum256(k.der())
	return hex.EncodeToString(sum[:])
}

// IsZero reports whether k is the zero value.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// String returns the key ID.
func (k PublicKey) String() string { return k.ID() }

// publicPrefix is the DER of an Ed25519 public key (RFC 8410, section 4) before the 32 bytes of the key itself.
const publicPrefix = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"

func (k PublicKey) der() []byte { return append([]byte(publicPrefix), k.key[:]...) }

func parsePublic(der []byte) (PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	raw, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return PublicKey{}, fmt.Errorf("%w: it is a %T", ErrKey, parsed)
	}
	key := PublicKey{[ed25519.PublicKeySize]byte(raw)}
	// One key must have one ID, or it could count twice towards a threshold.
	if key.IsZero() || !bytes.Equal(key.der(), der) {
		return PublicKey{}, fmt.Errorf("%w: its DER is not canonical", ErrKey)
	}
	return key, nil
}

// parseBlock returns the content of the only PEM block in file, which must have the type want.
func parseBlock(file []byte, want string) ([]byte, error) {
	if len(file) > MaxKey {
		return nil, fmt.Errorf("%w: the file has %d bytes, more than %d", ErrKey, len(file), MaxKey)
	}
	block, rest := pem.Decode(file)
	switch {
	case block == nil:
		return nil, fmt.Errorf("%w: the file is not PEM", ErrKey)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, fmt.Errorf("%w: something follows the first PEM block", ErrKey)
	case block.Type == want:
		return block.Bytes, nil
	case block.Type == publicBlock:
		return nil, fmt.Errorf("%w: the file has a public key, want the private key", ErrKey)
	case block.Type == privateBlock:
		return nil, fmt.Errorf("%w: the file has a private key, want the public key", ErrKey)
	case block.Type == "ENCRYPTED PRIVATE KEY":
		return nil, fmt.Errorf("%w: the file is encrypted; decrypt it with openssl pkey", ErrKey)
	default:
		return nil, fmt.Errorf("%w: the file has a %q, want a %q of Ed25519", ErrKey, block.Type, want)
	}
}

// check returns nil if k made the signature over message. Signatures are not malleable: Go implements RFC 8032 with the
// check that the scalar is reduced.
func (k PublicKey) check(message, signature []byte) error {
	if !ed25519.Verify(k.key[:], message, signature) {
		return errors.New("signature does not match")
	}
	return nil
}

func (k PrivateKey) sign(message []byte) ([]byte, error) {
	if k.IsZero() {
		return nil, fmt.Errorf("sign: %w: it is empty", ErrKey)
	}
	return ed25519.Sign(k.key, message), nil
}
