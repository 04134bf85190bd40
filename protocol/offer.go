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

// TypeOffer is the media type of an offer, which opens an upload. It has two parts, so that the signature can be
// checked before the second one, which may be large, is read at all:
//
//	the bundle intent, as signed, and a line feed
//	the index that the intent names, as it is encoded or as one zstd frame of that
//
// A signed document has no line feed in it, an encoded index begins with "{", and a zstd frame does not.
const TypeOffer = "application/vnd.brink.offer"

// ErrNoIntent is returned for an offer that does not begin with a line that may be a bundle intent.
var ErrNoIntent = errors.New("the offer does not begin with a bundle intent on a line of its own")

// Offer returns an offer. The index may be a zstd frame.
func Offer(intent, index []byte) []byte {
	offer := make([]byte, 0, len(intent)+1+len(index))
	return append(append(append(offer, intent...), '\n'), index...)
}

// ReadIntent reads the first part of an offer: at most [channel.MaxIntent] bytes and the line feed. What follows is
// left in r. Before it takes memory beyond the buffer of r it calls room, if that is set, with the bytes that it will
// take in all, and returns its error.
func ReadIntent(r *bufio.Reader, room func(bytes int64) error) ([]byte, error) {
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
			if room != nil {
				if err := room(channel.MaxIntent + 1); err != nil {
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

// MaxEncodedIndex bounds the second part of an offer in bytes, for an index of so many: what does not get smaller by
// zstd gets larger by a few bytes for each block.
func MaxEncodedIndex(size int64) int64 { return size + size/64 + 1<<10 }

// Demand answers an offer: the chunks that the node lacks, and the path on the same node to which they are to be sent.
// A bundle that is complete needs no upload.
type Demand struct {
	Bundle   digest.Digest `json:"bundle"`
	Complete bool          `json:"complete"`
	Missing  digest.List   `json:"missing,omitempty"`
	Upload   string        `json:"upload,omitempty"` // see UploadPath
}

// Uploaded answers an upload that made the bundle complete: it is checked as a whole, and durable.
type Uploaded struct {
	Bundle digest.Digest `json:"bundle"`
	Chunks int           `json:"chunks"` // that came with this upload
	Bytes  int64         `json:"bytes"`  // of those chunks, plain
}

const uploadsPath = "/v1/uploads/"

// UploadPath is where the chunks of an upload are sent.
func UploadPath(name string) string { return uploadsPath + name }

// CheckUpload refuses what is not a path as UploadPath returns it. A publisher appends it to the address of the node,
// where other text could lead to another host.
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
