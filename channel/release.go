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

// Bounds of the texts of a release, in bytes.
const (
	MaxLink    = 2048
	MaxComment = 2048
)

// Release is a bundle under a version, with what a device needs to know about it.
type Release struct {
	Version   string        `json:"version"`   // semver, see CheckVersion
	Bundle    digest.Digest `json:"bundle"`    // of the archive
	SHA256    digest.SHA256 `json:"sha256"`    // of the archive; identifies it as a dictionary
	Size      int64         `json:"size"`      // of the archive, bytes
	Index     digest.Digest `json:"index"`     // of the encoded index
	IndexSize int64         `json:"indexSize"` // of the encoded index, bytes
	Files     int           `json:"files"`
	Created   time.Time     `json:"created"`

	Native    map[Platform]Limit `json:"native,omitempty"`    // platforms that are not in the map have no limit
	Mandatory bool               `json:"mandatory,omitempty"` // the device should not continue without it
	Link      string             `json:"link,omitempty"`      // for people: where the release is described
	Comment   string             `json:"comment,omitempty"`   // for people

	Attachments []Attachment `json:"attachments,omitempty"` // the release in other forms; no two of the same kind

	unknown unknown
}

// Platform is the kind of shell around an app's web layer. Other values than the constants are allowed.
type Platform string

// The well-known platforms.
const (
	IOS      Platform = "ios"
	Android  Platform = "android"
	Electron Platform = "electron"
	Web      Platform = "web"
	Other    Platform = "other"
)

// Limit is the range of versions of the native app that can run a release. It includes both ends; an empty end is open.
type Limit struct {
	Min string `json:"min,omitempty"` // semver
	Max string `json:"max,omitempty"` // semver

	unknown unknown
}

// MarshalJSON encodes the fields, and the unknown members that UnmarshalJSON found.
func (r Release) MarshalJSON() ([]byte, error) {
	if r.isPlain() {
		return r.appendPlain(nil)
	}
	type fields Release
	return encodeObject(fields(r), r.unknown)
}

// AppendJSON appends the JSON of r to b: the same bytes as json.Marshal, several times faster. It dominates the cost of
// an answer to a device.
func (r *Release) AppendJSON(b []byte) ([]byte, error) {
	if r.isPlain() {
		return r.appendPlain(b)
	}
	raw, err := json.Marshal(r)
	return append(b, raw...), err
}

// isPlain reports whether r has no unknown members.
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

// appendPlain appends the JSON of the fields.
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
		separator := byte('{')
		for _, platform := range slices.Sorted(maps.Keys(r.Native)) {
			b = appendString(append(b, separator), string(platform))
			b = r.Native[platform].appendPlain(append(b, ':'))
			separator = ','
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
		separator := byte('[')
		for i := range r.Attachments {
			a := &r.Attachments[i]
			b = appendString(append(append(b, separator), `{"kind":`...), a.Kind)
			b = appendHex(append(b, `,"bundle":`...), a.Bundle[:])
			b = append(strconv.AppendInt(append(b, `,"size":`...), a.Size, 10), '}')
			separator = ','
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

// UnmarshalJSON decodes a release, with the members that this version does not know. It does not check the values.
func (r *Release) UnmarshalJSON(raw []byte) error {
	type fields Release
	var f fields
	rest, err := decodeObject(raw, &f)
	*r = Release(f)
	r.unknown = rest
	return err
}

// MarshalJSON encodes the fields, and the unknown members that UnmarshalJSON found.
func (l Limit) MarshalJSON() ([]byte, error) {
	type fields Limit
	return encodeObject(fields(l), l.unknown)
}

// UnmarshalJSON decodes a limit, with the members that this version does not know. It does not check the values.
func (l *Limit) UnmarshalJSON(raw []byte) error {
	type fields Limit
	var f fields
	rest, err := decodeObject(raw, &f)
	*l = Limit(f)
	l.unknown = rest
	return err
}

// clone returns a deep copy.
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
	// People follow the link, so it must not be a script.
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
