package node

import (
	"net"
	"strings"
	"testing"
)

// Idle connections in any number keep neither devices nor operators out.
func TestNode_FullOfIdleConnsServesOn(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *Config) { c.Wire.Connections = 8 })
	for range 30 {
		c, err := net.Dial("tcp", f.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if resp, body := f.get("/livez"); resp.StatusCode != 200 {
		t.Errorf("a device is answered %d %s", resp.StatusCode, body)
	}
	status, text := f.admin("/metrics")
	if status != 200 || !strings.Contains(text, "brink_connections_most 8") ||
		strings.Contains(text, "brink_connections_displaced_total 0\n") {
		t.Errorf("operators are told %d, and not that connections make room", status)
	}
	if open := f.listener.Stats().Open; open > 8 {
		t.Errorf("%d connections are open, want 8 at most", open)
	}
}
