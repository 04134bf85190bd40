package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// State says what a node is doing. The numbers travel.
type State uint8

// The states of a node, in the order of its life.
const (
	Starting State = iota // it does not serve yet
	Ready
	Draining // it will end soon: send it nothing new
)

// String returns "starting", "ready", "draining", or the number of a state that this version does not know.
func (s State) String() string {
	switch s {
	case Starting:
		return "starting"
	case Ready:
		return "ready"
	case Draining:
		return "draining"
	default:
		return fmt.Sprintf("state %d", uint8(s))
	}
}

// Member is what the fleet knows of one node. Only Name and Address are more than what the node says of itself.
type Member struct {
	Name    string
	Region  string // empty: none given
	URL     string // where it serves HTTP to other nodes; empty: it does not
	State   State
	Version string // of its program
	Address string // where it gossips, "ip:port"
}

// Bounds of what a node says of itself, in bytes. Together they keep the meta below memberlist's 512 bytes, over which
// it panics, and an announcement of the node in one packet.
const (
	MaxName    = 64
	MaxRegion  = MaxName
	MaxURL     = 256
	MaxVersion = 64
	MaxFleet   = MaxName
)

// metaVersion begins every meta. It stays as long as older nodes can read what they know from the beginning of a meta:
// what comes new is added behind, where they do not look.
const metaVersion = 1

// maxMeta is the length of the longest meta: version, state, three lengths of at most two bytes, and the texts.
const maxMeta = 1 + 1 + 3*2 + MaxRegion + MaxURL + MaxVersion

// appendMeta appends what m says of itself in the form that travels with the membership:
//
//	version  1 byte, 1
//	state    1 byte
//	region   its length as a varint, then the text
//	url      likewise
//	version  likewise
//
// The caller has checked the texts.
func appendMeta(b []byte, m Member) []byte {
	b = append(b, metaVersion, byte(m.State))
	for _, text := range []string{m.Region, m.URL, m.Version} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	return b
}

// parseMeta reads into m what [appendMeta] wrote, and checks it as the Config of this node is checked: what other nodes
// say ends in URLs, logs and metrics.
func parseMeta(meta []byte, m *Member) error {
	if len(meta) < 2 || meta[0] != metaVersion {
		return errors.New("meta of another version")
	}
	m.State = State(meta[1])
	meta = meta[2:]
	for _, text := range []*string{&m.Region, &m.URL, &m.Version} {
		n, size := binary.Uvarint(meta)
		if size <= 0 || n > uint64(len(meta)-size) {
			return errors.New("meta is cut short")
		}
		*text, meta = string(meta[size:size+int(n)]), meta[size+int(n):]
	}
	return errors.Join(m.checkTexts(), checkName("node", m.Name))
}

// checkTexts checks what may be empty.
func (m Member) checkTexts() error {
	var errs []error
	if m.Region != "" {
		errs = append(errs, checkName("region", m.Region))
	}
	if m.URL != "" {
		errs = append(errs, checkURL(m.URL))
	}
	if len(m.Version) > MaxVersion || strings.ContainsFunc(m.Version, func(r rune) bool { return r < ' ' || r > '~' }) {
		errs = append(errs, fmt.Errorf("version %q: want at most %d visible characters", m.Version, MaxVersion))
	}
	return errors.Join(errs...)
}

// checkName holds a name of a node, a region or a fleet to letters, digits, and . _ - after the first: it is a label of
// metrics, a word of a log, and a segment of a path.
func checkName(what, name string) error {
	if len(name) == 0 || len(name) > MaxName {
		return fmt.Errorf("%s name has %d bytes, want 1 to %d", what, len(name), MaxName)
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return fmt.Errorf("%s name %q: want letters, digits, and . _ - after the first", what, name)
		}
	}
	return nil
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case len(text) > MaxURL:
		return fmt.Errorf("URL has %d bytes, want at most %d", len(text), MaxURL)
	case err != nil:
		return err
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.User != nil, u.RawQuery != "", u.Fragment != "":
		return fmt.Errorf("URL %q: want http or https, a host, and nothing but a path after it", text)
	}
	return nil
}
