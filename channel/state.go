package channel

import "brink/digest"

// State is what a device stores about the channel that it follows. It must be durable, one for each app and channel.
//
// A device that changes to another channel starts with a new State: without Version if the change may move it to a
// lower version, and with Version if not.
type State struct {
	App     string `json:"app"`
	Channel string `json:"channel"`

	Sequence  uint64        `json:"sequence"`          // the highest accepted one, 0 before the first
	Renewal   uint64        `json:"renewal,omitempty"` // the highest accepted one of that sequence
	Statement digest.Digest `json:"statement"`         // of the manifest with that sequence and renewal

	// Version is what the device runs. Empty or not semver: unknown, and below every release. It is empty for a device
	// that went back to what its native app came with.
	Version string `json:"version"`
}

// Accept makes the checks of a device on a manifest that [Trust.VerifyManifest] returned. It returns the next state,
// which the device must save before it acts on the manifest. Version is unchanged: the device sets it when it has
// moved. Accepting the same manifest again changes nothing. A manifest of a higher epoch ([Epoch]) clears Version,
// because the root keys have reset the channel, whichever version it serves.
//
// It refuses a manifest of another app or channel; one with a lower sequence than the device has seen, which would
// replay an old statement; a different one with the same sequence; and one that serves a lower version than the device
// runs, unless a signed rollback withdrew that version. On refusal it returns the state unchanged.
func (s State) Accept(m *Manifest) (State, error) {
	if err := m.CheckFor(s.App, s.Channel); err != nil {
		return s, err
	}
	if seen := OrderOf(s.Sequence, s.Renewal); m.Order() < seen {
		return s, refuse(CodeSequenceNotHigher, "", "manifest has sequence %s, but the device has seen %s",
			numberOf(m.Sequence, m.Renewal()), numberOf(s.Sequence, s.Renewal))
	} else if m.Order() == seen && m.statement != s.Statement {
		return s, refuse(CodeEquivocation, "", "manifest has sequence %d, but the device has seen another one with it",
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
