package gossip

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"brink/internal/durable"
)

// Bounds of the address book.
const (
	maxKnown = 128       // addresses: any one of them leads to the others
	maxFile  = 128 << 10 // bytes that are read of a file
	// maxFailures is the number of consecutive failures, while there are other members, after which an address is removed:
	// about a day at the default pace.
	maxFailures = 24 * 60 * 2
)

// addressBook lists the addresses of present and former members, present ones first. It is saved to a file with one
// "ip:port" on each line.
type addressBook struct {
	path     string // empty: it is not saved
	known    []netip.AddrPort
	failures map[netip.AddrPort]int
	written  string
}

// loadAddressBook reads the file at path, if there is one, and leaves out the address of this node. The book that it
// returns can be used even if there is an error.
func loadAddressBook(path string, self netip.AddrPort) (*addressBook, error) {
	b := &addressBook{path: path, failures: map[netip.AddrPort]int{}}
	if path == "" {
		return b, nil
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFile))
	err = errors.Join(err, file.Close())
	b.known = slices.DeleteFunc(parseAddresses(text), func(a netip.AddrPort) bool { return a == self })
	return b, err
}

// parseAddresses parses the addresses in a file, at most maxKnown. It skips lines that are not addresses, so that a
// damaged file is used as far as possible.
func parseAddresses(text []byte) []netip.AddrPort {
	var known []netip.AddrPort
	for line := range strings.Lines(string(text)) {
		address, err := netip.ParseAddrPort(strings.TrimSpace(line))
		if err != nil || address.Port() == 0 || slices.Contains(known, address) {
			continue
		}
		if known = append(known, address); len(known) == maxKnown {
			break
		}
	}
	return known
}

func (b *addressBook) format() string {
	var text strings.Builder
	for _, address := range b.known {
		fmt.Fprintln(&text, address)
	}
	return text.String()
}

// update moves the addresses of the present members to the front, and drops the last ones if there are too many.
func (b *addressBook) update(present map[netip.AddrPort]bool) {
	known := make([]netip.AddrPort, 0, len(b.known)+len(present))
	for _, address := range b.known {
		if present[address] {
			known = append(known, address)
		}
	}
	for address := range present {
		delete(b.failures, address)
		if !slices.Contains(b.known, address) {
			known = append(known, address)
		}
	}
	for _, address := range b.known {
		if !present[address] {
			known = append(known, address)
		}
	}
	b.known = known[:min(len(known), maxKnown)]
}

// recordFailure counts a failure, and removes the address after maxFailures of them.
func (b *addressBook) recordFailure(address netip.AddrPort) {
	if b.failures[address]++; b.failures[address] >= maxFailures {
		delete(b.failures, address)
		b.known = slices.DeleteFunc(b.known, func(a netip.AddrPort) bool { return a == address })
	}
}

// save writes the file if it would change.
func (b *addressBook) save() error {
	text := b.format()
	if b.path == "" || text == b.written {
		return nil
	}
	if err := durable.Replace(b.path, []byte(text), 0o600); err != nil {
		return err
	}
	b.written = text
	return nil
}
