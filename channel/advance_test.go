package channel

import (
	"errors"
	"testing"
	"time"
)

// chain returns six versions of a trust document. Each has other roots than the one before, which both sign, and has
// expired by the time that the next is made.
func chain(t *testing.T) (raw [][]byte) {
	t.Helper()
	c, last := acme(), now
	names := []string{"root", "second", "third", "fourth", "fifth", "sixth"}
	for i, name := range names {
		c.Version, c.Issued, c.Expires = uint64(i+1), last, last.Add(24*time.Hour)
		c.Roots = public(name)
		signers := []string{name}
		if i > 0 {
			signers = append(signers, names[i-1])
		}
		raw = append(raw, signTrust(t, c, signers...))
		last = last.Add(30 * 24 * time.Hour)
	}
	return raw
}

// TestTrust_AdvanceWalksTheChain: a reader that missed five replacements of all roots accepts the newest document.
func TestTrust_AdvanceWalksTheChain(t *testing.T) {
	raw := chain(t)
	first := must(LoadTrust(raw[0]))(t)
	fetched := 0
	version := func(v uint64) ([]byte, error) {
		fetched++
		return raw[v-1], nil
	}
	newest, err := first.Advance(raw[5], version)
	if err != nil || newest.Version() != 6 || fetched != 4 {
		t.Fatalf("version %v after %d documents: %v", newest, fetched, err)
	}
	if again, err := newest.Advance(raw[5], nil); err != nil || again != newest {
		t.Errorf("the same again: %v", err)
	}
	if older, err := newest.Advance(raw[2], nil); err != nil || older != newest {
		t.Errorf("an older one: %v", err)
	}
	// Roots that sign more than their own successor bridge a gap.
	c := acme()
	c.Version, c.Roots = 3, public("third")
	bridge := signTrust(t, c, "third", "root")
	if over, err := first.Advance(raw[3], func(v uint64) ([]byte, error) {
		return map[uint64][]byte{3: bridge}[v], nil
	}); err != nil || over.Version() != 4 {
		t.Errorf("over a gap: %v", err)
	}
	gone := errors.New("gone")
	if _, err := first.Advance(raw[5], func(uint64) ([]byte, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Errorf("a document that is not to be had: %v", err)
	}
}

// TestTrust_AdvanceBelievesNobody: without the signatures of the roots before, no chain leads anywhere.
func TestTrust_AdvanceBelievesNobody(t *testing.T) {
	raw := chain(t)
	first := must(LoadTrust(raw[0]))(t)
	forged := acme()
	forged.Roots, forged.Version = public("mallory"), 3
	three := signTrust(t, forged, "mallory")
	forged.Version = 2
	two := signTrust(t, forged, "mallory")
	other := acme()
	other.Org = "initech"

	for name, row := range map[string]struct {
		newest  []byte
		version func(uint64) ([]byte, error)
		want    Code
	}{
		"roots of its own":   {two, nil, CodeNotEnoughSignatures},
		"a chain of its own": {three, func(uint64) ([]byte, error) { return two, nil }, CodeNotEnoughSignatures},
		"an end of its own":  {three, func(uint64) ([]byte, error) { return raw[1], nil }, CodeNotEnoughSignatures},
		"another org":        {signTrust(t, other, "root"), nil, CodeWrongOrg},
		"the same version": {
			signTrust(t, func() TrustConfig { c := acme(); c.Quota = 1; return c }(), "root"), nil, CodeEquivocation,
		},
		"the same document for ever": {
			raw[5], func(uint64) ([]byte, error) { return raw[0], nil }, CodeMalformed,
		},
	} {
		_, err := first.Advance(row.newest, row.version)
		if CodeOf(err) != row.want {
			t.Errorf("%s: %v, want %s", name, err, row.want)
		}
	}
	far := acme()
	far.Version, far.Roots = MaxAdvance+2, public("mallory")
	_, err := first.Advance(signTrust(t, far, "mallory"), func(uint64) ([]byte, error) {
		t.Error("fetched a chain that is too long")
		return nil, nil
	})
	wantCode(t, err, CodeMalformed)
}
