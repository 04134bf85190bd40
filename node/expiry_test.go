package node

import (
	"strings"
	"sync"
	"testing"
	"time"

	"brink/channel"
	"brink/publish"
)

// TestNode_TellsWhatEndsSoon: operators hear of manifests and trust documents well before they end, and no longer once
// they are renewed.
func TestNode_TellsWhatEndsSoon(t *testing.T) {
	clock := &movingClock{now: time.Now()}
	f := start(t, func(c *Config) { c.Now = clock.Now })
	f.publish("1.0.0")
	reasons := func() string { return strings.Join(f.health.check().Reasons, "; ") }
	if got := reasons(); got != "" {
		t.Fatalf("a fresh node says %s", got)
	}
	clock.advance(80 * 24 * time.Hour)
	if got := reasons(); !strings.Contains(got, "channel production of "+testApp+" expires on ") {
		t.Errorf("ten days before the end: %q", got)
	}
	if _, body := f.get("/readyz"); !strings.Contains(string(body), "expires on") || !strings.Contains(string(body), "true") {
		t.Errorf("/readyz: %s", body)
	}
	clock.advance(20 * 24 * time.Hour)
	if got := reasons(); !strings.Contains(got, "has expired") {
		t.Errorf("ten days after the end: %q", got)
	}
	p := f.publisher(func(c *publish.Config) { c.Now = clock.Now })
	if r, err := p.Renew(t.Context(), testApp, "production", time.Hour, false); err != nil || r.Renewal != 1 {
		t.Fatalf("renewed: %+v, %v", r, err)
	}
	if got := reasons(); got != "" {
		t.Errorf("after the renewal: %q", got)
	}
	m := f.state.Manifest(testApp, "production")
	if m.Renewal() != 1 || m.Sequence != 1 {
		t.Errorf("in force is sequence %d, renewal %d", m.Sequence, m.Renewal())
	}
	f.restart(func(c *Config) { c.Now = clock.Now })
	if m := f.state.Manifest(testApp, "production"); m == nil || m.Renewal() != 1 {
		t.Error("the renewal is gone after a restart")
	}
}

// TestNode_KeepsAndServesEveryTrustVersion: all roots are replaced twice while a node runs. Whoever has the first
// document comes to the last one by what the node serves, and the node itself starts from the first.
func TestNode_KeepsAndServesEveryTrustVersion(t *testing.T) {
	f := start(t)
	first, err := channel.LoadTrust(f.trust)
	if err != nil {
		t.Fatal(err)
	}
	current, root := first, f.root
	for range 2 {
		next := current.Next()
		fresh := newKey(t)
		next.Issued, next.Expires = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		if current != first {
			next.Expires = time.Time{}
		}
		next.Roots = []channel.PublicKey{fresh.Public()}
		raw, err := channel.NewTrust(next, root, fresh)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.door.ApplyTrust(t.Context(), "acme", raw, nil); err != nil {
			t.Fatal(err)
		}
		current, root = f.state.Trust("acme"), fresh
	}
	walk := func(name string) {
		t.Helper()
		_, newest := f.get("/v1/orgs/acme/trust")
		last, err := first.Advance(newest, func(version uint64) ([]byte, error) {
			resp, raw := f.get("/v1/orgs/acme/trust/" + string(rune('0'+version)))
			if resp.StatusCode != 200 {
				t.Errorf("%s: version %d: %d %s", name, version, resp.StatusCode, raw)
			}
			return raw, nil
		})
		if err != nil || last.Version() != 3 {
			t.Errorf("%s: %v", name, err)
		}
	}
	walk("while it runs")
	f.publish("1.0.0") // by a publisher that has the first document
	f.restart()        // with the first document
	walk("after a restart")
	if resp, body := f.get("/v1/orgs/acme/trust/9"); resp.StatusCode != 404 {
		t.Errorf("a version that is none: %d %s", resp.StatusCode, body)
	}
	if resp, _ := f.get("/v1/orgs/acme/trust/x"); resp.StatusCode != 400 {
		t.Errorf("no version: %d", resp.StatusCode)
	}
}

// movingClock is a clock that a test moves.
type movingClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *movingClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *movingClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// TestNode_ExpiredManifestsStillServeWhatChecksNoSignature: browsers and plugins of other services keep the last
// release; a device that checks is told that nothing is known about now.
func TestNode_ExpiredManifestsStillServeWhatChecksNoSignature(t *testing.T) {
	clock := &movingClock{now: time.Now()}
	f := start(t, func(c *Config) { c.Now, c.Appflow = clock.Now, map[string]string{"abcd1234": testApp} })
	f.publish("1.0.0")
	clock.advance(100 * 24 * time.Hour)
	if resp, body := f.get("/web/" + testApp + "/production/"); resp.StatusCode != 200 || !strings.Contains(string(body), "1.0.0") {
		t.Errorf("a browser: %d %s", resp.StatusCode, body)
	}
	_, body := f.do("POST", "/capgo/updates", strings.NewReader(`{"app_id":"`+testApp+`","device_id":"00000000-0000-4000-8000-000000000000","platform":"android",
		"version_name":"builtin","version_build":"0.9.0","plugin_version":"8.0.0","defaultChannel":"production","is_prod":true}`))
	if !strings.Contains(string(body), `"version":"1.0.0"`) {
		t.Errorf("Capgo's plugin: %s", body)
	}
	_, body = f.do("POST", "/appflow/apps/abcd1234/channels/check-device", strings.NewReader(`{"channel_name":"production",
		"app_id":"abcd1234","plugin_version":"5.5.3","manifest":true,
		"device":{"binary_version":"1.0.0","device_id":"d","platform":"android"}}`))
	if !strings.Contains(string(body), `"available":true`) {
		t.Errorf("Appflow's plugin: %s", body)
	}
	_, body = f.do("POST", "/v1/apps/"+testApp+"/check", strings.NewReader(`{"channel":"production"}`))
	if !strings.Contains(string(body), `"reason":"expired"`) {
		t.Errorf("a device that checks: %s", body)
	}
}
