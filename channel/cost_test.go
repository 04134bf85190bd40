package channel

import (
	"bytes"
	"strings"
	"testing"

	"brink/bench/cost"
)

// filled repeats a part of JSON up to a size, between a beginning and an end.
func filled(begin, part, end string, size int) []byte {
	return []byte(begin + strings.Repeat(part, (size-len(begin)-len(end))/len(part)) + end)
}

// TestEnvelope_OfStrangersCostsLittle: whatever the bytes are, they cost a small multiple of their number, before and
// after a signature is found to be missing.
func TestEnvelope_OfStrangersCostsLittle(t *testing.T) {
	org := trust(t, acme(), "root")
	for name, raw := range map[string][]byte{
		"signatures": filled(`{"payloadType":"`+TypeManifest+`","payload":"","signatures":[`, `{},`, `{}]}`, MaxManifest),
		"members":    filled(`{`, `"a":0,`, `"payload":""}`, MaxManifest),
		"arrays":     filled(`{"payload":`, `[`, ``, MaxManifest),
		"payload":    forge(t, TypeManifest, filled(`[`, `{},`, `{}]`, maxPublished/2), "mallory"),
	} {
		var err error
		if used := cost.Of(func() { _, err = org.VerifyManifest(raw, now) }); used > cost.Limit(len(raw)) {
			t.Errorf("%s: %d bytes cost %d", name, len(raw), used)
		}
		if CodeOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTrust_OfStrangersCostsLittle: a trust document is signed by roots that it names itself, so a stranger can have
// one read to its end.
func TestTrust_OfStrangersCostsLittle(t *testing.T) {
	org := trust(t, acme(), "root")
	const size = MaxTrust * 5 / 8
	for name, payload := range map[string][]byte{
		"objects": filled(`{"schema":1,"x":[`, `{},`, `{}]}`, size),
		"nested":  filled(`{"schema":1,"x":`, `{"a":`, ``, size),
		"numbers": filled(`{"schema":1,"x":[`, `0,`, `0]}`, size),
		"roles":   filled(`{"schema":1,"org":"acme","roles":[`, `{},`, `{}]}`, size),
		"epochs":  filled(`{"schema":1,"org":"acme","epochs":[`, `{},`, `{}]}`, size),
		"members": filled(`{"schema":1,`, `"a":0,`, `"b":0}`, size),
	} {
		raw := forge(t, TypeTrust, payload, "mallory")
		var err error
		if used := cost.Of(func() { _, err = org.Advance(raw, nil) }); used > cost.Limit(len(raw)) {
			t.Errorf("%s: %d bytes cost %d", name, len(raw), used)
		}
		if CodeOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTrust_MayHaveManyRoles: what is bounded is far beyond what an org needs.
func TestTrust_MayHaveManyRoles(t *testing.T) {
	c := acme()
	for i := range 500 {
		role := c.Roles[0].clone()
		role.Name = "role-" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26)
		c.Roles = append(c.Roles, role)
	}
	for range MaxEpochs {
		c.Epochs = append(c.Epochs, Epoch{Apps: []Pattern{"*"}, Channels: []Pattern{"*"}, Epoch: 1})
	}
	if _, err := LoadTrust(signTrust(t, c, "root")); err != nil {
		t.Fatal(err)
	}
	if bytes.Count(payload(t, signTrust(t, c, "root")), []byte(",")) > maxElements/2 {
		t.Error("it is near the bound")
	}
}
