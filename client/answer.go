package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// answer is the part of a [protocol.CheckAnswer] that a device uses. The rest follows from the manifest; decoding it
// would let a node make the device allocate memory for nothing.
type answer struct {
	Decision       channel.Kind             `json:"decision"`
	Reason         channel.Reason           `json:"reason"`
	Representation *protocol.Representation `json:"representation"`
	Patch          []byte                   `json:"patch"`
	Trust          uint64                   `json:"trust"`
	Manifest       json.RawMessage          `json:"manifest"`
}

// readAnswer reads the answer to a check. It allocates at most a small multiple of the answer's size. The manifest may
// be missing if it is the one that the device has seen.
func readAnswer(r io.Reader, seen digest.Digest) (answer, error) {
	var a answer
	raw, err := protocol.ReadAll(r, protocol.MaxCheckAnswer)
	if err != nil {
		return a, fmt.Errorf("read the answer: %w", err)
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return answer{}, fmt.Errorf("decode the answer: %w", err)
	}
	if len(a.Patch) > protocol.MaxInline {
		return answer{}, fmt.Errorf("the answer has a patch of %d bytes, want at most %d", len(a.Patch), protocol.MaxInline)
	}
	stays := a.Decision == channel.UpToDate || a.Decision == channel.None
	if a.Manifest == nil && (seen.IsZero() || !stays) {
		return answer{}, errors.New("the answer has no channel manifest")
	}
	return a, nil
}
