package channel

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"brink/digest"
)

// Bounds of what a release says to people, in bytes.
const (
	MaxLink    = 2048
	MaxComment = 2048
)

// Release is a bundle under a version, with what a device must know about it.
type Release struct {
	Version   string        `json:"version"`   // semver, see CheckVersion
	Bundle    digest.Digest `json:"bundle"`    // of the archive
	SHA256    digest.SHA256 `json:"sha256"`    // of the archive, its name as a dictionary
	Size      int64         `json:"size"`      // of the archive, bytes
	Index     digest.Digest `json:"index"`     // of the encoded index
	IndexSize int64         `json:"indexSize"` // of the encoded index, bytes
	Files     int           `json:"files"`
	Created   time.Time     `json:"created"`

	Native    map[Platform]Limit `json:"native,omitempty"`    // a platform that is not in it has no limit
	Mandatory bool               `json:"mandatory,omitempty"` // the device should not go on without it
	Link      string             `json:"link,omitempty"`      // for people: where the release is described
	Comment   string             `json:"comment,omitempty"`   // for people

	Attachments []Attachment `json:"attachments,omitempty"` // the release in other forms; no two of one kind

	unknown unknown
}

// Platform is the kind of shell around an app's web layer. Platforms that are none of the constants are kept.
type Platform string

// The platforms that Brink knows by name.
const (
	IOS      Platform = "ios"
	Android  Platform = "android"
	Electron Platform = "electron"
	Web      Platform = "web"
	Other    Platform = "other"
)

// Limit says which versions of the native app can run a release. Both ends are within; an empty one is open.
type Limit struct {
	Min string `json:"min,omitempty"` // semver
	Max string `json:"max,omitempty"` // semver

	unknown unknown
}

// MarshalJSON writes the fields and what UnmarshalJSON found beside them.
func (r Release) MarshalJSON() ([]byte, error) {
	if r.isPlain() {
		return r.appendPlain(nil)
	}
	type fields Release
	return encodeObject(fields(r), r.unknown)
}

// AppendJSON appends to b what json.Marshal writes of r, byte for byte and several times faster: an answer to a device
// has little else in it that takes time.
func (r *Release) AppendJSON(b []byte) ([]byte, error) {
	if r.isPlain() {
		return r.appendPlain(b)
	}
	raw, err := json.Marshal(r)
	return append(b, raw...), err
}

// isPlain reports whether r has no members that this version does not know.
func (r *Release) isPlain() bool {
	if len(r.unknown) > 0 {
		return false
	}
	for _, l := range r.Native {
		if len(l.unknown) > 0 {
			return false
		}
	}
	for i := range r.Attachments {
		if len(r.Attachments[i].unknown) > 0 {
			return false
		}
	}
	return true
}

// appendPlain appends the fields, in their order.
func (r *Release) appendPlain(b []byte) (_ []byte, err error) {
	b = appendString(append(b, `{"version":`...), r.Version)
	b = appendHex(append(b, `,"bundle":`...), r.Bundle[:])
	b = appendHex(append(b, `,"sha256":`...), r.SHA256[:])
	b = strconv.AppendInt(append(b, `,"size":`...), r.Size, 10)
	b = appendHex(append(b, `,"index":`...), r.Index[:])
	b = strconv.AppendInt(append(b, `,"indexSize":`...), r.IndexSize, 10)
	b = strconv.AppendInt(append(b, `,"files":`...), int64(r.Files), 10)
	if b, err = r.Created.AppendText(append(b, `,"created":"`...)); err != nil {
		return nil, err
	}
	b = append(b, '"')
	if len(r.Native) > 0 {
		b = append(b, `,"native":`...)
		before := byte('{')
		for _, platform := range slices.Sorted(maps.Keys(r.Native)) {
			b = appendString(append(b, before), string(platform))
			b = r.Native[platform].appendPlain(append(b, ':'))
			before = ','
		}
		b = append(b, '}')
	}
	if r.Mandatory {
		b = append(b, `,"mandatory":true`...)
	}
	if r.Link != "" {
		b = appendString(append(b, `,"link":`...), r.Link)
	}
	if r.Comment != "" {
		b = appendString(append(b, `,"comment":`...), r.Comment)
	}
	if len(r.Attachments) > 0 {
		b = append(b, `,"attachments":`...)
		before := byte('[')
		for i := range r.Attachments {
			a := &r.Attachments[i]
			b = appendString(append(append(b, before), `{"kind":`...), a.Kind)
			b = appendHex(append(b, `,"bundle":`...), a.Bundle[:])
			b = append(strconv.AppendInt(append(b, `,"size":`...), a.Size, 10), '}')
			before = ','
		}
		b = append(b, ']')
	}
	return append(b, '}'), nil
}

func (l Limit) appendPlain(b []byte) []byte {
	switch {
	case l.Min != "" && l.Max != "":
		b = appendString(append(b, `{"min":`...), l.Min)
		b = appendString(append(b, `,"max":`...), l.Max)
	case l.Min != "":
		b = appendString(append(b, `{"min":`...), l.Min)
	case l.Max != "":
		b = appendString(append(b, `{"max":`...), l.Max)
	default:
		b = append(b, '{')
	}
	return append(b, '}')
}

// UnmarshalJSON reads a release and keeps the members that it does not know; it does not check the values.
func (r *Release) UnmarshalJSON(raw []byte) error {
	type fields Release
	var f fields
	rest, err := decodeObject(raw, &f)
	*r = Release(f)
	r.unknown = rest
	return err
}

// MarshalJSON writes the fields and what UnmarshalJSON found beside them.
func (l Limit) MarshalJSON() ([]byte, error) {
	type fields Limit
	return encodeObject(fields(l), l.unknown)
}

// UnmarshalJSON reads a limit and keeps the members that it does not know; it does not check the values.
func (l *Limit) UnmarshalJSON(raw []byte) error {
	type fields Limit
	var f fields
	rest, err := decodeObject(raw, &f)
	*l = Limit(f)
	l.unknown = rest
	return err
}

// clone returns a copy that shares nothing that can change.
func (r *Release) clone() Release {
	c := *r
	c.Native = maps.Clone(r.Native)
	for platform, l := range c.Native {
		l.unknown = l.unknown.clone()
		c.Native[platform] = l
	}
	c.Attachments = cloneAttachments(r.Attachments)
	c.unknown = r.unknown.clone()
	return c
}

func (r *Release) check() error {
	if err := CheckVersion(r.Version); err != nil {
		return err
	}
	if err := checkContent(r.Bundle, r.Index, r.Size, r.IndexSize, r.Files); err != nil {
		return err
	}
	if r.SHA256.IsZero() {
		return malformed("sha256 is missing")
	}
	if r.Created.IsZero() {
		return malformed("created is missing")
	}
	if len(r.Link) > MaxLink || len(r.Comment) > MaxComment {
		return malformed("link and comment have %d and %d bytes, want at most %d and %d",
			len(r.Link), len(r.Comment), MaxLink, MaxComment)
	}
	// A link is shown to people to follow, so it must not be a script.
	if r.Link != "" && !strings.HasPrefix(r.Link, "https://") && !strings.HasPrefix(r.Link, "http://") {
		return refuse(CodeMalformed, "write it with https:// in front", "link %q is not a web address", r.Link)
	}
	for platform, l := range r.Native {
		if err := checkName("platform", string(platform), MaxRole); err != nil {
			return err
		}
		if err := l.check(); err != nil {
			return err
		}
	}
	return checkAttachments(r.Attachments)
}

func (l Limit) check() error {
	for _, v := range []string{l.Min, l.Max} {
		if v == "" {
			continue
		}
		if err := CheckVersion(v); err != nil {
			return err
		}
	}
	if l.Min != "" && l.Max != "" && CompareVersions(l.Min, l.Max) > 0 {
		return malformed("native limits: min %s is above max %s", l.Min, l.Max)
	}
	return nil
}
