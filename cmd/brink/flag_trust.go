package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/internal/durable"
)

// trustFlag adds the flag --trust for one document to cmd.
func trustFlag(cmd *cobra.Command, trust *string, usage string) {
	cmd.Flags().StringVar(trust, "trust", "", usage)
}

// maxPath limits the length of a path, in bytes.
const maxPath = 4096

// readTrust returns the trust document from the value of a setting, which is its path or the document itself. It is
// public, so it can be in a variable of a CI job.
func readTrust(value string) ([]byte, error) {
	if isDocument(value) {
		return []byte(strings.TrimSpace(value)), nil
	}
	// The error does not quote the value: it may be a key by mistake.
	if len(value) > maxPath || strings.ContainsAny(value, "\n\r") {
		return nil, &usageError{message: "--trust is neither the path of a trust document nor its content"}
	}
	raw, err := readFile(value, channel.MaxTrust)
	return raw, withHint(err,
		"get the trust document from the owner of the org's root keys; brink org new makes a new one")
}

// isDocument reports whether the value of a setting is a trust document rather than the path of one.
func isDocument(value string) bool { return strings.HasPrefix(strings.TrimSpace(value), "{") }

// trustName returns a name for the trust document of a setting, for messages.
func trustName(value string) string {
	if isDocument(value) {
		return "the trust document in --trust"
	}
	return value
}

// advanced returns a function that saves a successor of the trust document to its file, if it is in a file.
func (sh *shell) advanced(value string) func(*channel.Trust) {
	return func(next *channel.Trust) {
		if isDocument(value) {
			sh.warn(withHint(fmt.Errorf("--trust is outdated: version %d of the trust document is in force",
				next.Version()), "replace it by the newer one"))
			return
		}
		if err := durable.Replace(value, next.Raw(), 0o644); err != nil {
			sh.warn(fmt.Errorf("%s is outdated and cannot be replaced by version %d, which is in force: %w",
				value, next.Version(), err))
			return
		}
		sh.warn(fmt.Errorf("%s was replaced by version %d, which its root keys have signed", value, next.Version()))
	}
}

// checkTrust warns of a trust document that expires soon.
func (sh *shell) checkTrust(raw []byte) {
	trust, err := channel.LoadTrust(raw)
	if err != nil {
		return // its user reports the error
	}
	if at := trust.Expires(); channel.EndsSoon(trust.Issued(), at, time.Now()) {
		sh.warn(withHint(fmt.Errorf("the trust document of org %s expires on %s", trust.Org(), moment(at)),
			"sign its next version with brink org update"))
	}
}
