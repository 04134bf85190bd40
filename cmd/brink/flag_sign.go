package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"brink/publish"
)

// signFlags are the flags of every verb that signs: the target, the keys, the trust document, and the validity.
type signFlags struct {
	node    string
	at      originFlags
	trust   string
	keys    []string
	expires life
	expect  uint64
	half    string
	dryRun  bool
}

func (s *signFlags) add(cmd *cobra.Command) {
	s.addWithoutHalf(cmd)
	cmd.Flags().StringVar(&s.half, "half-signed", "",
		"`FILE` to write the channel manifest to if more keys must sign it (see brink sign, brink channel push)")
}

// addWithoutHalf is add for verbs that cannot write a manifest that lacks signatures.
func (s *signFlags) addWithoutHalf(cmd *cobra.Command) {
	s.addTarget(cmd)
	keyFlag(cmd, &s.keys)
	cmd.Flags().Var(&s.expires, "expires",
		"how long the channel manifest is valid, such as 90d, or never (default: as long as the previous one; at first 90d)")
}

// addTarget adds the flags for the target and the trust document.
func (s *signFlags) addTarget(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&s.node, "node", "", "`URL` of the node")
	s.at.add(cmd)
	trustFlag(cmd, &s.trust,
		"the org's trust document, a `FILE` or its content: data from the node that it does not allow is never signed")
	flags.Uint64Var(&s.expect, "expect-sequence", 0,
		"sign only if the channel is at this `SEQUENCE`; 0: if it does not exist yet")
	dryRunFlag(cmd, &s.dryRun)
	required(cmd, "trust")
}

// halfSignedHint is what to do after a half-signed manifest was written.
const halfSignedHint = "sign the file with the other keys (brink sign), then apply it (brink channel push)"

// signer is a publisher and the meter of its progress. The caller closes it.
type signer struct {
	*publish.Publisher

	meter *meter
	done  func()
}

func (s *signer) close() {
	s.meter.done()
	s.done()
}

// signer returns the publisher that the flags describe.
func (sh *shell) signer(cmd *cobra.Command, s *signFlags, change ...func(*publish.Config)) (*signer, error) {
	trust, err := readTrust(s.trust)
	if err != nil {
		return nil, err
	}
	sh.checkTrust(trust)
	keys, err := sh.readKeys(s.keys)
	if err != nil {
		return nil, err
	}
	config, done, err := s.at.choose(sh, cmd, s.node)
	if err != nil {
		return nil, err
	}
	meter := sh.meter()
	config.Trust, config.Keys, config.Life = trust, keys, time.Duration(s.expires)
	if !s.dryRun {
		config.Advanced = sh.advanced(s.trust)
	}
	config.Progress = func(e publish.Event) { meter.show(string(e.Stage), e.Done, e.Total) }
	if cmd.Flags().Changed("expect-sequence") {
		config.ExpectSequence = &s.expect
	}
	if s.half != "" {
		config.HalfSigned = func(raw []byte) error { return writeNew(s.half, raw, 0o644) }
	}
	for _, c := range change {
		c(&config)
	}
	p, err := publish.New(config)
	if err != nil {
		done()
		return nil, err
	}
	return &signer{Publisher: p, meter: meter, done: done}, nil
}

// servesPairs describes which content was signed for which devices, in names and values.
func servesPairs(list []publish.Serving) (pairs []string) {
	for i, one := range list {
		name := ""
		if i == 0 {
			name = "signed"
		}
		gets := "nothing new"
		switch {
		case one.BuiltIn:
			gets = "the built-in bundle"
		case one.Bundle != nil:
			gets = fmt.Sprintf("%s, bundle %s", one.Version, one.Bundle.Short())
		}
		pairs = append(pairs, name, one.To+": "+gets)
	}
	return pairs
}

// expiresPairs describes when the signed manifest expires.
func expiresPairs(at *time.Time) []string {
	if at == nil {
		return nil
	}
	return []string{"expires", moment(*at) + ", unless it is renewed: brink channel renew"}
}
