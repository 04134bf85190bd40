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

// MaxListed bounds the number of channels in one [Listed], and MaxListedAnswer its bytes: a channel with the longest
// names takes less than 400.
const (
	MaxListed       = 1000
	MaxListedAnswer = MaxListed * 400
)

// Listed answers a signed [channel.Listing]: the channels of the org that are in force on the node and that a role of
// the signers includes, ordered by app and then by channel.
type Listed struct {
	Org      string          `json:"org"`
	Channels []ListedChannel `json:"channels"` // at most MaxListed
	// Next is the cursor of the next page, see ChannelsPath; empty on the last page.
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

// UnmarshalJSON refuses an object that is too short to have a digest, so that decoding a list allocates only a small
// multiple of its bytes.
func (c *ListedChannel) UnmarshalJSON(raw []byte) error {
	if len(raw) < digest.TextSize {
		return errors.New("a channel without the digest of its manifest")
	}
	type fields ListedChannel
	return json.Unmarshal(raw, (*fields)(c))
}

// ChannelsPath returns the path for a signed listing. after is [Listed.Next] of the previous page, and empty for the
// first page.
func ChannelsPath(org, after string) string {
	path := "/v1/orgs/" + url.PathEscape(org) + "/channels"
	if after != "" {
		path += "?after=" + url.QueryEscape(after)
	}
	return path
}

// Cursor is a position in a list of channels. The zero value is before all of them.
type Cursor struct{ App, Channel string }

// ParseCursor parses what [Cursor.String] returns. The empty text is the zero value.
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
