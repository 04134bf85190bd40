package protocol

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"

	"brink/channel"
	"brink/digest"
)

// MaxListed is how many channels one [Listed] names at most, and MaxListedAnswer how many bytes it takes: names as long
// as they can be, and what is around them, take less than 400 bytes for each.
const (
	MaxListed       = 1000
	MaxListedAnswer = MaxListed * 400
)

// Listed answers a signed [channel.Listing]: channels of the org that are in force on the node and that a role of the
// signers holds, by app and then by channel.
type Listed struct {
	Org      string          `json:"org"`
	Channels []ListedChannel `json:"channels"` // at most MaxListed
	// Next is the cursor of the last one, and empty if none is left: the next page comes after it, see ChannelsPath.
	Next string `json:"next,omitempty"`
}

// ListedChannel is one channel of an org.
type ListedChannel struct {
	App      string        `json:"app"`
	Channel  string        `json:"channel"`
	Sequence uint64        `json:"sequence"`
	Expires  time.Time     `json:"expires,omitzero"` // absent: never
	Manifest digest.Digest `json:"manifest"`         // of the envelope as signed: its entity tag
}

// UnmarshalJSON refuses what is too short to have a digest, so that a list takes no more memory than a few times its
// bytes.
func (c *ListedChannel) UnmarshalJSON(raw []byte) error {
	if len(raw) < digest.TextSize {
		return errors.New("a channel without the digest of its manifest")
	}
	type fields ListedChannel
	return json.Unmarshal(raw, (*fields)(c))
}

// ChannelsPath is where a signed listing is answered. After is [Listed.Next] of the page before, and empty for the
// first one.
func ChannelsPath(org, after string) string {
	path := "/v1/orgs/" + url.PathEscape(org) + "/channels"
	if after != "" {
		path += "?after=" + url.QueryEscape(after)
	}
	return path
}

// Cursor names a place in a list of channels. The zero value is before all of them.
type Cursor struct{ App, Channel string }

// ParseCursor reads what String wrote; the empty text is the zero value.
func ParseCursor(text string) (Cursor, error) {
	if text == "" {
		return Cursor{}, nil
	}
	app, name, _ := strings.Cut(text, "/")
	if err := errors.Join(channel.CheckApp(app), channel.CheckChannel(name)); err != nil {
		return Cursor{}, err
	}
	return Cursor{App: app, Channel: name}, nil
}

func (c Cursor) String() string { return c.App + "/" + c.Channel }

// Compare orders channels by app and then by channel, both bytewise: -1, 0 or +1.
func (c Cursor) Compare(other Cursor) int {
	return cmp.Or(strings.Compare(c.App, other.App), strings.Compare(c.Channel, other.Channel))
}
