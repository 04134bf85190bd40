package digest

import (
	"crypto/sha256"
	"hash"

	"github.com/zeebo/blake3"
)

// Sum returns the Digest of b. It does not allocate.
func Sum(b []byte) Digest { return Digest(blake3.Sum256(b)) }

// SumSHA256 returns the SHA256 of b.
func SumSHA256(b []byte) SHA256 { return SHA256(sha256.Sum256(b)) }

// Hasher computes the Digest, the SHA256 and the length of a stream in one pass. It is an [io.Writer] that never fails
// and is not safe for concurrent use. Use [NewHasher].
type Hasher struct {
	blake3 *blake3.Hasher
	sha256 hash.Hash
	size   int64
}

// NewHasher returns a Hasher to which no bytes have been written.
func NewHasher() *Hasher {
	return &Hasher{blake3: blake3.New(), sha256: sha256.New()}
}

// Write implements [io.Writer].
func (h *Hasher) Write(b []byte) (int, error) {
	_, _ = h.blake3.Write(b) // hash.Hash promises to return no error
	_, _ = h.sha256.Write(b)
	h.size += int64(len(b))
	return len(b), nil
}

// Reset returns the Hasher to its initial state.
func (h *Hasher) Reset() {
	h.blake3.Reset()
	h.sha256.Reset()
	h.size = 0
}

// Digest returns the Digest of the bytes written so far.
func (h *Hasher) Digest() Digest {
	var d Digest
	h.blake3.Sum(d[:0])
	return d
}

// SHA256 returns the SHA256 of the bytes written so far.
func (h *Hasher) SHA256() SHA256 {
	var s SHA256
	h.sha256.Sum(s[:0])
	return s
}

// Size returns the number of bytes written so far.
func (h *Hasher) Size() int64 { return h.size }
