package plugin

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"brink/digest"
)

// snapshotSize is how many bytes a snapshot's identity has: those of a UUID.
const snapshotSize = 16

// Snapshot returns the identity under which plugins know a bundle: the first 16 bytes of its digest as a UUID of
// version 8 (RFC 9562, section 5.8), which is what Appflow's own snapshots look like and what plugins name folders by.
// Equal files have equal snapshots on every node and for ever, so a plugin that has one never has to fetch it again. Of
// the digest 122 bits remain: nobody finds two bundles that share them by chance.
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

// parseSnapshot reads a UUID, in whatever case. Those that Appflow made are UUIDs too, and fit no bundle.
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

// Build returns the number under which plugins show a bundle: 1 to 2³¹-1, so that it is exact in JavaScript and in a
// 32-bit integer, and never the 0 that plugins take for no update. It is a pure function of the digest, and so the same
// on every node. Two bundles may share a number, about one pair in 2³¹, and that does no harm: devices and this package
// tell bundles apart by [Snapshot] alone, and the number is only shown.
func Build(bundle digest.Digest) int64 {
	const most = 1<<31 - 1
	return int64(binary.BigEndian.Uint64(bundle[16:24])%most) + 1
}
