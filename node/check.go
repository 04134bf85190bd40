package node

import (
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// check answers POST /v1/apps/{app}/check: is there something new for this device?
func (n *Node) check(r *request) error {
	page := n.pages.page()
	defer n.pages.put(page)
	var in protocol.CheckRequest
	if err := r.readCheck(&in, page); err != nil {
		return err
	}
	m, err := n.inForce(r.names[0], in.Channel)
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
	if decision.Release != nil {
		// A node names nothing that it has lost: the device asks another one, and stays on what it runs till then.
		if _, err := n.known(decision.Release.Bundle); err != nil {
			return problem(protocol.CodeDamaged, "the release of the channel is not on this node", "publish it again")
		}
		answer.Archive = protocol.ArchivePath(decision.Release.Bundle)
		answer.Patch = n.inline(decision.Release, in.Dictionary, min(in.Inline, protocol.MaxInline))
	}
	n.stats.check(m, &in.Device, decision.Kind)
	// A device that has something to do needs the signature that says so.
	if in.Seen != m.Statement() || decision.Kind != channel.UpToDate && decision.Kind != channel.None {
		answer.Manifest = m.Raw()
	}
	return r.writeCheck(&answer, page)
}

// inline returns the patch to a release for who has the archive of the name, if there is one of at most limit bytes.
// Without it the device asks for the archive, so whatever goes wrong here is no error.
func (n *Node) inline(release *channel.Release, name digest.SHA256, limit int64) []byte {
	base, known := n.channels.dictionary(name)
	if !known || limit <= 0 {
		return nil
	}
	d, possible := base.patchFor(archiveOf(release))
	if !possible {
		return nil
	}
	rep, ok := n.derived(d)
	n.metrics.patch(ok)
	if !ok || rep.size > limit {
		return nil
	}
	whole, err := rep.body.whole()
	if err != nil {
		n.config.Logger.Warn("patch can not be read", "bundle", release.Bundle.Short(), "error", err)
		return nil
	}
	patch, err := whole.bytes()
	if err != nil {
		n.config.Logger.Warn("patch can not be read", "bundle", release.Bundle.Short(), "error", err)
		return nil
	}
	return patch
}
