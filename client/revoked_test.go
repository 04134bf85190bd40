package client

import (
	"testing"

	"brink/channel"
)

func TestState_RevokesReleasesOfFormerEpochs(t *testing.T) {
	const sequence = 2*channel.EpochSize + 7 // of epoch 2
	s := state{Channels: []followed{
		{Seen: channel.State{Channel: "beta", Sequence: 3}},
		{Seen: channel.State{Channel: "production", Sequence: sequence}},
	}}
	for name, test := range map[string]struct {
		release installed
		want    bool
	}{
		"former epoch":    {release: installed{Channel: "production", Epoch: 1}, want: true},
		"first epoch":     {release: installed{Channel: "production"}, want: true},
		"same epoch":      {release: installed{Channel: "production", Epoch: 2}},
		"other channel":   {release: installed{Channel: "beta"}},
		"unknown channel": {release: installed{Channel: "alpha"}},
	} {
		if got := s.revoked(&test.release); got != test.want {
			t.Errorf("%s: revoked is %t", name, got)
		}
	}
}
