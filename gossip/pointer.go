package gossip

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"brink/channel"
	"brink/digest"
)

// Kind is the kind of document that a pointer points at. The numbers are part of the protocol.
type Kind uint8

// The kinds of pointers.
const (
	Manifest Kind = 1 // a channel manifest; Name is "app/channel", Digest is of the statement
	Trust    Kind = 2 // a trust document; Name is the org, Digest is of the document
	Journal  Kind = 3 // the devices' choices recorded by a node; Name is the node, Digest is of the name and Sequence
)

// String returns "manifest", "trust", "journal", or the number of a kind that this version does not know.
func (k Kind) String() string {
	switch k {
	case Manifest:
		return "manifest"
	case Trust:
		return "trust"
	case Journal:
		return "journal"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// maxPointerName is the length of the longest name of a pointer, in bytes: an app, a slash and a channel.
const maxPointerName = channel.MaxApp + 1 + channel.MaxChannel

// Pointer identifies a version of a document that a node has. It has no content and grants nothing: the content must be
// verified like that of an untrusted source.
type Pointer struct {
	Kind     Kind
	Name     string // unique within Kind; at most 193 bytes
	Sequence uint64 // of a manifest: its order, see channel.Manifest.Order
	Digest   digest.Digest
}

// Compare orders two pointers of the same kind and name: the higher sequence is newer, and of two with the same
// sequence the larger digest wins, so that all nodes choose the same one without coordination. No clock is involved.
func (p Pointer) Compare(q Pointer) int {
	return cmp.Or(cmp.Compare(p.Sequence, q.Sequence), p.Digest.Compare(q.Digest))
}

// String returns kind, name, sequence and the first digits of the digest, for people to read.
func (p Pointer) String() string {
	return fmt.Sprintf("%s %s #%d %s", p.Kind, p.Name, p.Sequence, p.Digest.Short())
}

// key identifies a document. Of all pointers with the same key, only the highest counts.
type key struct {
	kind Kind
	name string
}

func (p Pointer) key() key { return key{p.Kind, p.Name} }

// check returns nil if nodes of this version accept the pointer.
func (p Pointer) check() error {
	if p.Digest.IsZero() {
		return errors.New("pointer has no digest")
	}
	switch p.Kind {
	case Manifest:
		app, name, _ := strings.Cut(p.Name, "/")
		return errors.Join(channel.CheckApp(app), channel.CheckChannel(name))
	case Trust:
		return channel.CheckOrg(p.Name)
	case Journal:
		return checkName("node", p.Name)
	default:
		return fmt.Errorf("pointer has unknown %s", p.Kind)
	}
}
