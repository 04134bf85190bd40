package main

import (
	"fmt"

	"github.com/spf13/cobra"

	format "brink/protocol/capgo"
	"brink/publish"
	"brink/publish/capgo"
)

const capgoHelp = `
  capgo   the files and the zip, encrypted for apps that hold a public key of Capgo. --capgo-key makes it, by the key
          that "npx @capgo/cli key create" wrote; or give what that CLI has zipped and encrypted. Such devices take
          nothing that is not encrypted: a release after one with it is refused without it, or says --capgo=false.`

const capgoExamples = `
  brink publish ./www --version 1.3.0 --capgo-key .capgo_key_v2 …      with all that is encrypted for Capgo's plugin
  npx @capgo/cli bundle zip com.acme.shop --path www --bundle 1.4.0 --name app.zip --json > zip.json
  npx @capgo/cli bundle encrypt app.zip $(jq -r .checksum zip.json) --json > encrypted.json
  brink publish ./www --version 1.4.0 --capgo-json encrypted.json …    with the zip that Capgo's CLI has encrypted`

// capgoFlags are the flags of what Capgo's plugin wants.
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
		"`KEY`, private, by which Capgo's plugin is to be served, RSA, PEM: "+secretSources)
	markSecret(cmd, "capgo-key")
	flags.StringVar(&f.form, "capgo-checksum-form", string(format.Hex),
		"`FORM` of encrypted checksums: hex, or base64 for plugins below 5.30, 6.30 and 7.30")
	flags.StringVar(&f.made.Zip, "capgo-zip", "",
		"`FILE` that Capgo's CLI has zipped, and encrypted if there is a session key")
	flags.StringVar(&f.made.Checksum, "capgo-checksum", "", "`CHECKSUM` of --capgo-zip as the CLI printed it")
	flags.StringVar(&f.made.SessionKey, "capgo-session-key", "", "`KEY` that the CLI printed as ivSessionKey")
	flags.StringVar(&f.made.KeyID, "capgo-key-id", "", "`ID` of the key: the public key's first 20 characters")
	flags.StringVar(&f.json, "capgo-json", "",
		"`FILE` with what the CLI printed by --json: it names the zip, the checksum and the session key")
	flags.BoolVar(&f.wanted, "capgo", true, "false: this release needs nothing encrypted, though the one before has it")
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
		return nil, wrong("--capgo=false goes with nothing that is encrypted")
	case f.key != "" && a.Made != nil:
		return nil, wrong("--capgo-key encrypts, and what is given is encrypted already: one of the two")
	case made != nil && a.Made == nil:
		if zip.Choice == publish.Unwanted {
			return nil, wrong("--zip=false, and a zip is given")
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
	said, err := sh.readSecret("capgo-key", f.key, maxCapgoKey)
	if err != nil {
		return nil, withHint(err, "npx @capgo/cli key create makes a key, and puts the public one into the app")
	}
	key, err := capgo.ParseKey(said.raw)
	if err != nil {
		return nil, withHint(fmt.Errorf("%s: %w", said.from, err), "it is the file .capgo_key_v2 that Capgo's CLI wrote")
	}
	if said.file {
		sh.warnIfShared(said.from)
	}
	return key, nil
}

// maxCapgoKey bounds, in bytes, the PEM of an RSA key.
const maxCapgoKey = 64 << 10

// cli returns what Capgo's CLI has made, nil if nothing is given.
func (f *capgoFlags) cli(wrong func(string, ...any) error) (*capgo.Made, error) {
	made := f.made
	switch {
	case f.json != "" && (made.Checksum != "" || made.SessionKey != ""):
		return nil, wrong("--capgo-json has --capgo-checksum and --capgo-session-key in it: one of the two")
	case f.json != "":
		said, err := capgo.ReadMade(f.json)
		if err != nil {
			return nil, err
		}
		if made.Zip == "" {
			made.Zip = said.Zip
		}
		made.Checksum, made.SessionKey = said.Checksum, said.SessionKey
	case made.Zip == "" && (made.Checksum != "" || made.SessionKey != "" || made.KeyID != ""):
		return nil, wrong("--capgo-zip missing: the file that the checksum, the session key and the key's ID belong to")
	case made.Zip == "":
		return nil, nil
	case made.Checksum == "":
		return nil, wrong("--capgo-checksum missing, or --capgo-json, which has it")
	}
	return &made, made.Check()
}
