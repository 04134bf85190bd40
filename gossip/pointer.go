package gossip

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"brink/channel"
	"brink/digest"
)

// Kind says what a pointer points at. The numbers travel.
type Kind uint8

// What nodes tell each other that they hold.
const (
	Manifest Kind = 1 // a channel manifest; Name is "app/channel", Digest is of the statement
	Trust    Kind = 2 // a trust document; Name is the org, Digest is of the document
	Journal  Kind = 3 // the choices of devices that a node noted; Name is that node, Digest is of the name and Sequence
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

// Pointer says that there is something to be had: which, how new, and what it must be. It carries no content and grants
// nothing: whoever pulls what it points at must check that as if a stranger had handed it over.
type Pointer struct {
	Kind     Kind
	Name     string // unique within Kind; at most 193 bytes
	Sequence uint64 // of a manifest: its order, see channel.Manifest.Order
	Digest   digest.Digest
}

// Compare orders two pointers of the same kind and name: the higher sequence is newer, and of two with the same
// sequence the larger digest wins, so that all nodes pick the same one without asking each other. No clock takes part.
func (p Pointer) Compare(q Pointer) int {
	return cmp.Or(cmp.Compare(p.Sequence, q.Sequence), p.Digest.Compare(q.Digest))
}

// String returns kind, name, sequence and the first digits of the digest, for people to read.
func (p Pointer) String() string {
	return fmt.Sprintf("%s %s #%d %s", p.Kind, p.Name, p.Sequence, p.Digest.Short())
}

// key names what a pointer is about; of all pointers with one key, the highest counts.
type key struct {
	kind Kind
	name string
}

func (p Pointer) key() key { return key{p.Kind, p.Name} }

// check returns nil if all nodes of this version would take the pointer.
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
		return fmt.Errorf("pointer of %s", p.Kind)
	}
}
