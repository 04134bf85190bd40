package plugin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"brink/bundle"
)

// MaxSigned bounds the publisher's list of files, in bytes.
const MaxSigned = 32 << 20

// signedList is live-update-manifest.json: a JWS in the general JSON form (RFC 7515, section 7.2.1). The payload is
// base64url of a JSON array of [Entry]. Whether it is signed, and by whom, is between the publisher and the app: a node
// has none of the keys, and sends the file byte for byte.
type signedList struct {
	Payload *string `json:"payload"`
}

// errNoList is what CheckSigned returns for a file that is no list at all.
var errNoList = errors.New(SignedFile + " is not what `appflow live-update generate-manifest` makes")

// CheckSigned reports whether the publisher's list of files fits the bundle that it lies in: each file in it is there,
// with that size, and where the list names a SHA-256, with that one. A list that was made before the last build would
// have devices keep files of the release before. What the list says in a way that this package does not know is for the
// device to judge.
func CheckSigned(raw []byte, ix *bundle.Index) error {
	var list signedList
	if err := json.Unmarshal(raw, &list); err != nil || list.Payload == nil {
		return errNoList
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(*list.Payload, "="))
	if err != nil {
		return errNoList
	}
	if !json.Valid(payload) {
		return nil // another kind of payload
	}
	// One entry after the other: a list of them takes many times its bytes when they are empty.
	entries := json.NewDecoder(bytes.NewReader(payload))
	if open, err := entries.Token(); err != nil || open != json.Delim('[') {
		return nil
	}
	var first error
	var e Entry
	for entries.More() {
		e = Entry{}
		if entries.Decode(&e) != nil {
			return nil
		}
		if first == nil {
			first = e.check(ix)
		}
	}
	return first
}

// check reports whether the file is in the bundle as the list has it.
func (e *Entry) check(ix *bundle.Index) error {
	f := ix.File(strings.TrimPrefix(e.Href, "./"))
	switch {
	case f == nil:
		return stale(e.Href, "which is not in the release")
	case f.Size != e.Size:
		return stale(e.Href, fmt.Sprintf("with %d bytes, and it has %d", e.Size, f.Size))
	}
	sums := slices.DeleteFunc(strings.Fields(e.Integrity), func(s string) bool {
		return !strings.HasPrefix(s, "sha256-")
	})
	want := "sha256-" + base64.StdEncoding.EncodeToString(f.SHA256[:])
	if len(sums) > 0 && !slices.Contains(sums, want) {
		return stale(e.Href, "with other content")
	}
	return nil
}

func stale(href, how string) error {
	return fmt.Errorf("%s was made for other files: it lists %q, %s; make it again after the last build",
		SignedFile, href, how)
}
