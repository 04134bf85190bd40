package node

import (
	"brink/channel"
	"brink/node/semantics"
	"brink/node/serve"
	"brink/protocol"
)

// check answers POST /v1/apps/{app}/check: is there something new for this device?
func (n *Node) check(r *serve.Request) error {
	page := n.pages.page()
	defer n.pages.put(page)
	var in protocol.CheckRequest
	if err := readCheck(r, &in, page); err != nil {
		return err
	}
	m, err := n.inForce(r.Names[0], in.Channel)
	if err != nil {
		return err
	}
	decision := channel.Resolve(m, channel.Device(in.Device), n.config.Now())
	answer := protocol.CheckAnswer{
		Decision: decision.Kind,
		Reason:   decision.Reason,
		Release:  decision.Release,
		Sequence: m.Sequence,
	}
	if trust := n.channels.trusts.get(m.Org); trust != nil {
		answer.Trust = trust.Version()
	}
	if decision.Release != nil {
		// A node names nothing that it has lost: the device asks another one, and stays on what it runs till then.
		if _, err := n.known(decision.Release.Bundle); err != nil {
			return serve.Problem(protocol.CodeDamaged, "the release of the channel is not on this node", "publish it again")
		}
		answer.Archive = protocol.ArchivePath(decision.Release.Bundle)
		n.foretell(&in, &answer)
	}
	n.stats.check(m, &in.Device, decision.Kind)
	// A device that has something to do needs the signature that says so.
	if in.Seen != m.Statement() || decision.Kind != channel.UpToDate && decision.Kind != channel.None {
		answer.Manifest = m.Raw()
	}
	return writeCheck(r, &answer, page)
}

// foretell adds to an answer what shortens the device's way to the archive: the patch, if there is one that it takes
// here, or else what the archive is sent as. Without either the device asks for the archive all the same, so whatever
// goes wrong here is no error.
func (n *Node) foretell(in *protocol.CheckRequest, answer *protocol.CheckAnswer) {
	if in.Inline <= 0 && !in.Parts {
		return
	}
	s := archiveOf(answer.Release)
	rep, there := n.patch(s, in.Dictionary)
	if there && rep.Size <= min(in.Inline, protocol.MaxInline) {
		if answer.Patch = n.readPatch(answer.Release, rep); answer.Patch != nil {
			return
		}
	}
	if !in.Parts {
		return
	}
	if !there {
		rep, there = n.derived(derivation{subject: s, coding: semantics.Zstd})
	}
	if there {
		answer.Representation = &protocol.Representation{Encoding: rep.Coding.String(), Size: rep.Size}
	}
}

// readPatch returns the bytes of a patch, or nil if they can not be had.
func (n *Node) readPatch(release *channel.Release, rep serve.Representation) []byte {
	whole, err := rep.Body.Whole()
	if err == nil {
		var patch []byte
		if patch, err = whole.Bytes(); err == nil {
			return patch
		}
	}
	n.config.Logger.Warn("patch can not be read", "bundle", release.Bundle.Short(), "error", err)
	return nil
}
