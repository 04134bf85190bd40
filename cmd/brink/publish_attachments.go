package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"brink/publish"
)

const attachmentHelp = `
Attachments are the same release in other formats, for plugins that need them. They are published with the release,
named in the signed channel manifest, and promoted, rolled back, kept and removed together with the release.
  zip     the files as a zip, for plugins that do not download single files: old versions of Appflow's and Capgo's, and
          the one for Electron. With --zip this and all later releases of the channel have one, until --zip=false.`

const attachmentExamples = `
  brink publish ./www --version 1.2.0 --zip …                          this and all later releases with a zip`

// serviceFlags are the flags of the attachment for one service.
type serviceFlags interface {
	// help returns a description of the attachment, and examples.
	help() (text, examples string)
	add(cmd *cobra.Command)
	// apply returns the attacher, and may change how the zip is made. It reads keys and texts, but no zips.
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

// help returns a description of all attachments, and examples.
func (f *attachmentFlags) help() (text, examples string) {
	texts, all := []string{attachmentHelp}, []string{attachmentExamples}
	for _, service := range f.services {
		text, examples := service.help()
		texts, all = append(texts, text), append(all, examples)
	}
	return strings.Join(texts, ""), strings.Join(all, "")
}

func (f *attachmentFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.zip, "zip", false, "attach a zip of the files (default: if the previous release has one)")
	for _, service := range f.services {
		service.add(cmd)
	}
}

// apply adds the attachments to a request.
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

// attachmentFacts describes the attachments of a release, in names and values.
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
