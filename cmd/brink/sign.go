package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/internal/durable"
	"brink/publish"
)

// signed is what the verb prints.
type signed struct {
	File     string            `json:"file"`
	Kind     string            `json:"kind"` // trust or manifest
	Org      string            `json:"org"`
	Version  uint64            `json:"version,omitempty"`  // of a trust document
	App      string            `json:"app,omitempty"`      // of a manifest, as all below
	Channel  string            `json:"channel,omitempty"`  //
	Sequence uint64            `json:"sequence,omitempty"` //
	Serves   []publish.Serving `json:"serves,omitempty"`   //
	Expires  *time.Time        `json:"expires,omitempty"`
	SignedBy []string          `json:"signed_by"` // IDs of keys
	// Complete says whether enough keys have signed: for a trust document by its own roots, for a manifest by the trust
	// document that was given; null: none was.
	Complete *bool  `json:"complete"`
	Lacks    string `json:"lacks,omitempty"` // why it is not complete
	DryRun   bool   `json:"dry_run"`

	trust *channel.TrustConfig
}

func signCommand(sh *shell) *cobra.Command {
	var keys []string
	var trustFile, out string
	var dryRun bool
	cmd := verb("sign FILE", "Add a signature to a trust document or channel manifest",
		`For documents that keys on several machines have to sign: org update and the verbs that move channels write them
with --half-signed. What the document says is printed; look at it, with --dry-run first, before you sign. A trust
document is brought to nodes by brink org push, a manifest by brink channel push.`,
		`
  brink sign acme.trust.v2.json --key root-b.key --dry-run
  brink sign acme.trust.v2.json --key root-b.key
  brink sign promotion.json --key b.key --trust acme.trust.json`,
		func(cmd *cobra.Command, args []string) error {
			raw, err := readFile(args[0], channel.MaxTrust)
			if err != nil {
				return err
			}
			if _, err := channel.ReadDraft(raw); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			private, err := sh.readKeys(keys)
			if err != nil {
				return err
			}
			for _, key := range private {
				if raw, err = channel.Cosign(raw, key); err != nil {
					return err
				}
			}
			result, err := newSigned(raw, trustFile)
			if err != nil {
				return err
			}
			result.File, result.DryRun = args[0], dryRun
			if out != "" {
				result.File = out
			}
			switch {
			case dryRun:
			case out != "":
				err = writeNew(out, raw, 0o644)
			default:
				err = durable.Replace(args[0], raw, 0o644)
			}
			if err != nil {
				return err
			}
			return sh.show(result, result.text)
		})
	cmd.Args = args("FILE")
	keyFlag(cmd, &keys)
	trustFlag(cmd, &trustFile,
		"the org's trust document, a `FILE` or the document itself: tells whether a manifest lacks signatures")
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write to (default: in the place of the one that is signed)")
	dryRunFlag(cmd, &dryRun)
	sh.printsJSON(cmd)
	return cmd
}

func newSigned(raw []byte, trustFile string) (*signed, error) {
	draft, err := channel.ReadDraft(raw)
	if err != nil {
		return nil, err
	}
	s := &signed{SignedBy: draft.SignedBy}
	var lacks error
	if c := draft.Trust; c != nil {
		s.Kind, s.Org, s.Version, s.trust = "trust", c.Org, c.Version, c
		s.Expires = atOrNever(c.Expires)
		_, lacks = channel.LoadTrust(raw)
	} else {
		m := draft.Manifest
		s.Kind, s.Org, s.App, s.Channel, s.Sequence = "manifest", m.Org, m.App, m.Channel, m.Sequence
		s.Serves, s.Expires = publish.Serves(m), atOrNever(m.Expires)
		if trustFile == "" {
			return s, nil
		}
		trust, err := readTrust(trustFile)
		if err != nil {
			return nil, err
		}
		owner, err := channel.LoadTrust(trust)
		if err != nil {
			return nil, err
		}
		_, lacks = owner.VerifyManifest(raw, time.Now())
	}
	if lacks != nil && channel.CodeOf(lacks) != channel.CodeNotEnoughSignatures {
		return nil, lacks
	}
	s.Complete = new(lacks == nil)
	if lacks != nil {
		s.Lacks = lacks.Error()
	}
	return s, nil
}

func atOrNever(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (s *signed) text(w io.Writer) {
	did := "signed " + s.File
	if s.DryRun {
		did = "dry run, nothing was written: " + s.File + " would be signed"
	}
	fmt.Fprintln(w, did)
	expires := "never"
	if s.Expires != nil {
		expires = moment(*s.Expires)
	}
	if s.trust != nil {
		facts(w, "org", s.Org, "version", fmt.Sprint(s.Version), "expires", expires)
		c := s.trust
		fmt.Fprintln(w)
		fmt.Fprintf(w, "root keys, %d of %d must sign:\n", c.Threshold, len(c.Roots))
		for _, id := range keyIDs(c.Roots) {
			fmt.Fprintf(w, "  %s\n", id)
		}
		for i := range c.Roles {
			role := &c.Roles[i]
			fmt.Fprintln(w)
			fmt.Fprintf(w, "role %s, %d of %s must sign:\n", role.Name, role.Threshold, count(len(role.Keys), "key"))
			facts(w, "apps", join(role.Apps), "channels", join(role.Channels))
			for _, id := range role.Keys {
				fmt.Fprintf(w, "  %s\n", id)
			}
		}
	} else {
		pairs := []string{
			"org", s.Org, "channel", s.Channel + " of " + s.App, "sequence", fmt.Sprint(s.Sequence), "expires", expires,
		}
		facts(w, slices.Concat(pairs, servesPairs(s.Serves))...)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "signed by:")
	for _, id := range s.SignedBy {
		fmt.Fprintf(w, "  %s\n", id)
	}
	switch {
	case s.Complete == nil:
	case *s.Complete:
		fmt.Fprintln(w, "enough keys have signed")
	default:
		fmt.Fprintln(w, s.Lacks)
	}
}
