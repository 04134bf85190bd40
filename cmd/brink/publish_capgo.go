package main

import (
	"fmt"

	"github.com/spf13/cobra"

	format "brink/protocol/capgo"
	"brink/publish"
	"brink/publish/capgo"
)

const capgoHelp = `
  capgo   the files and the zip, encrypted for apps that contain a public key of Capgo. Make it with --capgo-key and the
          key from "npx @capgo/cli key create", or pass a zip that the CLI has encrypted. These devices accept only
          encrypted releases: once a release has it, all later ones must have it or be published with --capgo=false.`

const capgoExamples = `
  brink publish ./www --version 1.3.0 --capgo-key .capgo_key_v2 …      encrypted for Capgo's plugin
  npx @capgo/cli bundle zip com.acme.shop --path www --bundle 1.4.0 --name app.zip --json > zip.json
  npx @capgo/cli bundle encrypt app.zip $(jq -r .checksum zip.json) --json > encrypted.json
  brink publish ./www --version 1.4.0 --capgo-json encrypted.json …    with a zip that Capgo's CLI has encrypted`

// capgoFlags are the flags of the attachment for Capgo's plugin.
type capgoFlags struct {
	wanted    bool
	key, form string
	made      capgo.Made
	json      string
}

func (f *capgoFlags) help() (text, examples string) { return capgoHelp, capgoExamples }

func (f *capgoFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.key, "capgo-key", "",
		"private RSA `KEY` to encrypt for Capgo's plugin, PEM: "+secretSources)
	markSecret(cmd, "capgo-key")
	flags.StringVar(&f.form, "capgo-checksum-form", string(format.Hex),
		"`FORM` of encrypted checksums: hex, or base64 for plugins below 5.30, 6.30 and 7.30")
	flags.StringVar(&f.made.Zip, "capgo-zip", "",
		"zip `FILE` made by Capgo's CLI, encrypted if there is a session key")
	flags.StringVar(&f.made.Checksum, "capgo-checksum", "", "`CHECKSUM` of --capgo-zip, as printed by the CLI")
	flags.StringVar(&f.made.SessionKey, "capgo-session-key", "", "`KEY` printed by the CLI as ivSessionKey")
	flags.StringVar(&f.made.KeyID, "capgo-key-id", "", "`ID` of the key: the first 20 characters of the public key")
	flags.StringVar(&f.json, "capgo-json", "",
		"`FILE` with the output of the CLI with --json: it has the zip, the checksum and the session key")
	flags.BoolVar(&f.wanted, "capgo", true, "false: publish without encryption, although the previous release has it")
}

func (f *capgoFlags) apply(sh *shell, cmd *cobra.Command, zip *publish.Zip) (publish.Attacher, error) {
	wrong := func(format string, args ...any) error {
		return (&usageError{message: fmt.Sprintf(format, args...)}).of(cmd)
	}
	a := capgo.Attacher{Form: format.Form(f.form), None: !f.wanted}
	if a.Form != format.Hex && a.Form != format.Base64 {
		return nil, wrong("--capgo-checksum-form %s is neither hex nor base64", f.form)
	}
	made, err := f.cli(wrong)
	if err != nil {
		return nil, err
	}
	if made != nil && made.SessionKey != "" {
		a.Made = made
	}
	switch {
	case a.None && (f.key != "" || a.Made != nil):
		return nil, wrong("--capgo=false excludes --capgo-key and an encrypted zip")
	case f.key != "" && a.Made != nil:
		return nil, wrong("--capgo-key and an encrypted zip exclude each other: want one of the two")
	case made != nil && a.Made == nil:
		if zip.Choice == publish.Unwanted {
			return nil, wrong("--zip=false and --capgo-zip exclude each other")
		}
		if zip.Given, err = made.Given(); err != nil {
			return nil, err
		}
	}
	if f.key != "" {
		a.Key, err = f.readKey(sh)
	}
	return a, err
}

// readKey reads the key that encrypts.
func (f *capgoFlags) readKey(sh *shell) (*capgo.Key, error) {
	s, err := sh.readSecret("capgo-key", f.key, maxCapgoKey)
	if err != nil {
		return nil, withHint(err, "npx @capgo/cli key create makes a key, and adds the public one to the app")
	}
	key, err := capgo.ParseKey(s.raw)
	if err != nil {
		return nil, withHint(fmt.Errorf("%s: %w", s.from, err), "want the file .capgo_key_v2 that Capgo's CLI wrote")
	}
	if s.file {
		sh.warnIfShared(s.from)
	}
	return key, nil
}

// maxCapgoKey limits the PEM of an RSA key, in bytes.
const maxCapgoKey = 64 << 10

// cli returns the output of Capgo's CLI, nil if there is none.
func (f *capgoFlags) cli(wrong func(string, ...any) error) (*capgo.Made, error) {
	made := f.made
	switch {
	case f.json != "" && (made.Checksum != "" || made.SessionKey != ""):
		return nil, wrong("--capgo-json excludes --capgo-checksum and --capgo-session-key, which it contains")
	case f.json != "":
		output, err := capgo.ReadMade(f.json)
		if err != nil {
			return nil, err
		}
		if made.Zip == "" {
			made.Zip = output.Zip
		}
		made.Checksum, made.SessionKey = output.Checksum, output.SessionKey
	case made.Zip == "" && (made.Checksum != "" || made.SessionKey != "" || made.KeyID != ""):
		return nil, wrong("--capgo-zip missing: the file that the checksum, the session key and the key's ID belong to")
	case made.Zip == "":
		return nil, nil
	case made.Checksum == "":
		return nil, wrong("--capgo-checksum missing, or --capgo-json, which contains it")
	}
	return &made, made.Check()
}
