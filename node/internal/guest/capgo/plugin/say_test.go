package plugin

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"brink/bench/cost"
)

// TestSay_AppendsWhatEncodeWrites: the ways to write an answer differ in time only.
func TestSay_AppendsWhatEncodeWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching(`[ -~]{0,9}`), rapid.String(), rapid.Just("\xff\u2028<&>\"\\\x7f"))
		u := update{
			Version: text.Draw(t, "version"), URL: text.Draw(t, "url"), Checksum: text.Draw(t, "checksum"),
			SessionKey: text.Draw(t, "session"), Link: text.Draw(t, "link"), Comment: text.Draw(t, "comment"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "files") {
			u.Manifest = append(u.Manifest, entry{text.Draw(t, "name"), text.Draw(t, "hash"), text.Draw(t, "download")})
		}
		if diff := cmp.Diff(string(encode(u)), string(u.body())); diff != "" {
			t.Fatalf("-encode +append:\n%s", diff)
		}
		f := decline(text.Draw(t, "error"), text.Draw(t, "message"))
		f.Kind = kind(text.Draw(t, "kind"))
		if diff := cmp.Diff(string(encode(f.flat())), string(f.answer().Body)); diff != "" {
			t.Fatalf("-encode +append:\n%s", diff)
		}
	})
}

// TestScanFields_ReadsWhatThePluginSends: if it did not, every check would be as slow as encoding/json again.
func TestScanFields_ReadsWhatThePluginSends(t *testing.T) {
	const sent = `{"app_id":"com.acme.shop","device_id":"00009a6b-eefe-490a-9c60-8e965132ae51","platform":"android",
		"version_os":"15","plugin_version":"8.51.23","version_build":"3.2.1","version_code":"1","version_name":"1.0.0",
		"custom_id":"","is_prod":true,"is_emulator":false,"defaultChannel":"beta","install_source":"google_play",
		"key_id":"abc","channel":"x","action":"set","old_version_name":"0.9.0"}`
	var want fields
	if err := json.Unmarshal([]byte(sent), &want); err != nil {
		t.Fatal(err)
	}
	got := scanFields(sent)
	if got == nil {
		t.Fatal("it is left to encoding/json")
	}
	if diff := cmp.Diff(want, *got, cmp.AllowUnexported(fields{})); diff != "" {
		t.Errorf("-encoding/json +scan:\n%s", diff)
	}
}

// FuzzScanFields checks that what is read fast is what encoding/json reads.
func FuzzScanFields(f *testing.F) {
	f.Add(`{"app_id":"a","is_prod":true,"is_emulator":false,"timestamp":12,"Manifest":"x"}`)
	f.Add(`{"app_id":"a","APP_ID":"b","custom_id":null,"more":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		var got *fields
		cost.Check(t, len(text), func() { got = scanFields(text) })
		if got == nil {
			return
		}
		var want fields
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatalf("%q is read, and encoding/json says %v", text, err)
		}
		if diff := cmp.Diff(want, *got, cmp.AllowUnexported(fields{})); diff != "" {
			t.Errorf("%q: -encoding/json +scan:\n%s", text, diff)
		}
	})
}
