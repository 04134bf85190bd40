package plugin

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"brink/digest"
)

// snapshotSize is how many bytes a snapshot's identity has: those of a UUID.
const snapshotSize = 16

// Snapshot returns the ID of a bundle for plugins: the first 16 bytes of its digest as a UUID of version 8 (RFC 9562,
// section 5.8). Appflow's own snapshots are UUIDs, and plugins name folders by them. Equal files have equal snapshots
// on every node, so a plugin never fetches one twice. It has 122 bits of the digest: accidental collisions do not
// occur.
func Snapshot(bundle digest.Digest) string {
	b := masked(bundle)
	var text [36]byte
	hex.Encode(text[0:], b[0:4])
	hex.Encode(text[9:], b[4:6])
	hex.Encode(text[14:], b[6:8])
	hex.Encode(text[19:], b[8:10])
	hex.Encode(text[24:], b[10:16])
	for _, i := range []int{8, 13, 18, 23} {
		text[i] = '-'
	}
	return string(text[:])
}

// masked returns the first bytes of a digest with the version and the variant of a UUID in their places.
func masked(bundle digest.Digest) (b [snapshotSize]byte) {
	copy(b[:], bundle[:])
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return b
}

// parseSnapshot parses a UUID in any case. Snapshots of Appflow are UUIDs too, and match no bundle.
func parseSnapshot(text string) (b [snapshotSize]byte, ok bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return b, false
	}
	digits := strings.ReplaceAll(text, "-", "")
	if len(digits) != 2*snapshotSize {
		return b, false
	}
	_, err := hex.Decode(b[:], []byte(digits))
	return b, err == nil
}

// Build returns the build number that plugins show for a bundle: 1 to 2³¹-1, so that it is exact in JavaScript and in a
// 32-bit integer, and never 0, which means no update. It is a pure function of the digest, and so the same on every
// node. Two bundles may have the same number, about one pair in 2³¹, which is harmless: devices and this package
// identify bundles by [Snapshot] only.
func Build(bundle digest.Digest) int64 {
	const most = 1<<31 - 1
	return int64(binary.BigEndian.Uint64(bundle[16:24])%most) + 1
}
