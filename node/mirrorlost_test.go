package node

import (
	"net/http"
	"sync/atomic"
	"testing"
)

// TestMirror_WritesWhatALostNodeTook loses the node that took a release while the origin was down. Another has heard of
// it, and has looked at the origin before: there nothing has changed since.
func TestMirror_WritesWhatALostNodeTook(t *testing.T) {
	s3 := origins(t)
	var down atomic.Bool
	s3.Fail = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		if down.Load() {
			w.WriteHeader(http.StatusForbidden)
		}
		return down.Load()
	}
	f := startFleet(t, 2, func(_ int, c *Config) { behind(s3.Address())(c) })
	taker, left := f.nodes[0], f.nodes[1]
	f.agree(taker.publish("1.0.0").Sequence)
	key := testApp + "/production"
	polls := left.mirror.Polls()
	until(t, "the other has looked at the origin", func() bool {
		return left.mirror.Polls() > polls+1 // the next one may have begun before
	})
	down.Store(true)
	f.agree(taker.publish("1.1.0").Sequence)
	taker.stop()
	down.Store(false)
	until(t, "the origin has what only another node has left", func() bool {
		return string(s3.Object("channels/"+key+"/current.json")) == string(left.state.Manifest(testApp, "production").Raw())
	})
}
