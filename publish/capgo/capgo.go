// Package capgo makes the attachments for apps that have Capgo's updater plugin and hold a public key: all of a
// release, encrypted. The plugin takes nothing else then. An [Attacher] goes into the Attachments of a
// [publish.Request].
//
// The life of one attachment: by the publisher's [Key], the zip that [publish.Zip] made and each file of the release
// are encrypted, the files after brotli where that pays, and capgo.json says which is which (package protocol/capgo).
// Or Capgo's own CLI has zipped and encrypted the release ([Made]): then the attachment is that zip and capgo.json.
//
// The invariant: a release and a key always make the same bytes, and no two releases share the keys of a session.
package capgo

import (
	"context"
	"errors"
	"fmt"
	"os"

	"brink/protocol"
	format "brink/protocol/capgo"
	"brink/publish"
)

// Attacher makes the attachment that is encrypted. With neither Key nor Made, a release that comes after one with such
// an attachment is refused, unless None says that it needs none.
type Attacher struct {
	Key  *Key        // if set, encrypts the release
	Form format.Form // of the checksums that Key seals; default: [format.Hex]
	Made *Made       // if set, is encrypted already
	None bool
}

// Kind implements [publish.Attacher].
func (Attacher) Kind() string { return format.Kind }

// Check implements [publish.Attacher].
func (a Attacher) Check() error {
	switch {
	case a.None && (a.Key != nil || a.Made != nil):
		return errors.New("a release for Capgo's public key is given, and none is wanted")
	case a.Made != nil && a.Key != nil:
		return errors.New("a release is encrypted by a key, or was encrypted already: not both")
	case a.Made == nil:
		return nil
	case a.Made.SessionKey == "":
		return errors.New("a zip without a session key is not encrypted: it is for publish.Zip")
	}
	return a.Made.Check()
}

// Plan implements [publish.Attacher].
func (a Attacher) Plan(before publish.Before) (publish.Plan, error) {
	switch {
	case a.Key != nil:
		return publish.Plan{Action: publish.Make, From: protocol.AttachmentZip, Reads: true}, nil
	case a.Made != nil:
		return publish.Plan{Action: publish.Make}, nil
	case a.None:
		return publish.Plan{Action: publish.Drop}, nil
	case before.Attached && !before.Same:
		return publish.Plan{}, &publish.AttachmentError{
			Kind: format.Kind,
			Reason: fmt.Sprintf("version %s has it, and devices that hold Capgo's public key take nothing else",
				before.Version),
			Hint: "give --capgo-key, or what Capgo's CLI has encrypted; --capgo=false publishes without",
		}
	}
	return publish.Plan{Action: publish.Keep}, nil
}

// Attach implements [publish.Attacher].
func (a Attacher) Attach(ctx context.Context, src *publish.Source, dir *os.Root) error {
	if a.Key != nil {
		return a.encrypt(ctx, src, dir)
	}
	return a.Made.take(dir)
}
