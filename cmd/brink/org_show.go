package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/digest"
)

func orgShowCommand(sh *shell) *cobra.Command {
	cmd := verb("show FILE", "Show the contents of a trust document",
		"The document must be signed by its own root keys. It may have expired.",
		"  brink org show acme.trust.json",
		func(_ *cobra.Command, args []string) error {
			raw, err := readFile(args[0], channel.MaxTrust)
			if err != nil {
				return err
			}
			return sh.showOrg(raw, args[0])
		})
	cmd.Args = args("FILE")
	sh.printsJSON(cmd)
	return cmd
}

// orgInfo is the output of the verbs of org.
type orgInfo struct {
	File          string          `json:"file"`
	Org           string          `json:"org"`
	Version       uint64          `json:"version"`
	Digest        digest.Digest   `json:"digest,omitzero"` // absent: it lacks signatures
	Issued        time.Time       `json:"issued"`
	Expires       *time.Time      `json:"expires,omitempty"` // absent: never
	Expired       bool            `json:"expired"`
	Quota         int64           `json:"quota_bytes"` // 0: none
	Roots         []string        `json:"roots"`       // key IDs
	RootThreshold int             `json:"root_threshold"`
	Roles         []channel.Role  `json:"roles"`
	Epochs        []channel.Epoch `json:"epochs,omitempty"`
}

func (sh *shell) showOrg(raw []byte, file string) error {
	trust, err := channel.LoadTrust(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	c := trust.Next() // the contents of the document, with the next version number
	c.Version, c.Issued, c.Expires = trust.Version(), trust.Issued(), trust.Expires()
	info := newOrgInfo(c)
	info.File, info.Digest = file, trust.Digest()
	return sh.show(info, info.text)
}

// newOrgInfo returns the contents of a trust document.
func newOrgInfo(c channel.TrustConfig) orgInfo {
	info := orgInfo{
		Org: c.Org, Version: c.Version, Issued: c.Issued, Quota: c.Quota, Roots: keyIDs(c.Roots),
		RootThreshold: c.Threshold, Roles: c.Roles, Epochs: c.Epochs,
	}
	if !c.Expires.IsZero() {
		info.Expires, info.Expired = &c.Expires, !time.Now().Before(c.Expires)
	}
	return info
}

func (o orgInfo) text(w io.Writer) {
	fmt.Fprintf(w, "org %s, version %d of its trust document\n", o.Org, o.Version)
	expires := "never"
	if o.Expires != nil {
		expires = moment(*o.Expires)
		if o.Expired {
			expires += " (expired: it is no longer valid)"
		}
	}
	quota := "none"
	if o.Quota > 0 {
		quota = human(o.Quota)
	}
	facts(w, "file", o.File, "issued", moment(o.Issued), "expires", expires, "quota", quota)
	fmt.Fprintln(w)
	fmt.Fprintf(w, "root keys, %d of %d must sign:\n", o.RootThreshold, len(o.Roots))
	for _, id := range o.Roots {
		fmt.Fprintf(w, "  %s\n", id)
	}
	for _, role := range o.Roles {
		fmt.Fprintln(w)
		fmt.Fprintf(w, "role %s, %d of %s must sign:\n", role.Name, role.Threshold, count(len(role.Keys), "key"))
		pairs := []string{"apps", join(role.Apps), "channels", join(role.Channels)}
		if len(role.May) > 0 {
			pairs = append(pairs, "may only", join(role.May))
		}
		facts(w, pairs...)
		for _, id := range role.Keys {
			fmt.Fprintf(w, "  %s\n", id)
		}
	}
	for _, e := range o.Epochs {
		fmt.Fprintln(w)
		fmt.Fprintf(w, "epoch %d of the sequences of:\n", e.Epoch)
		facts(w, "apps", join(e.Apps), "channels", join(e.Channels))
	}
}
