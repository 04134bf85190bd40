package node

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/internal/force"
	"brink/origin"
	"brink/protocol"
	"brink/publish"
	"brink/store"
)

// other is a second org on the node of a fixture.
type other struct {
	*fixture

	key   channel.PrivateKey
	trust []byte
}

const otherApp = "org.umbrella.lab"

// withOther runs a node on which two orgs publish.
func withOther(t *testing.T, change ...func(*Config)) (*fixture, *other) {
	t.Helper()
	root, key := newKey(t), newKey(t)
	raw, err := channel.NewTrust(channel.TrustConfig{
		Org:    "umbrella",
		Issued: time.Now(),
		Roots:  []channel.PublicKey{root.Public()},
		Keys:   []channel.PublicKey{key.Public()},
		Roles: []channel.Role{{
			Name: "publisher", Keys: []string{key.Public().ID()},
			Apps: []channel.Pattern{"org.umbrella.*"}, Channels: []channel.Pattern{"*"},
		}},
	}, root)
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, append(change, func(c *Config) { c.Trust = append(c.Trust, raw) })...)
	return f, &other{fixture: f, key: key, trust: raw}
}

// manifestOf returns a signed manifest of the releases, the first of which is served.
func manifestOf(
	t *testing.T, key channel.PrivateKey, org, app string, sequence uint64, releases ...channel.Release,
) []byte {
	t.Helper()
	m := channel.NewManifest(org, app, "production")
	m.Sequence, m.Issued, m.Release, m.History = sequence, time.Now().UTC(), releases[0], releases[1:]
	raw, err := channel.SignManifest(m, key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// put puts a manifest in the place of the one in force.
func (f *fixture) put(app string, raw []byte) (*http.Response, []byte) {
	f.t.Helper()
	fields := []string{"If-None-Match", "*"}
	if m, _ := f.state.Current(app, "production"); m != nil {
		fields = []string{"If-Match", `"` + m.Digest().String() + `"`}
	}
	return f.do(http.MethodPut, protocol.ChannelPath(app, "production"), bytes.NewReader(raw), fields...)
}

// upload brings in a bundle that no channel names, and returns the release that it would be.
func (f *fixture) upload(version string, files map[string]string) channel.Release {
	f.t.Helper()
	dir := folder(f.t, files)
	ix, offer := f.offerOf(dir, f.key, nil)
	demand := f.open(offer)
	resp, raw := f.do(http.MethodPut, demand.Upload, bytes.NewReader(stream(f.t, dir, ix, demand.Missing, nil)))
	if resp.StatusCode != http.StatusOK {
		f.t.Fatalf("upload: %d %s", resp.StatusCode, raw)
	}
	info := infoOf(ix)
	return channel.Release{
		Version: version, Bundle: info.ID, SHA256: info.SHA256, Size: info.Size, Index: info.Index,
		IndexSize: info.IndexSize, Files: info.Files, Created: time.Now().UTC(),
	}
}

// infoOf is what a store says of a bundle of this index.
func infoOf(ix *bundle.Index) *store.BundleInfo {
	raw := ix.Encode()
	return &store.BundleInfo{
		ID: ix.Bundle(), SHA256: ix.Archive.SHA256, Size: ix.Archive.Size, Files: len(ix.Files),
		Index: digest.Sum(raw), IndexSize: int64(len(raw)),
	}
}

// enter brings a manifest into force as the origin would.
func (f *fixture) enter(raw []byte) error {
	_, err := f.door.Apply(f.t.Context(), raw, testApp, "production", force.Source{Kind: force.Mirrored})
	return err
}

// wrongly are the ways in which a manifest can describe a bundle wrongly.
func wrongly() map[string]func(*channel.Release) {
	return map[string]func(*channel.Release){
		"sha256":     func(r *channel.Release) { r.SHA256[0] ^= 1 },
		"size":       func(r *channel.Release) { r.Size-- },
		"index":      func(r *channel.Release) { r.Index[0] ^= 1 },
		"index size": func(r *channel.Release) { r.IndexSize++ },
		"files":      func(r *channel.Release) { r.Files++ },
		"attachment": func(r *channel.Release) {
			r.Attachments = []channel.Attachment{{Kind: "zip", Bundle: r.Bundle, Size: 1}}
		},
	}
}

func TestNode_RefusesManifestsThatDescribeBundlesWrongly(t *testing.T) {
	f := start(t)
	right := f.upload("1.1.0", www("1.1.0"))
	older := f.upload("1.0.0", www("1.0.0"))
	for what, spoil := range wrongly() {
		wrong, wrongOlder := right, older
		spoil(&wrong)
		spoil(&wrongOlder)
		for where, raw := range map[string][]byte{
			"release": manifestOf(t, f.key, "acme", testApp, 1, wrong, older),
			"history": manifestOf(t, f.key, "acme", testApp, 1, right, wrongOlder),
		} {
			resp, body := f.put(testApp, raw)
			t.Log(what, where)
			wantProblem(t, resp, body, 400, protocol.CodeMalformed)
			if err := f.enter(raw); channel.CodeOf(err) != channel.CodeMalformed {
				t.Errorf("%s of the %s is followed: %v", what, where, err)
			}
		}
	}
	if resp, body := f.put(testApp, manifestOf(t, f.key, "acme", testApp, 1, right, older)); resp.StatusCode != 200 {
		t.Errorf("the right one is refused: %d %s", resp.StatusCode, body)
	}
	// A store may hold what was accepted by an earlier version.
	wrong := right
	wrong.Files++
	raw := manifestOf(t, f.key, "acme", testApp, 2, wrong)
	m, err := channel.ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.store.PutManifest(t.Context(), raw, m, f.state.Manifest(testApp, "production").Digest()); err != nil {
		t.Fatal(err)
	}
	if err := f.door.Reapply(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if m, lapsed := f.state.Current(testApp, "production"); m == nil || !lapsed {
		t.Errorf("after a change of trust it is in force: %+v", m)
	}
	f.restart()
	if m, lapsed := f.state.Current(testApp, "production"); m == nil || !lapsed {
		t.Errorf("after a restart it is in force: %+v", m)
	}
}

func TestNode_OrgsDoNotTouchEachOther(t *testing.T) {
	f, umbrella := withOther(t)
	f.publish("1.0.0")
	f.publish("1.1.0")
	f.settle()
	acme := f.state.Manifest(testApp, "production")
	old, next := acme.History[0], acme.Release
	_, archive := f.get(protocol.ArchivePath(old.Bundle))
	patched := func() string {
		resp, _ := f.get(protocol.ArchivePath(next.Bundle), "Accept-Encoding", "zstd, dcz",
			"Available-Dictionary", digest.SumSHA256(archive).Field())
		return resp.Header.Get("Content-Encoding")
	}
	if got := patched(); got != "dcz" {
		t.Fatalf("before, a device of acme gets %q", got)
	}
	p, err := publish.New(publish.Config{Node: f.URL(), Trust: umbrella.trust, Keys: []channel.PrivateKey{umbrella.key}, HTTP: f.http})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(t.Context(), publish.Request{
		Dir: folder(t, map[string]string{"x": "y"}), App: otherApp, Version: "1.0.0", Channel: "production",
	}); err != nil {
		t.Fatal(err)
	}
	own := f.state.Manifest(otherApp, "production").Release
	// A bundle that is not here can be described in any way. This one takes the name of acme's archive as a dictionary.
	absent := own
	absent.Version, absent.Bundle, absent.SHA256 = "0.9.0", digest.Digest{1}, old.SHA256
	raw := manifestOf(t, umbrella.key, "umbrella", otherApp, 2, own, absent)
	if resp, body := f.put(otherApp, raw); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if got := patched(); got != "dcz" {
		t.Errorf("after another org took the name of its dictionary, a device of acme gets %q", got)
	}
	if _, size, known := f.state.Base(next.Bundle, old.SHA256); !known || size != old.Size {
		t.Errorf("the base of acme's patch is another one of %d bytes", size)
	}
	// Once acme's bundles are lost here, another org can describe them in any way, too.
	info, _ := f.store.Info(next.Bundle)
	wrong := next
	wrong.Version, wrong.Index = "0.8.0", digest.Digest{2}
	foreign := channel.NewManifest("umbrella", otherApp, "production")
	foreign.Release = wrong
	defer f.state.Expect(foreign)()
	if !slices.ContainsFunc(f.state.Indexes(next.Bundle), func(s origin.Signed) bool { return s.Index == info.Index }) {
		t.Error("acme's index is refused because another org names another one")
	}
	if list := f.state.Serving(next.Bundle); len(list) != 1 || list[0].App != testApp {
		t.Errorf("acme's bundle is served by %v", list)
	}
}

func TestNode_QuotaCountsWhatIsStored(t *testing.T) {
	const quota = 2 << 20
	clock := &movingClock{now: time.Now()}
	f := start(t, func(c *Config) { c.Uploads, c.Now = 100, clock.Now })
	stored := func() (sum int64) {
		for info := range f.store.Bundles() {
			sum += info.Size
		}
		return sum
	}
	f.succeedWith(func(next *channel.TrustConfig) { next.Quota = quota })
	offer := func(seed byte) (*http.Response, []byte) {
		_, offer := f.offerOf(folder(t, map[string]string{"x": string(noise(seed, 600<<10))}), f.key, nil)
		return f.do(http.MethodPost, protocol.BundlesPath(testApp), bytes.NewReader(offer))
	}
	// What is only offered counts, before anything has come in.
	refused := 0
	for i := range 10 {
		if resp, body := offer(byte(i)); resp.StatusCode == http.StatusInsufficientStorage {
			refused++
		} else if resp.StatusCode != 200 {
			t.Fatalf("offer: %d %s", resp.StatusCode, body)
		}
	}
	if refused != 7 {
		t.Errorf("%d of 10 offers of 600 KiB are refused, want 7 with a quota of 2 MiB", refused)
	}
	clock.advance(11 * time.Minute) // longer than a reservation lasts
	// So does what came in and no channel names.
	for i := range byte(3) {
		f.upload("1.0.0", map[string]string{"x": string(noise(i, 600<<10))})
	}
	clock.advance(11 * time.Minute) // longer than a reservation lasts
	resp, body := offer(9)
	wantProblem(t, resp, body, http.StatusInsufficientStorage, protocol.CodeQuota)
	if got := stored(); got > quota {
		t.Errorf("%d bytes are stored, with a quota of %d", got, quota)
	}
}

// succeedWith replaces the trust document of the fixture's org.
func (f *fixture) succeedWith(change func(*channel.TrustConfig)) {
	f.t.Helper()
	next := f.state.Trust("acme").Next()
	next.Issued = time.Now()
	change(&next)
	raw, err := channel.NewTrust(next, f.root)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.door.ApplyTrust(f.t.Context(), "acme", raw, nil); err != nil {
		f.t.Fatal(err)
	}
}

func TestNode_UnnamedUploadsGiveWayToTheirOrg(t *testing.T) {
	var passed atomic.Int64
	f := start(t, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(passed.Load())) } })
	f.succeedWith(func(next *channel.TrustConfig) { next.Quota = 2 << 20 })
	first := f.upload("1.0.0", map[string]string{"x": string(noise(1, 1200<<10))})
	trust := f.state.Trust("acme")
	if err := f.accounts.Admit(f.t.Context(), trust, digest.Digest{1}, 1200<<10, false); protocol.CodeOf(err) != protocol.CodeQuota {
		t.Errorf("a second one beside it: %v", err)
	}
	passed.Add(int64(time.Hour + time.Minute))
	if err := f.accounts.Admit(f.t.Context(), trust, digest.Digest{1}, 3<<20, false); protocol.CodeOf(err) != protocol.CodeQuota {
		t.Errorf("one that is larger than the quota: %v", err)
	}
	if _, here := f.store.Info(first.Bundle); !here {
		t.Error("a bundle gave way to one that has no room")
	}
	if err := f.accounts.Admit(f.t.Context(), trust, digest.Digest{1}, 1200<<10, false); err != nil {
		t.Errorf("what nobody named for an hour stands in the way: %v", err)
	}
	if _, err := f.store.Bundle(first.Bundle); err == nil {
		t.Error("it is still there")
	}
	// What a channel names stays, and naming it again costs nothing.
	named := f.publish("1.0.0")
	passed.Add(int64(time.Hour + time.Minute))
	if err := f.accounts.Admit(f.t.Context(), trust, digest.Digest{1}, 1900<<10, false); protocol.CodeOf(err) != protocol.CodeQuota {
		t.Errorf("beside what a channel names: %v", err)
	}
	if _, here := f.store.Info(named.Bundle); !here {
		t.Error("what a channel names was dropped")
	}
	f.succeedWith(func(next *channel.TrustConfig) { next.Quota = 1 })
	if _, err := f.publisher().Promote(context.Background(), testApp, "production", "beta", false); err != nil {
		t.Errorf("a promotion is refused for a quota: %v", err)
	}
}
