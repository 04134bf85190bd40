package store

import (
	"encoding/binary"
	"fmt"

	"brink/bundle"
	"brink/digest"
	"brink/store/internal/database"
)

// A blob is stored under the 32 bytes of its digest, in an envelope, because the database does not report damaged
// values:
//
//	offset  size  what
//	0       1     version of the envelope, 1
//	1       1     encoding of the frame, as in bundle.Encoding
//	2       4     size of the plain bytes, big endian
//	6       32    digest of the plain bytes, to detect a value under a wrong key
//	38      n     the frame
//	38+n    32    digest of everything before it
const (
	envelopeVersion  = 1
	envelopeHeader   = 6 + digest.Size
	envelopeOverhead = envelopeHeader + digest.Size
)

// appendEnvelope appends the envelope of f to b.
func appendEnvelope(b []byte, f bundle.Frame) []byte {
	start := len(b)
	b = append(b, envelopeVersion, byte(f.Encoding))
	b = binary.BigEndian.AppendUint32(b, uint32(f.Size))
	b = append(b, f.Digest[:]...)
	b = append(b, f.Data...)
	sum := digest.Sum(b[start:])
	return append(b, sum[:]...)
}

// checkHeader returns an error if value cannot be the envelope of the blob d. It checks only the header and the length.
func checkHeader(d digest.Digest, value []byte) error {
	if len(value) < envelopeOverhead || value[0] != envelopeVersion || digest.Digest(value[6:envelopeHeader]) != d {
		return fmt.Errorf("blob %s: %w: envelope header, %d bytes", d.Short(), ErrDamaged, len(value))
	}
	size := int64(binary.BigEndian.Uint32(value[2:6]))
	data := int64(len(value) - envelopeOverhead)
	raw := bundle.Encoding(value[1]) == bundle.Raw
	if size > bundle.MaxChunk || data > bundle.MaxFrame || raw && data != size {
		return fmt.Errorf("blob %s: %w: envelope of %d bytes for %d", d.Short(), ErrDamaged, data, size)
	}
	return nil
}

// openEnvelope returns the frame in a value that checkHeader has accepted; its Data shares memory with value. The
// caller must still verify the digest of the plain bytes, or that of the envelope with checkSum.
func openEnvelope(d digest.Digest, value []byte) bundle.Frame {
	return bundle.Frame{
		Digest:   d,
		Encoding: bundle.Encoding(value[1]),
		Size:     int64(binary.BigEndian.Uint32(value[2:6])),
		Data:     value[envelopeHeader : len(value)-digest.Size],
	}
}

// checkSum verifies the checksum of a value that checkHeader has accepted.
func checkSum(d digest.Digest, value []byte) error {
	body := value[:len(value)-digest.Size]
	if digest.Sum(body) != digest.Digest(value[len(body):]) {
		return fmt.Errorf("blob %s: %w: checksum of the envelope", d.Short(), ErrDamaged)
	}
	return nil
}

// footprint returns how many bytes on disk a blob needs whose frame has n bytes.
func footprint(n int64) int64 { return database.Footprint(n + envelopeOverhead) }
