package publish

import (
	"testing"
	"time"

	"brink/channel"
)

// TestLife_OfManifests: a manifest expires unless somebody wants otherwise, and a channel keeps the life that it has.
func TestLife_OfManifests(t *testing.T) {
	n := newFakeNode(t)
	at := time.Now().Truncate(time.Second)
	version := 0
	publish := func(life time.Duration) *channel.Manifest {
		t.Helper()
		version++
		if _, err := n.publish(func(c *Config, r *Request) {
			c.Life, c.Now = life, func() time.Time { return at }
			r.Version = "1.0." + string(rune('0'+version))
		}); err != nil {
			t.Fatal(err)
		}
		m, err := channel.ParseManifest(n.moved)
		if err != nil {
			t.Fatal(err)
		}
		n.manifest = n.moved
		return m
	}
	for _, step := range []struct {
		life time.Duration
		want time.Duration // 0: never
	}{
		{0, DefaultLife},
		{0, DefaultLife},
		{24 * time.Hour, 24 * time.Hour},
		{0, 24 * time.Hour},
		{Forever, 0},
		{0, 0},
		{time.Hour, time.Hour},
	} {
		m := publish(step.life)
		want := time.Time{}
		if step.want > 0 {
			want = at.Add(step.want)
		}
		if !m.Expires.Equal(want) {
			t.Errorf("with a life of %s sequence %d expires %s, want %s", step.life, m.Sequence, m.Expires, want)
		}
	}
}

// TestRenew_KeepsWhatIsServed: a renewal is signed only where one is due, and what comes of it follows what was there.
func TestRenew_KeepsWhatIsServed(t *testing.T) {
	n := newFakeNode(t)
	if _, err := n.publish(func(c *Config, _ *Request) { c.Life = 48 * time.Hour }); err != nil {
		t.Fatal(err)
	}
	n.manifest, n.moved = n.moved, nil
	later := time.Now().Add(40 * time.Hour)
	p, err := New(Config{
		Node: n.URL, Trust: n.trust, Keys: []channel.PrivateKey{n.key}, Now: func() time.Time { return later },
	})
	if err != nil {
		t.Fatal(err)
	}
	names, err := p.Channels(t.Context(), testApp)
	if err != nil || len(names) != 0 { // this node lists none
		t.Errorf("channels %v: %v", names, err)
	}
	if r, err := p.Renew(t.Context(), testApp, "production", time.Hour, false); err != nil || !r.Skipped || n.moved != nil {
		t.Errorf("with time left: %+v, %v", r, err)
	}
	if r, err := p.Renew(t.Context(), testApp, "production", 24*time.Hour, true); err != nil || r.Skipped || n.moved != nil {
		t.Errorf("dry run: %+v, %v", r, err)
	}
	r, err := p.Renew(t.Context(), testApp, "production", 24*time.Hour, false)
	if err != nil || r.Sequence != 1 || r.Renewal != 1 || r.Skipped {
		t.Fatalf("renewed: %+v, %v", r, err)
	}
	m, err := channel.ParseManifest(n.moved)
	if err != nil || m.Renewal() != 1 || m.Release.Version != "1.0.0" ||
		!m.Expires.Equal(later.Add(48*time.Hour).UTC().Truncate(time.Second)) {
		t.Errorf("the channel moved to renewal %d, which expires %s: %v", m.Renewal(), m.Expires, err)
	}
	n.manifest = nil
	if _, err := p.Renew(t.Context(), testApp, "production", time.Hour, false); err == nil {
		t.Error("what was never published was renewed")
	}
}
