package channel

import "testing"

func TestManifest_RestartMovesDevicesFromALapsedManifest(t *testing.T) {
	acme := trust(t, acme(), "root")
	lapsed := shop(t, "production", "6.6.6")
	lapsed.Sequence = 40
	next, err := lapsed.Restart(acme, release("1.0.1"), now)
	if err != nil {
		t.Fatal(err)
	}
	if next.Sequence != 41 || len(next.History) != 0 || next.Withdrawn != "6.6.6" {
		t.Errorf("restart: sequence %d, history %v, withdrawn %q", next.Sequence, next.History, next.Withdrawn)
	}
	device := State{App: next.App, Channel: next.Channel, Sequence: 40, Version: "6.6.6"}
	if _, err := device.Accept(next); err != nil {
		t.Errorf("a device on what lapsed refuses: %v", err)
	}
	if d := Resolve(next, Device{Version: "6.6.6"}, now); d.Kind != Rollback {
		t.Errorf("a device on what lapsed gets %+v", d)
	}
	if higher, err := lapsed.Restart(acme, release("7.0.0"), now); err != nil || higher.Withdrawn != "" || higher.Rollback {
		t.Errorf("restart above what lapsed: %+v, %v", higher, err)
	}
}
