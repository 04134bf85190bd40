package link

import (
	"testing"
	"time"
)

func TestLink_FloorIsRoundTripsAndBytes(t *testing.T) {
	// One handshake and two requests of 20 ms, and a million bytes at 8 Mbit/s.
	l := Link{RTT: 20 * time.Millisecond, Rate: 8e6}
	if got := l.Floor(2, 1_000_000); got != 60+1000 {
		t.Errorf("floor = %v ms, want 1060", got)
	}
}
