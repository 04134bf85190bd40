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

// Bounds of what is remembered of former members.
const (
	maxKnown = 128       // addresses: any one of them leads to the others
	maxFile  = 128 << 10 // bytes that are read of a file
	// maxFailures is how often in a row an address is tried in vain, while there are other members, before it is
	// forgotten: about a day at the default pace.
	maxFailures = 24 * 60 * 2
)

// book is where members were seen, those that are members now in front. It is kept in a file: a line "ip:port" for
// each.
type book struct {
	path     string // empty: it is not kept
	known    []netip.AddrPort
	failures map[netip.AddrPort]int
	written  string
}

// openBook reads the file at path, if there is one. The book can be used in any case; without the address of this node.
func openBook(path string, self netip.AddrPort) (*book, error) {
	b := &book{path: path, failures: map[netip.AddrPort]int{}}
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
	b.known = slices.DeleteFunc(parseBook(text), func(a netip.AddrPort) bool { return a == self })
	return b, err
}

// parseBook reads the addresses of a file, at most maxKnown. What is no address is left out: a damaged file is worth
// what is left of it.
func parseBook(text []byte) []netip.AddrPort {
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

func (b *book) text() string {
	var text strings.Builder
	for _, address := range b.known {
		fmt.Fprintln(&text, address)
	}
	return text.String()
}

// see takes note of who is a member now. Former ones stay behind them as long as there is room.
func (b *book) see(present map[netip.AddrPort]bool) {
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

// fail takes note that an address did not answer.
func (b *book) fail(address netip.AddrPort) {
	if b.failures[address]++; b.failures[address] >= maxFailures {
		delete(b.failures, address)
		b.known = slices.DeleteFunc(b.known, func(a netip.AddrPort) bool { return a == address })
	}
}

// save writes the file if it would change.
func (b *book) save() error {
	text := b.text()
	if b.path == "" || text == b.written {
		return nil
	}
	if err := durable.Replace(b.path, []byte(text), 0o600); err != nil {
		return err
	}
	b.written = text
	return nil
}
