package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/internal/durable"
	"brink/publish"
)

// signed is the output of the verb: the contents of the document, and the keys that have signed it.
type signed struct {
	File     string            `json:"file"`
	Kind     string            `json:"kind"` // trust or manifest
	Trust    *orgInfo          `json:"trust,omitempty"`
	Manifest *channel.Manifest `json:"manifest,omitempty"`
	Serves   []publish.Serving `json:"serves,omitempty"` // what the manifest serves to which devices
	SignedBy []string          `json:"signed_by"`        // IDs of keys
	// Complete says whether enough keys have signed: for a trust document according to itself, for a manifest according
	// to the trust document in --trust; null if there is none.
	Complete *bool  `json:"complete"`
	Lacks    string `json:"lacks,omitempty"` // why it is not complete
	DryRun   bool   `json:"dry_run"`
}

func signCommand(sh *shell) *cobra.Command {
	var keys []string
	var trustFile, out string
	var dryRun bool
	cmd := verb("sign FILE", "Add a signature to a trust document or channel manifest",
		`It is for documents that keys on several machines must sign: org update and the verbs that change channels write
them with --half-signed. The contents of the document are printed; review them with --dry-run before you sign. When
enough keys have signed, send a trust document with brink org push, and a manifest with brink channel push.`,
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
		"the org's trust document, a `FILE` or its content, to check whether a manifest lacks signatures")
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write to (default: replace the signed one)")
	dryRunFlag(cmd, &dryRun)
	sh.printsJSON(cmd)
	return cmd
}

func newSigned(raw []byte, trustFile string) (*signed, error) {
	draft, err := channel.ReadDraft(raw)
	if err != nil {
		return nil, err
	}
	s := &signed{Kind: "trust", Manifest: draft.Manifest, SignedBy: draft.SignedBy}
	var lacks error
	switch {
	case draft.Trust != nil:
		info := newOrgInfo(*draft.Trust)
		s.Trust = &info
		_, lacks = channel.LoadTrust(raw)
	case trustFile == "":
		s.Kind, s.Serves = "manifest", publish.Serves(draft.Manifest)
		return s, nil
	default:
		s.Kind, s.Serves = "manifest", publish.Serves(draft.Manifest)
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

func (s *signed) text(w io.Writer) {
	if s.DryRun {
		fmt.Fprintf(w, "dry run, nothing was written: %s would be signed\n", s.File)
	} else {
		fmt.Fprintf(w, "signed %s\n", s.File)
	}
	fmt.Fprintln(w)
	if s.Trust != nil {
		s.Trust.File = s.File
		s.Trust.text(w)
	} else {
		s.manifestText(w)
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

// manifestText prints everything in a manifest that devices act on.
func (s *signed) manifestText(w io.Writer) {
	m := s.Manifest
	fmt.Fprintf(w, "channel %s of %s, sequence %d\n", m.Channel, m.App, m.Sequence)
	expires := "never"
	if !m.Expires.IsZero() {
		expires = moment(m.Expires)
	}
	pairs := []string{"org", m.Org, "issued", moment(m.Issued), "expires", expires}
	for _, platform := range slices.Sorted(maps.Keys(m.Release.Native)) {
		limits := m.Release.Native[platform]
		pairs = append(pairs, "native app", fmt.Sprintf("%s %s..%s", platform, limits.Min, limits.Max))
	}
	if m.Release.Mandatory {
		pairs = append(pairs, "mandatory", "apps should install the release before they continue")
	}
	for i := range m.Release.Attachments {
		a := &m.Release.Attachments[i]
		pairs = append(pairs, "attachment", a.Kind+", bundle "+a.Bundle.Short())
	}
	pairs = append(pairs, rulePairs(m.Rules, m.Rollout, m.BuiltIn, m.Overrides)...)
	facts(w, append(pairs, servesPairs(s.Serves)...)...)
}
