// Package capgo makes encrypted attachments for apps that have Capgo's updater plugin and contain a public key. The
// plugin in these apps accepts only encrypted releases. An [Attacher] belongs in the Attachments of a
// [publish.Request].
//
// The life of one attachment: the zip made by [publish.Zip] and each file of the release are encrypted with the
// publisher's [Key], files after compression with brotli if that pays, and capgo.json describes them (package
// protocol/capgo). Alternatively, Capgo's own CLI has zipped and encrypted the release ([Made]): then the attachment is
// that zip and capgo.json.
//
// The invariant: the same release and key always make the same bytes, and no two releases have the same session keys.
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

// Attacher makes the encrypted attachment. With neither Key nor Made, a release is refused if the previous one has the
// attachment, unless None is set.
type Attacher struct {
	Key  *Key        // if set, encrypts the release
	Form format.Form // of the checksums that Key seals; default: [format.Hex]
	Made *Made       // if set, a zip that is encrypted already
	None bool        // publish without the attachment
}

// Kind implements [publish.Attacher].
func (Attacher) Kind() string { return format.Kind }

// Check implements [publish.Attacher].
func (a Attacher) Check() error {
	switch {
	case a.None && (a.Key != nil || a.Made != nil):
		return errors.New("field None is set together with Key or Made: want only one of them")
	case a.Made != nil && a.Key != nil:
		return errors.New("fields Key and Made are both set: want only one of them")
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
			Reason: fmt.Sprintf("version %s has it, and apps with Capgo's public key accept only encrypted releases",
				before.Version),
			Hint: "use --capgo-key, or --capgo-json with the output of Capgo's CLI; --capgo=false publishes without it",
		}
	}
	return publish.Plan{Action: publish.Keep}, nil
}

// Attach implements [publish.Attacher].
func (a Attacher) Attach(ctx context.Context, src *publish.Source, dir *os.Root) error {
	if a.Key != nil {
		return a.encrypt(ctx, src, dir)
	}
	return a.Made.attach(dir)
}
