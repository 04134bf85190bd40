package channel

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"brink/digest"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// now is the time of every test.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// key returns the same key for the same name.
func key(name string) PrivateKey {
	seed := digest.SumSHA256([]byte(name))
	k, err := NewKey(bytes.NewReader(seed[:]))
	if err != nil {
		panic(err)
	}
	return k
}

func public(names ...string) (keys []PublicKey) {
	for _, name := range names {
		keys = append(keys, key(name).Public())
	}
	return keys
}

func ids(names ...string) (ids []string) {
	for _, k := range public(names...) {
		ids = append(ids, k.ID())
	}
	return ids
}

// must returns v, or stops the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// acme is an org with one role for everything it owns on beta channels, one that needs two people for production, and
// one for another app.
func acme() TrustConfig {
	return TrustConfig{
		Org:    "acme",
		Issued: now,
		Roots:  public("root"),
		Keys:   public("ci", "ann", "bob", "bank", "idle"),
		Roles: []Role{
			{Name: "ci", Keys: ids("ci"), Apps: []Pattern{"com.acme.*"}, Channels: []Pattern{"beta-*", "nightly"}},
			{
				Name: "release", Keys: ids("ann", "bob"), Threshold: 2,
				Apps: []Pattern{"com.acme.shop"}, Channels: []Pattern{"*"},
			},
			{Name: "bank", Keys: ids("bank"), Apps: []Pattern{"com.bank"}, Channels: []Pattern{"*"}},
		},
		Quota: 1 << 30,
	}
}

func trust(t testing.TB, c TrustConfig, roots ...string) *Trust {
	t.Helper()
	return must(ParseTrust(signTrust(t, c, roots...), now))(t)
}

func signTrust(t testing.TB, c TrustConfig, roots ...string) []byte {
	t.Helper()
	var keys []PrivateKey
	for _, name := range roots {
		keys = append(keys, key(name))
	}
	return must(NewTrust(c, keys...))(t)
}

// release returns a release whose bundle is a function of its version.
func release(version string) Release {
	return Release{
		Version: version, Bundle: digest.Sum([]byte(version)), SHA256: digest.SumSHA256([]byte(version)),
		Size: 1000, Index: digest.Sum([]byte("index of " + version)), IndexSize: 100, Files: 3, Created: now,
	}
}

// shop returns the manifest of a channel of com.acme.shop after it published the versions in turn.
func shop(t testing.TB, channel string, versions ...string) *Manifest {
	t.Helper()
	m := NewManifest("acme", "com.acme.shop", channel)
	for _, v := range versions {
		m = must(m.Publish(release(v), now))(t)
	}
	return m
}

// signed returns m as it is after it was signed and read again.
func signed(t testing.TB, m *Manifest) *Manifest {
	t.Helper()
	return must(ParseManifest(sign(t, m, "ann", "bob")))(t)
}

func sign(t testing.TB, m *Manifest, names ...string) []byte {
	t.Helper()
	var keys []PrivateKey
	for _, name := range names {
		keys = append(keys, key(name))
	}
	return must(SignManifest(m, keys...))(t)
}

func intent() *Intent {
	return &Intent{
		Org: "acme", App: "com.acme.shop", Version: "1.5.0", Bundle: digest.Sum([]byte("b")),
		Index: digest.Sum([]byte("i")), Size: 1000, IndexSize: 100, Files: 3, Issued: now, Expires: now.Add(time.Hour),
	}
}

// forge signs any payload at all, as a publisher with another tool could.
func forge(t testing.TB, payloadType string, payload []byte, names ...string) []byte {
	t.Helper()
	e := dsse.Envelope{PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(payload)}
	for _, name := range names {
		sig := must(key(name).sign(dsse.PAE(payloadType, payload)))(t)
		e.Signatures = append(e.Signatures, dsse.Signature{
			KeyID: key(name).Public().ID(), Sig: base64.StdEncoding.EncodeToString(sig),
		})
	}
	return must(json.Marshal(e))(t)
}

// payload returns the JSON that the envelope holds.
func payload(t testing.TB, raw []byte) []byte {
	t.Helper()
	var e dsse.Envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	return must(e.DecodeB64Payload())(t)
}

// edit returns the JSON object with some members replaced; a nil value removes the member.
func edit(t testing.TB, object []byte, members map[string]any) []byte {
	t.Helper()
	var all map[string]any
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.UseNumber()
	if err := dec.Decode(&all); err != nil {
		t.Fatal(err)
	}
	for name, value := range members {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	return must(json.Marshal(all))(t)
}

func wantCode(t testing.TB, err error, want Code) {
	t.Helper()
	if got := CodeOf(err); got != want {
		t.Errorf("got code %q (%v), want %q", got, err, want)
	}
}

func versions(m *Manifest) string {
	text := m.Release.Version
	for _, r := range m.History {
		text += " " + r.Version
	}
	if m.Rollback {
		text += " rollback"
	}
	if m.Withdrawn != "" {
		text += fmt.Sprintf(" (withdrawn %s)", m.Withdrawn)
	}
	return text
}

// object reads JSON for comparison; numbers keep every digit.
func object(t testing.TB, raw []byte) (v any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// production is the channel of com.acme.shop that overrides of tests are for.
var production = NewManifest("acme", "com.acme.shop", "production")

func containsAny(text string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
}
