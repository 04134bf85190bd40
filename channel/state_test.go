package channel

import "testing"

// TestState_AcceptSkippedRollback is the case that Withdrawn is for: sequence 5 rolls back, sequence 6 only changes a
// comment, and the device has last seen sequence 4.
func TestState_AcceptSkippedRollback(t *testing.T) {
	four := shop(t, "production", "0.8.0", "0.9.0", "1.0.0", "1.1.0")
	device := must(State{App: four.App, Channel: four.Channel, Version: "1.1.0"}.Accept(signed(t, four)))(t)
	if device.Sequence != 4 {
		t.Fatalf("the device has seen sequence %d", device.Sequence)
	}
	five := must(four.RollBack("1.0.0", now))(t)
	r := five.Release
	r.Comment = "see the incident report"
	six := signed(t, must(five.Amend(r, now))(t))
	if six.Sequence != 6 || six.Rollback {
		t.Fatalf("the last statement is %s at sequence %d, want no rollback at 6", versions(six), six.Sequence)
	}
	after, err := device.Accept(six)
	if err != nil || after.Sequence != 6 || after.Statement != six.Statement() || after.Version != "1.1.0" {
		t.Errorf("the device accepts %+v: %v", after, err)
	}
	if got := Resolve(six, Device{Version: "1.1.0"}, now); got.Kind != Rollback || got.Release.Version != "1.0.0" {
		t.Errorf("the device gets %+v", got)
	}
	// A build above everything the channel ever served was not taken back.
	device.Version = "1.2.0"
	_, err = device.Accept(six)
	wantCode(t, err, CodeDowngrade)
}

func TestState_Accept(t *testing.T) {
	three := signed(t, shop(t, "production", "1.0.0", "1.1.0", "1.2.0"))
	unnamed := shop(t, "production", "1.0.0", "1.1.0", "1.2.0")
	unnamed.Release.Comment = "another"
	fresh := State{App: "com.acme.shop", Channel: "production"}
	seen := must(fresh.Accept(three))(t)

	running := func(version string) State {
		return State{App: "com.acme.shop", Channel: "production", Version: version}
	}
	for name, row := range map[string]struct {
		state State
		m     *Manifest
		want  Code
	}{
		"first contact":            {fresh, three, ""},
		"the same again":           {seen, three, ""},
		"the next":                 {seen, signed(t, must(three.Publish(release("1.3.0"), now))(t)), ""},
		"an old one":               {seen, signed(t, shop(t, "production", "1.0.0", "1.3.0")), CodeSequenceNotHigher},
		"another with that number": {seen, signed(t, unnamed), CodeEquivocation},
		"another channel":          {seen, signed(t, shop(t, "beta-1", "1.0.0")), CodeWrongChannel},
		"another app":              {State{App: "com.acme.other", Channel: "production"}, three, CodeWrongApp},
		"runs the same":            {running("1.2.0"), three, ""},
		"runs a lower one":         {running("0.1.0"), three, ""},
		"runs a higher one":        {running("1.2.1"), three, CodeDowngrade},
		"runs something unknown":   {running("builtin"), three, ""},
	} {
		got, err := row.state.Accept(row.m)
		if CodeOf(err) != row.want {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
		if err != nil && got != row.state {
			t.Errorf("%s: refused, and the state was changed", name)
		}
		if err == nil && (got.Sequence != row.m.Sequence || got.Statement != row.m.Statement()) {
			t.Errorf("%s: accepted, and not remembered", name)
		}
	}
	// One signature less is the same statement, and no equivocation.
	fewer := must(ParseManifest(sign(t, shop(t, "production", "1.0.0", "1.1.0", "1.2.0"), "ann")))(t)
	if _, err := seen.Accept(fewer); err != nil {
		t.Error(err)
	}
}
