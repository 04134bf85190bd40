package protocol

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"brink/channel"
	"brink/digest"
)

// TypeOffer is the media type of an offer, which starts an upload. It has two parts, so that the signature can be
// checked before the second part, which may be large, is read:
//
//	the bundle intent, as signed, and a line feed
//	the index of the intent, encoded, and optionally compressed as one zstd frame
//
// A signed document contains no line feed. An encoded index starts with "{", and a zstd frame does not.
const TypeOffer = "application/vnd.brink.offer"

// ErrNoIntent is returned for an offer whose first line cannot be a bundle intent.
var ErrNoIntent = errors.New("the first line of the offer is not a bundle intent")

// Offer returns an offer. The index may be compressed.
func Offer(intent, index []byte) []byte {
	offer := make([]byte, 0, len(intent)+1+len(index))
	return append(append(append(offer, intent...), '\n'), index...)
}

// ReadIntent reads the first part of an offer from r: at most [channel.MaxIntent] bytes and the line feed. If that does
// not fit in the buffer of r, it calls reserve, unless that is nil, with the bytes that it will allocate, and returns
// its error.
func ReadIntent(r *bufio.Reader, reserve func(bytes int64) error) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > channel.MaxIntent+1 {
			return nil, fmt.Errorf("%w: its first line has more than %d bytes", ErrNoIntent, channel.MaxIntent)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) {
				err = ErrNoIntent
			}
			return nil, err
		}
		if line == nil && err != nil {
			if reserve != nil {
				if err := reserve(channel.MaxIntent + 1); err != nil {
					return nil, err
				}
			}
			line = make([]byte, 0, channel.MaxIntent+1)
		}
		if line = append(line, part...); err == nil {
			return line[:len(line)-1], nil
		}
	}
}

// MaxEncodedIndex bounds, in bytes, the second part of an offer for an index of that size: zstd adds a few bytes for
// each block that it cannot compress.
func MaxEncodedIndex(size int64) int64 { return size + size/64 + 1<<10 }

// Demand answers an offer: the chunks that the node lacks, and the path on the same node to which to send them. A
// complete bundle needs no upload.
type Demand struct {
	Bundle   digest.Digest `json:"bundle"`
	Complete bool          `json:"complete"`
	Missing  digest.List   `json:"missing,omitempty"`
	Upload   string        `json:"upload,omitempty"` // see UploadPath
}

// Uploaded answers an upload that completed the bundle: the whole bundle was verified, and is durable.
type Uploaded struct {
	Bundle digest.Digest `json:"bundle"`
	Chunks int           `json:"chunks"` // in this upload
	Bytes  int64         `json:"bytes"`  // of those chunks, plain
}

const uploadsPath = "/v1/uploads/"

// UploadPath returns the path to which the chunks of an upload are sent.
func UploadPath(name string) string { return uploadsPath + name }

// CheckUpload returns nil if path is one that UploadPath can return. A publisher appends it to the address of the node,
// and another text could make that the address of another host.
func CheckUpload(path string) error {
	name, ok := strings.CutPrefix(path, uploadsPath)
	if !ok || name == "" || len(name) > 128 || strings.ContainsFunc(name, notInName) {
		return fmt.Errorf("%q is not the path of an upload", path)
	}
	return nil
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}
