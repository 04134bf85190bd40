// Package check answers the checks for updates of Brink's own client.
//
// The life of one check: the body is read into a pooled buffer; package channel decides by the manifest in force; the
// answer names the archive, may contain the patch, and contains the signed manifest if the device has something to do.
//
// The invariant: a check waits for neither disk nor network unless the bundle of the release is missing, and produces
// almost no garbage.
package check

import (
	"errors"
	"log/slog"
	"time"

	"brink/channel"
	"brink/node/internal/bundles"
	"brink/node/internal/force"
	"brink/node/internal/represent"
	"brink/node/internal/semantics"
	"brink/node/internal/serve"
	"brink/protocol"
)

// Config is what [Handlers] work with. All fields are required.
type Config struct {
	State   *force.State
	Bundles *bundles.Source
	Server  *represent.Server
	// Count counts a check and its outcome. It does not block.
	Count  func(m *channel.Manifest, d *protocol.Device, kind channel.Kind)
	Logger *slog.Logger
	Now    func() time.Time
}

// Handlers answer checks.
type Handlers struct {
	Config

	pages pages
}

// New returns handlers.
func New(config Config) *Handlers { return &Handlers{Config: config} }

// PostCheck answers POST /v1/apps/{app}/check, the check for updates of a device.
func (h *Handlers) PostCheck(r *serve.Request) error {
	page := h.pages.page()
	defer h.pages.put(page)
	var in protocol.CheckRequest
	if err := readCheck(r, &in, page); err != nil {
		return err
	}
	m, err := h.State.Require(r.Names[0], in.Channel)
	if err != nil {
		return err
	}
	decision := channel.Resolve(m, channel.Device(in.Device), h.Now())
	answer := protocol.CheckAnswer{
		Decision: decision.Kind,
		Reason:   decision.Reason,
		Release:  decision.Release,
		Sequence: m.Sequence,
	}
	if trust := h.State.Trust(m.Org); trust != nil {
		answer.Trust = trust.Version()
	}
	if decision.Release != nil {
		// Do not name a bundle that was lost: the device tries another node, and stays on its release until then.
		if _, err := h.Bundles.Bundle(decision.Release.Bundle); err != nil {
			return serve.Problem(protocol.CodeDamaged, "the release of the channel is not on this node", "publish it again")
		}
		answer.Archive = protocol.ArchivePath(decision.Release.Bundle)
		h.addHints(&in, &answer)
	}
	h.Count(m, &in.Device, decision.Kind)
	// A device that has something to do needs the signed manifest.
	if in.Seen != m.Statement() || decision.Kind != channel.UpToDate && decision.Kind != channel.None {
		answer.Manifest = m.Raw()
	}
	return writeCheck(r, &answer, page)
}

// addHints adds to an answer what saves the device requests for the archive: the patch, if it is small enough, or the
// encoding and size of the archive. They are optional, because the device can always request the archive, so failures
// are not errors.
func (h *Handlers) addHints(in *protocol.CheckRequest, answer *protocol.CheckAnswer) {
	if in.Inline <= 0 && !in.Parts {
		return
	}
	s := represent.ArchiveOf(answer.Release)
	rep, exists := h.Server.Patch(s, in.Dictionary)
	if exists && rep.Size <= min(in.Inline, protocol.MaxInline) {
		if answer.Patch = h.readPatch(answer.Release, rep); answer.Patch != nil {
			return
		}
	}
	if !in.Parts {
		return
	}
	if !exists {
		rep, exists = h.Server.Derived(represent.Derivation{Subject: s, Coding: semantics.Zstd})
	}
	if exists {
		answer.Representation = &protocol.Representation{Encoding: rep.Coding.String(), Size: rep.Size}
	}
}

// readPatch returns the bytes of a patch, or nil if they cannot be read.
func (h *Handlers) readPatch(release *channel.Release, rep serve.Representation) []byte {
	whole, err := rep.Body.Whole()
	if errors.Is(err, serve.ErrNoMemory) {
		return nil
	}
	if err == nil {
		defer whole.Release()
		var patch []byte
		if patch, err = whole.Bytes(); err == nil {
			return patch
		}
	}
	h.Logger.Warn("cannot read patch", "bundle", release.Bundle.Short(), "error", err)
	return nil
}
