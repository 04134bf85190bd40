package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"brink/publish"
)

// signFlags are the flags of every verb that signs: where to, by which keys, checked by which trust document, and for
// how long.
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
		"`FILE` to write the channel manifest to if more keys have to sign it; see brink sign and brink channel push")
}

// addWithoutHalf is add for verbs whose statements are complete or not made.
func (s *signFlags) addWithoutHalf(cmd *cobra.Command) {
	s.addTarget(cmd)
	keyFlag(cmd, &s.keys)
	cmd.Flags().Var(&s.expires, "expires",
		"how long the channel manifest is good for, such as 90d, or never (default: as long as the one before; first 90d)")
}

// addTarget adds the flags that say what moves, where, and by which trust document.
func (s *signFlags) addTarget(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&s.node, "node", "", "`URL` of the node")
	s.at.add(cmd)
	trustFlag(cmd, &s.trust,
		"the org's trust document, a `FILE` or the document itself: nothing that the node says is signed but what it allows")
	flags.Uint64Var(&s.expect, "expect-sequence", 0,
		"`SEQUENCE` that the channel must be at, 0 for none yet: else nothing is signed")
	dryRunFlag(cmd, &s.dryRun)
	required(cmd, "trust")
}

// halfSignedHint says what comes after a half-signed manifest was written.
const halfSignedHint = "have the other keys sign the file (brink sign), then move the channel (brink channel push)"

// signer is a publisher and the meter that shows how far it is. The caller ends it.
type signer struct {
	*publish.Publisher

	meter *meter
	done  func()
}

func (s *signer) end() {
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

// servesPairs tells in terms of content what was signed, in names and values.
func servesPairs(list []publish.Serving) (pairs []string) {
	for i, one := range list {
		name := ""
		if i == 0 {
			name = "signed"
		}
		gets := "nothing new"
		switch {
		case one.BuiltIn:
			gets = "the built-in"
		case one.Bundle != nil:
			gets = fmt.Sprintf("%s, bundle %s", one.Version, one.Bundle.Short())
		}
		pairs = append(pairs, name, one.To+": "+gets)
	}
	return pairs
}

// expiresPairs tells when what was signed ends.
func expiresPairs(at *time.Time) []string {
	if at == nil {
		return nil
	}
	return []string{"expires", moment(*at) + ", unless it is renewed: brink channel renew"}
}
