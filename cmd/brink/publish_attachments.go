package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"brink/publish"
)

const attachmentHelp = `
An attachment is the same release in a form that some plugins of apps want. It is published with the release, named in
the signed channel manifest, and goes wherever the release goes: promoted, rolled back, kept and dropped with it.
  zip     the files as a zip, for plugins that do not take them one by one: old ones of Appflow and Capgo, and that of
          Electron. --zip makes it; from then on every release of the channel has one, until --zip=false.`

const attachmentExamples = `
  brink publish ./www --version 1.2.0 --zip …                          with a zip, and so from now on`

// serviceFlags are the flags of the attachment that one service wants.
type serviceFlags interface {
	// help returns what the flags are for, and examples.
	help() (text, examples string)
	add(cmd *cobra.Command)
	// apply returns what makes the attachment, and may say how the zip is made. Keys and texts are read; zips are not.
	apply(sh *shell, cmd *cobra.Command, zip *publish.Zip) (publish.Attacher, error)
}

// attachmentFlags are the flags of attachments.
type attachmentFlags struct {
	zip      bool
	services []serviceFlags
}

func newAttachmentFlags() *attachmentFlags {
	return &attachmentFlags{services: []serviceFlags{&capgoFlags{}}}
}

// help returns what attachments are, and examples.
func (f *attachmentFlags) help() (text, examples string) {
	texts, all := []string{attachmentHelp}, []string{attachmentExamples}
	for _, service := range f.services {
		text, examples := service.help()
		texts, all = append(texts, text), append(all, examples)
	}
	return strings.Join(texts, ""), strings.Join(all, "")
}

func (f *attachmentFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.zip, "zip", false, "with a zip of the files (default: if the release before has one)")
	for _, service := range f.services {
		service.add(cmd)
	}
}

// apply fills in what the flags say of a release.
func (f *attachmentFlags) apply(sh *shell, cmd *cobra.Command, r *publish.Request) error {
	var zip publish.Zip
	if cmd.Flags().Changed("zip") {
		zip.Choice = publish.Unwanted
		if f.zip {
			zip.Choice = publish.Wanted
		}
	}
	var others []publish.Attacher
	for _, service := range f.services {
		attacher, err := service.apply(sh, cmd, &zip)
		if err != nil {
			return err
		}
		others = append(others, attacher)
	}
	r.Attachments = append([]publish.Attacher{zip}, others...)
	return nil
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
