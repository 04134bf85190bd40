package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/internal/durable"
)

// trustFlag gives cmd the flag --trust for one document.
func trustFlag(cmd *cobra.Command, trust *string, usage string) {
	cmd.Flags().StringVar(trust, "trust", "", usage)
}

// maxPath bounds a text that may be the path of a file, in bytes.
const maxPath = 4096

// readTrust returns the trust document that a setting names by its path, or is itself: it is public, so it may stand in
// a variable of a CI job.
func readTrust(value string) ([]byte, error) {
	if isDocument(value) {
		return []byte(strings.TrimSpace(value)), nil
	}
	// It is not quoted: somebody may have put a key there.
	if len(value) > maxPath || strings.ContainsAny(value, "\n\r") {
		return nil, &usageError{message: "--trust is neither the path of a trust document nor one itself"}
	}
	raw, err := readFile(value, channel.MaxTrust)
	return raw, withHint(err, "brink org new makes a trust document; whoever has the org's root keys can give it to you")
}

// isDocument reports whether a setting is a trust document and no path of one.
func isDocument(value string) bool { return strings.HasPrefix(strings.TrimSpace(value), "{") }

// trustName tells which trust document a setting names, for people.
func trustName(value string) string {
	if isDocument(value) {
		return "the trust document that was given"
	}
	return value
}

// advanced returns what keeps a successor of the trust document: it is written over the file, where there is one.
func (sh *shell) advanced(value string) func(*channel.Trust) {
	return func(next *channel.Trust) {
		if isDocument(value) {
			sh.warn(withHint(fmt.Errorf("version %d of the trust document is in force, and --trust gives an older one",
				next.Version()), "brink org show tells what it says; put the newer one in its place"))
			return
		}
		if err := durable.Replace(value, next.Raw(), 0o644); err != nil {
			sh.warn(fmt.Errorf("version %d of the trust document is in force, and %s cannot be replaced by it: %w",
				next.Version(), value, err))
			return
		}
		sh.warn(fmt.Errorf("%s is at version %d now, which its root keys signed", value, next.Version()))
	}
}

// checkTrust warns of a trust document that ends soon.
func (sh *shell) checkTrust(raw []byte) {
	trust, err := channel.LoadTrust(raw)
	if err != nil {
		return // whoever uses it says so
	}
	if at := trust.Expires(); channel.EndsSoon(trust.Issued(), at, time.Now()) {
		sh.warn(withHint(fmt.Errorf("the trust document of org %s ends on %s", trust.Org(), moment(at)),
			"sign its next version: brink org update"))
	}
}
