package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"

	"brink/digest"
)

// MaxPatch bounds, in bytes, the archives that patches are made between. Making and applying one holds the old archive
// in memory, and no client has to accept a window larger than this (RFC 9842, section 5).
const MaxPatch = 128 << 20

// patchMagic opens a dcz body: a zstd skippable frame that carries the dictionary's SHA-256 (RFC 9842, section 5).
const patchMagic = "\x5e\x2a\x4d\x18\x20\x00\x00\x00"

// patchHeaderSize is the length of what precedes the zstd frame proper, in bytes.
const patchHeaderSize = len(patchMagic) + digest.Size

// ErrNoPatch is returned when no patch can be made between two archives because one of them is too large.
var ErrNoPatch = errors.New("too large for a patch")

// EncodePatch returns next encoded against old: the body of a response with Content-Encoding dcz (RFC 9842). oldName is
// the SHA-256 of old. It returns [ErrNoPatch] when one of the two is longer than [MaxPatch]. It takes memory of a few
// times their size, and tens to hundreds of milliseconds for archives of a few megabytes.
func EncodePatch(old, next []byte, oldName digest.SHA256) ([]byte, error) {
	if len(old) > MaxPatch || len(next) > MaxPatch {
		return nil, ErrNoPatch
	}
	// Clients need not accept a window of more than 8 MiB or 1.25 times the dictionary (RFC 9842, section 5). A
	// single-segment frame has a window of exactly its content, and as long as the window covers all that was decoded,
	// offsets reach into the whole dictionary (RFC 8878, section 3.1.1.5): there the encoder may look as far back as
	// there is anything. A longer next is written with the largest window that is allowed.
	limit := max(8<<20, len(old)+len(old)/4)
	single := len(next) <= limit
	window := roundDown(limit)
	if single {
		window = max(zstd.MinWindowSize, roundUp(len(old)+len(next)))
	}
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderDictRaw(0, old),
		zstd.WithEncoderLevel(zstd.SpeedBestCompression), // lower levels hardly look into a large dictionary
		zstd.WithWindowSize(window),
		zstd.WithSingleSegment(single),
		zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("encode patch: %w", err)
	}
	body := make([]byte, 0, patchHeaderSize+len(next)/16)
	body = append(body, patchMagic...)
	body = append(body, oldName[:]...)
	return encoder.EncodeAll(next, body), encoder.Close()
}

// DecodePatch returns a reader of what r, a dcz body, encodes against old. The reader fails with [ErrMalformed] when
// the patch is for another dictionary than oldName, is cut or garbled, or needs a window beyond [MaxPatch]; who reads
// must bound the length and check the digest of the result. Close it to give back its memory.
func DecodePatch(r io.Reader, old []byte, oldName digest.SHA256) (io.ReadCloser, error) {
	var head [patchHeaderSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("patch: %w: %w", ErrMalformed, err)
	}
	if !bytes.HasPrefix(head[:], []byte(patchMagic)) {
		return nil, fmt.Errorf("patch: %w: it begins otherwise", ErrMalformed)
	}
	if name := digest.SHA256(head[len(patchMagic):]); name != oldName {
		return nil, fmt.Errorf("patch: %w: it is for %s", ErrMalformed, name)
	}
	decoder, err := zstd.NewReader(r,
		zstd.WithDecoderDictRaw(0, old),
		zstd.WithDecoderMaxWindow(MaxPatch),
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("patch: %w: %w", ErrMalformed, err)
	}
	return patchReader{decoder}, nil
}

// patchReader names the package's own error for whatever the decoder finds wrong.
type patchReader struct{ decoder *zstd.Decoder }

func (p patchReader) Read(b []byte) (int, error) {
	n, err := p.decoder.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("patch: %w: %w", ErrMalformed, err)
	}
	return n, err
}

func (p patchReader) Close() error {
	p.decoder.Close()
	return nil
}

// roundUp returns the smallest power of two that is at least n, for n > 0.
func roundUp(n int) int { return 1 << bits.Len(uint(max(n, 1)-1)) }

// roundDown returns the largest power of two that is at most n, for n > 0.
func roundDown(n int) int { return 1 << (bits.Len(uint(n)) - 1) }
