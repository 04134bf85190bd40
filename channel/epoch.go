package channel

import "slices"

// EpochSize is the number of sequences in an epoch: epoch E has those from E*EpochSize to (E+1)*EpochSize-1.
const EpochSize = 1 << 32

// MaxEpoch is the highest epoch, whose sequences end at [MaxSequence].
const MaxEpoch = (MaxSequence+1)/EpochSize - 1

// MaxEpochs bounds the epochs that a trust document lists.
const MaxEpochs = 1000

// MaxJump is how far the sequence of a manifest may be above that of the manifest in force. It bounds how fast a stolen
// key can use up the sequences of an epoch.
const MaxJump = 1 << 20

// Epoch sets the epoch of the channels that match both patterns. If several match a channel, the highest epoch applies;
// if none does, epoch 0. A manifest is valid only if its sequence is in the epoch of its channel.
//
// With epochs the root keys recover a channel after a stolen key has signed a high sequence, or even the highest one:
// every sequence of the next epoch is above all those that were ever signed, and those of former epochs are not valid
// any more. TUF resets its counters for the same reason (section 5.3.11 of its specification).
type Epoch struct {
	Apps     []Pattern `json:"apps"`     // at least one
	Channels []Pattern `json:"channels"` // at least one
	Epoch    uint64    `json:"epoch"`    // 1 to MaxEpoch

	unknown unknown
}

// EpochOf returns the epoch of a sequence.
func EpochOf(sequence uint64) uint64 { return sequence / EpochSize }

// Epoch returns the epoch of a channel of an app.
func (t *Trust) Epoch(app, channel string) (epoch uint64) {
	for i := range t.doc.Epochs {
		if e := &t.doc.Epochs[i]; matches(e.Apps, app) && matches(e.Channels, channel) {
			epoch = max(epoch, e.Epoch)
		}
	}
	return epoch
}

// FirstSequence returns the lowest valid sequence of a manifest of the channel.
func (t *Trust) FirstSequence(app, channel string) uint64 { return t.Epoch(app, channel)*EpochSize + 1 }

// Reset moves the channels that match both patterns to an epoch above all others in the document.
func (c *TrustConfig) Reset(apps, channels []Pattern) {
	next := uint64(1)
	for i := range c.Epochs {
		next = max(next, c.Epochs[i].Epoch+1)
	}
	for i := range c.Epochs {
		if e := &c.Epochs[i]; slices.Equal(e.Apps, apps) && slices.Equal(e.Channels, channels) {
			e.Epoch = next
			return
		}
	}
	c.Epochs = append(c.Epochs, Epoch{Apps: slices.Clone(apps), Channels: slices.Clone(channels), Epoch: next})
}

// checkEpoch checks that the sequence of m is in the epoch of its channel.
func (t *Trust) checkEpoch(m *Manifest) error {
	if got, want := EpochOf(m.Sequence), t.Epoch(m.App, m.Channel); got != want {
		return refuse(CodeWrongEpoch, "publish to the channel with --restart",
			"manifest has sequence %d of epoch %d, but version %d of the trust document requires epoch %d",
			m.Sequence, got, t.Version(), want)
	}
	return nil
}

// checkEpochs checks that next lowers no epoch of t.
func (t *Trust) checkEpochs(next *Trust) error {
	for i := range t.doc.Epochs {
		e := &t.doc.Epochs[i]
		if !slices.ContainsFunc(next.doc.Epochs, func(n Epoch) bool {
			return slices.Equal(n.Apps, e.Apps) && slices.Equal(n.Channels, e.Channels) && n.Epoch >= e.Epoch
		}) {
			return refuse(CodeMalformed, "make the next document from the one in force",
				"trust document lowers epoch %d of %v %v, which version %d has", e.Epoch, e.Apps, e.Channels, t.Version())
		}
	}
	return nil
}

func checkEpochList(list []Epoch) error {
	if len(list) > MaxEpochs {
		return malformed("trust document has %d epochs, want at most %d", len(list), MaxEpochs)
	}
	for _, e := range list {
		if e.Epoch < 1 || e.Epoch > MaxEpoch {
			return malformed("epoch is %d, want 1 to %d", e.Epoch, uint64(MaxEpoch))
		}
		if len(e.Apps) == 0 || len(e.Channels) == 0 {
			return refuse(CodeMalformed, "give at least one app and one channel, or * for all",
				"epoch %d has no channels", e.Epoch)
		}
		for _, p := range e.Apps {
			if err := p.check("app", MaxApp); err != nil {
				return err
			}
		}
		for _, p := range e.Channels {
			if err := p.check("channel", MaxChannel); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Epoch) clone() Epoch {
	return Epoch{
		Apps: slices.Clone(e.Apps), Channels: slices.Clone(e.Channels), Epoch: e.Epoch, unknown: e.unknown.clone(),
	}
}

// MarshalJSON encodes the fields, and the unknown members that UnmarshalJSON found.
func (e Epoch) MarshalJSON() ([]byte, error) {
	type fields Epoch
	return encodeObject(fields(e), e.unknown)
}

// UnmarshalJSON decodes an epoch, with the members that this version does not know. It does not check the values.
func (e *Epoch) UnmarshalJSON(raw []byte) error {
	type fields Epoch
	var f fields
	rest, err := decodeObject(raw, &f)
	*e = Epoch(f)
	e.unknown = rest
	return err
}
