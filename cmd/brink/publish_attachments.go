package main

import (
	"fmt"

	"github.com/spf13/cobra"

	format "brink/protocol/capgo"
	"brink/publish"
)

const attachmentHelp = `
An attachment is the same release in a form that some plugins of apps want. It is published with the release, named in
the signed channel manifest, and goes wherever the release goes: promoted, rolled back, kept and dropped with it.
  zip     the files as a zip, for plugins that do not take them one by one: old ones of Appflow and Capgo, and that of
          Electron. --zip makes it; from then on every release of the channel has one, until --zip=false.
  capgo   the files and the zip, encrypted for apps that hold a public key of Capgo. --capgo-key makes it, by the key
          that "npx @capgo/cli key create" wrote; or give what that CLI has zipped and encrypted. Such devices take
          nothing that is not encrypted: a release after one with it is refused without it, or says --capgo=false.`

const attachmentExamples = `
  brink publish ./www --version 1.2.0 --zip …                          with a zip, and so from now on
  brink publish ./www --version 1.3.0 --capgo-key .capgo_key_v2 …      with all that is encrypted for Capgo's plugin
  npx @capgo/cli bundle zip com.acme.shop --path www --bundle 1.4.0 --name app.zip --json > zip.json
  npx @capgo/cli bundle encrypt app.zip $(jq -r .checksum zip.json) --json > encrypted.json
  brink publish ./www --version 1.4.0 --capgo-json encrypted.json …    with the zip that Capgo's CLI has encrypted`

// attachmentFlags are the flags of attachments.
type attachmentFlags struct {
	zip, capgo bool
	key, form  string
	made       publish.CapgoMade
	json       string
}

func (f *attachmentFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.zip, "zip", false, "with a zip of the files (default: if the release before has one)")
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
	flags.BoolVar(&f.capgo, "capgo", true, "false: this release needs nothing encrypted, though the one before has it")
}

// apply fills in what the flags say of a release. Keys and texts are read; zips are not.
func (f *attachmentFlags) apply(sh *shell, cmd *cobra.Command, r *publish.Request) error {
	wrong := func(format string, args ...any) error {
		return (&usageError{message: fmt.Sprintf(format, args...)}).of(cmd)
	}
	if cmd.Flags().Changed("zip") {
		r.Zip = publish.Unwanted
		if f.zip {
			r.Zip = publish.Wanted
		}
	}
	r.CapgoForm = format.Form(f.form)
	if r.CapgoForm != format.Hex && r.CapgoForm != format.Base64 {
		return wrong("--capgo-checksum-form %s is neither hex nor base64", f.form)
	}
	if err := f.applyMade(wrong, r); err != nil {
		return err
	}
	encrypted := f.key != "" || r.CapgoMade != nil && r.CapgoMade.SessionKey != ""
	switch r.NoCapgo = !f.capgo; {
	case encrypted && r.NoCapgo:
		return wrong("--capgo=false goes with nothing that is encrypted")
	case f.key != "" && r.CapgoMade != nil && r.CapgoMade.SessionKey != "":
		return wrong("--capgo-key encrypts, and what is given is encrypted already: one of the two")
	case r.CapgoMade != nil && r.CapgoMade.SessionKey == "" && r.Zip == publish.Unwanted:
		return wrong("--zip=false, and a zip is given")
	case f.key == "":
		return nil
	}
	key, err := sh.readSecret("capgo-key", f.key, maxCapgoKey)
	if err != nil {
		return withHint(err, "npx @capgo/cli key create makes a key, and puts the public one into the app")
	}
	if r.CapgoKey, err = publish.ParseCapgoKey(key.raw); err != nil {
		return withHint(fmt.Errorf("%s: %w", key.from, err), "it is the file .capgo_key_v2 that Capgo's CLI wrote")
	}
	if key.file {
		sh.warnIfShared(key.from)
	}
	return nil
}

// maxCapgoKey bounds, in bytes, the PEM of an RSA key.
const maxCapgoKey = 64 << 10

// applyMade fills in what Capgo's CLI has made.
func (f *attachmentFlags) applyMade(wrong func(string, ...any) error, r *publish.Request) error {
	made := f.made
	switch {
	case f.json != "" && (made.Checksum != "" || made.SessionKey != ""):
		return wrong("--capgo-json has --capgo-checksum and --capgo-session-key in it: one of the two")
	case f.json != "":
		said, err := publish.ReadCapgoMade(f.json)
		if err != nil {
			return err
		}
		if made.Zip == "" {
			made.Zip = said.Zip
		}
		made.Checksum, made.SessionKey = said.Checksum, said.SessionKey
	case made.Zip == "" && (made.Checksum != "" || made.SessionKey != "" || made.KeyID != ""):
		return wrong("--capgo-zip missing: the file that the checksum, the session key and the key's ID belong to")
	case made.Zip == "":
		return nil
	case made.Checksum == "":
		return wrong("--capgo-checksum missing, or --capgo-json, which has it")
	}
	r.CapgoMade = &made
	return made.Check()
}

// attachmentFacts tells of the attachments of a release.
func attachmentFacts(r publish.Result) (pairs []string) {
	for _, a := range r.Attachments {
		text := human(a.Bytes)
		switch {
		case a.Chunks == 0:
			text += ", as before"
		case r.DryRun:
			text += fmt.Sprintf(", %s of %s would be sent", grouped(int64(a.ChunksSent)), count(a.Chunks, "chunk"))
		default:
			text += fmt.Sprintf(", %s of %s sent", grouped(int64(a.ChunksSent)), count(a.Chunks, "chunk"))
		}
		pairs = append(pairs, a.Kind, text)
	}
	return pairs
}
