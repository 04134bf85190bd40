package channel

import "brink/digest"

// State is what a device remembers of the channel it follows. Keep it durably, one for each app and channel.
//
// A device that changes channel starts from a State of the new one without Version if the change itself may take it to
// a lower version, and with Version if not.
type State struct {
	App     string `json:"app"`
	Channel string `json:"channel"`

	Sequence  uint64        `json:"sequence"`          // the highest that was accepted, 0 before the first
	Renewal   uint64        `json:"renewal,omitempty"` // the highest of that sequence that was accepted
	Statement digest.Digest `json:"statement"`         // of the manifest with that sequence and renewal

	// Version is what the device runs. Empty or no semver: it is unknown, and below every release. A device that went
	// back to what its native app came with leaves it empty.
	Version string `json:"version"`
}

// Accept is what a device asks of a manifest beyond its signature, which [Trust.VerifyManifest] has checked. It returns
// the state to keep, durably and before the device acts on the manifest; Version is left as it is, for the device to
// set when it has moved. Accepting the same manifest again changes nothing. With a manifest of a higher epoch ([Epoch])
// Version becomes empty: the root keys have reset the channel, whichever version it serves.
//
// It refuses a manifest of another app or channel; one with a lower sequence than the device has seen, which would
// bring back an old statement; one of the same sequence that says something else; and one that serves a lower version
// than the device runs, unless a signed rollback took that version back. On refusal the state is returned unchanged.
func (s State) Accept(m *Manifest) (State, error) {
	if err := m.CheckFor(s.App, s.Channel); err != nil {
		return s, err
	}
	if seen := OrderOf(s.Sequence, s.Renewal); m.Order() < seen {
		return s, refuse(CodeSequenceNotHigher, "", "manifest has sequence %s, and the device has seen %s",
			numberOf(m.Sequence, m.Renewal()), numberOf(s.Sequence, s.Renewal))
	} else if m.Order() == seen && m.statement != s.Statement {
		return s, refuse(CodeEquivocation, "", "manifest has sequence %d, and the device has seen another one with it",
			m.Sequence)
	}
	if s.Sequence > 0 && EpochOf(m.Sequence) > EpochOf(s.Sequence) {
		s.Version = ""
	}
	if err := m.checkMove(s.Version); err != nil {
		return s, err
	}
	s.Sequence, s.Renewal, s.Statement = m.Sequence, m.Renewal(), m.statement
	return s, nil
}
