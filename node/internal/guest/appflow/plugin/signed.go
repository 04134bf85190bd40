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
// base64url of a JSON array of [Entry]. Signatures are not checked here: only the app has the keys, and the node sends
// the file byte for byte.
type signedList struct {
	Payload *string `json:"payload"`
}

// errNoList is returned by CheckSigned for a file that is not a list.
var errNoList = errors.New(SignedFile + " is not what `appflow live-update generate-manifest` makes")

// CheckSigned returns an error if the publisher's list of files does not match the bundle that contains it: each listed
// file must exist, with the same size, and with the same SHA-256 if the list has one. With a list that was made before
// the last build, devices would keep files of the previous release. Payloads of another form are left to the device.
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
	// Decode entry by entry: empty entries take many times their bytes in memory.
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

// check returns an error if the file in the bundle differs from the entry.
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
