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

// answer is what a device reads of a [protocol.CheckAnswer]. All else follows from the manifest, and is not worth the
// memory that a node could have it cost.
type answer struct {
	Decision       channel.Kind             `json:"decision"`
	Reason         channel.Reason           `json:"reason"`
	Representation *protocol.Representation `json:"representation"`
	Patch          []byte                   `json:"patch"`
	Trust          uint64                   `json:"trust"`
	Manifest       json.RawMessage          `json:"manifest"`
}

// readAnswer reads the answer to a check, whatever it is, with a few times its bytes of memory. It may leave the
// manifest out if that is the one that was seen.
func readAnswer(r io.Reader, seen digest.Digest) (answer, error) {
	var a answer
	raw, err := protocol.ReadAll(r, protocol.MaxCheckAnswer)
	if err != nil {
		return a, fmt.Errorf("answer: %w", err)
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return answer{}, fmt.Errorf("answer: %w", err)
	}
	if len(a.Patch) > protocol.MaxInline {
		return answer{}, fmt.Errorf("a patch of %d bytes, of which %d were asked for", len(a.Patch), protocol.MaxInline)
	}
	stays := a.Decision == channel.UpToDate || a.Decision == channel.None
	if a.Manifest == nil && (seen.IsZero() || !stays) {
		return answer{}, errors.New("an answer without a channel manifest")
	}
	return a, nil
}
