package channel

import (
	"iter"
	"slices"

	"brink/digest"
)

// Bounds of attachments.
const (
	MaxAttachments = 4  // attachments of a release
	MaxKind        = 32 // bytes in a kind
)

// Attachment is a separate bundle that belongs to a release: its files in another form that the publisher has made,
// such as a zip for devices that accept nothing else, or encrypted files. It is uploaded like every bundle, is listed
// in the signed manifest, and is stored as long as its release. Its content depends on the kind. [Resolve] ignores
// attachments.
type Attachment struct {
	Kind   string        `json:"kind"`   // 1 to MaxKind of a-z 0-9 -
	Bundle digest.Digest `json:"bundle"` // of the attachment's own archive
	Size   int64         `json:"size"`   // of that archive, bytes

	unknown unknown
}

// Attachment returns the release's attachment of the kind, or nil. The caller must not change it.
func (r *Release) Attachment(kind string) *Attachment {
	for i := range r.Attachments {
		if r.Attachments[i].Kind == kind {
			return &r.Attachments[i]
		}
	}
	return nil
}

// Bundles yields the bundle of the release and those of its attachments, in order.
func (r *Release) Bundles() iter.Seq[digest.Digest] {
	return func(yield func(digest.Digest) bool) {
		if !yield(r.Bundle) {
			return
		}
		for i := range r.Attachments {
			if !yield(r.Attachments[i].Bundle) {
				return
			}
		}
	}
}

// MarshalJSON encodes the fields, and the unknown members that UnmarshalJSON found.
func (a Attachment) MarshalJSON() ([]byte, error) {
	type fields Attachment
	return encodeObject(fields(a), a.unknown)
}

// UnmarshalJSON decodes an attachment, with the members that this version does not know. It does not check the values.
func (a *Attachment) UnmarshalJSON(raw []byte) error {
	type fields Attachment
	var f fields
	rest, err := decodeObject(raw, &f)
	*a = Attachment(f)
	a.unknown = rest
	return err
}

// cloneAttachments returns a deep copy.
func cloneAttachments(list []Attachment) []Attachment {
	c := slices.Clone(list)
	for i := range c {
		c[i].unknown = c[i].unknown.clone()
	}
	return c
}

func checkAttachments(list []Attachment) error {
	if len(list) > MaxAttachments {
		return malformed("release has %d attachments, want at most %d", len(list), MaxAttachments)
	}
	for i, a := range list {
		if err := checkKind(a.Kind); err != nil {
			return err
		}
		if a.Bundle.IsZero() {
			return malformed("attachment %s: bundle is missing", a.Kind)
		}
		if a.Size < 1 || a.Size > MaxSequence {
			return malformed("attachment %s: size is %d bytes, want 1 or more", a.Kind, a.Size)
		}
		if slices.ContainsFunc(list[:i], func(other Attachment) bool { return other.Kind == a.Kind }) {
			return malformed("two attachments have kind %s", a.Kind)
		}
	}
	return nil
}

func checkKind(kind string) error {
	if len(kind) == 0 || len(kind) > MaxKind {
		return malformed("attachment: kind has %d bytes, want 1 to %d", len(kind), MaxKind)
	}
	for i := range len(kind) {
		if c := kind[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return malformed("attachment: kind is %q, want a-z 0-9 -", kind)
		}
	}
	return nil
}
