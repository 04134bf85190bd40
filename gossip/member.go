package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// State is the state of a node. The numbers are part of the protocol.
type State uint8

// The states of a node, in the order of its life.
const (
	Starting State = iota // it does not serve yet
	Ready
	Draining // it will stop soon: send it nothing new
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

// Member describes one node. Memberlist ensures that Name is unique and Address can be reached; the node itself reports
// the other fields.
type Member struct {
	Name    string
	Region  string // empty: none given
	URL     string // where it serves HTTP to other nodes; empty: it does not
	State   State
	Version string // of its program
	Address string // at which it gossips, "ip:port"
}

// Bounds of the fields of a member, in bytes. Together they keep the meta below 512 bytes, above which memberlist
// panics, and the announcement of a node within one packet.
const (
	MaxName    = 64
	MaxRegion  = MaxName
	MaxURL     = 256
	MaxVersion = 64
	MaxFleet   = MaxName
)

// metaVersion is the first byte of every meta. It does not change while new fields are appended, because older nodes
// ignore what follows the fields that they know.
const metaVersion = 1

// maxMeta is the length of the longest meta: version, state, three lengths of at most two bytes, and the texts.
const maxMeta = 1 + 1 + 3*2 + MaxRegion + MaxURL + MaxVersion

// appendMeta appends the meta of m, which memberlist sends with the membership:
//
//	version  1 byte, 1
//	state    1 byte
//	region   its length as a varint, then the text
//	url      likewise
//	version  likewise
//
// The caller must have checked the texts.
func appendMeta(b []byte, m Member) []byte {
	b = append(b, metaVersion, byte(m.State))
	for _, text := range []string{m.Region, m.URL, m.Version} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	return b
}

// parseMeta parses into m what [appendMeta] wrote, with the checks of Config.Validate: the texts of other nodes end up
// in URLs, logs and metrics.
func parseMeta(meta []byte, m *Member) error {
	if len(meta) < 2 || meta[0] != metaVersion {
		return errors.New("meta has another version")
	}
	m.State = State(meta[1])
	meta = meta[2:]
	for _, text := range []*string{&m.Region, &m.URL, &m.Version} {
		n, size := binary.Uvarint(meta)
		if size <= 0 || n > uint64(len(meta)-size) {
			return errors.New("meta is truncated")
		}
		*text, meta = string(meta[size:size+int(n)]), meta[size+int(n):]
	}
	return errors.Join(m.checkTexts(), checkName("node", m.Name))
}

// checkTexts checks the texts that may be empty.
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

// checkName checks the name of a node, a region or a fleet: letters, digits, and . _ - after the first, because it is
// used as a label of metrics, in logs, and as a segment of a path.
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
		return fmt.Errorf("URL %q: want http or https, a host, and nothing after it except a path", text)
	}
	return nil
}
