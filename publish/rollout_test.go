package publish

import (
	"testing"
	"time"

	"brink/channel"
)

// A release goes to some devices first. Publishing it again changes nothing, and to more devices is no publish.
func TestPublisher_PublishesToSomeDevices(t *testing.T) {
	n := newFakeNode(t)
	if _, err := n.publish(); err != nil {
		t.Fatal(err)
	}
	n.manifest = n.moved
	some := channel.Rollout{Share: 1250, Ends: time.Now().Add(time.Hour)}
	next := func(_ *Config, r *Request) { r.Version, r.Rollout = "1.1.0", &some }
	r, err := n.publish(next)
	if err != nil {
		t.Fatal(err)
	}
	m, err := channel.ParseManifest(n.moved)
	if err != nil {
		t.Fatal(err)
	}
	if m.Rollout == nil || m.Rollout.Share != 1250 || m.Rollout.From != "1.0.0" || m.Release.Version != "1.1.0" {
		t.Errorf("the channel moved to %s with rollout %+v", m.Release.Version, m.Rollout)
	}
	if r.Rollout == nil || r.Rollout.From != "1.0.0" || r.Unchanged || some.From != "" {
		t.Errorf("the result is %+v, the request has %+v now", r, some)
	}
	n.manifest, n.moved = n.moved, nil
	r, err = n.publish(next)
	if err != nil || !r.Unchanged || n.moved != nil || r.Rollout == nil || r.Rollout.Share != 1250 {
		t.Errorf("the same again: %+v, %v", r, err)
	}
	_, err = n.publish(next, func(_ *Config, r *Request) { r.Rollout = &channel.Rollout{Share: 5000} })
	if channel.CodeOf(err) != channel.CodeRolloutRunning || n.moved != nil {
		t.Errorf("to more devices: %v, want %s", err, channel.CodeRolloutRunning)
	}
	before := len(n.calls)
	if _, err = n.publish(next, func(_ *Config, r *Request) { r.Restart = true }); err == nil || len(n.calls) > before {
		t.Errorf("anew to some devices: %v after %v", err, n.calls[before:])
	}
}
