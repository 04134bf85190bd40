package channel

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"brink/digest"
)

// TestRelease_AppendJSONEqualsEncodingJSON: releases are signed and compared byte for byte.
func TestRelease_AppendJSONEqualsEncodingJSON(t *testing.T) {
	type limit Limit           // without the methods
	type attachment Attachment // likewise
	type fields struct {       // the same members as Release, for encoding/json to write alone
		Version     string             `json:"version"`
		Bundle      digest.Digest      `json:"bundle"`
		SHA256      digest.SHA256      `json:"sha256"`
		Size        int64              `json:"size"`
		Index       digest.Digest      `json:"index"`
		IndexSize   int64              `json:"indexSize"`
		Files       int                `json:"files"`
		Created     time.Time          `json:"created"`
		Native      map[Platform]limit `json:"native,omitempty"`
		Mandatory   bool               `json:"mandatory,omitempty"`
		Link        string             `json:"link,omitempty"`
		Comment     string             `json:"comment,omitempty"`
		Attachments []attachment       `json:"attachments,omitempty"`
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]{0,9}`), rapid.Just("a\xff\u2028<b>&\x00\\\""))
		sum := func(name string) (d [digest.Size]byte) {
			copy(d[:], rapid.SliceOfN(rapid.Byte(), digest.Size, digest.Size).Draw(t, name))
			return d
		}
		zone := time.FixedZone("", rapid.IntRange(-12*60, 12*60).Draw(t, "zone")*60)
		r := Release{
			Version: text.Draw(t, "version"), Bundle: sum("bundle"), SHA256: sum("sha256"), Index: sum("index"),
			Size: rapid.Int64().Draw(t, "size"), IndexSize: rapid.Int64().Draw(t, "indexSize"),
			Files: rapid.Int().Draw(t, "files"), Mandatory: rapid.Bool().Draw(t, "mandatory"),
			Link: text.Draw(t, "link"), Comment: text.Draw(t, "comment"),
			// Years that RFC 3339 has no room for are refused.
			Created: time.Unix(rapid.Int64Range(-1<<37, 1<<39).Draw(t, "s"), rapid.Int64Range(0, 1e9).Draw(t, "ns")).In(zone),
		}
		want := fields{
			Version: r.Version, Bundle: r.Bundle, SHA256: r.SHA256, Size: r.Size, Index: r.Index, IndexSize: r.IndexSize,
			Files: r.Files, Created: r.Created, Mandatory: r.Mandatory, Link: r.Link, Comment: r.Comment,
		}
		for range rapid.IntRange(0, 3).Draw(t, "natives") {
			if r.Native == nil {
				r.Native, want.Native = map[Platform]Limit{}, map[Platform]limit{}
			}
			// Two keys that encode alike would leave their order open.
			platform := Platform(rapid.StringMatching(`[ -~]{0,4}`).Draw(t, "platform"))
			l := Limit{Min: text.Draw(t, "min"), Max: text.Draw(t, "max")}
			r.Native[platform], want.Native[platform] = l, limit(l)
		}
		for range rapid.IntRange(0, 3).Draw(t, "attachments") {
			a := Attachment{Kind: text.Draw(t, "kind"), Bundle: sum("attached"), Size: rapid.Int64().Draw(t, "bytes")}
			r.Attachments, want.Attachments = append(r.Attachments, a), append(want.Attachments, attachment(a))
		}
		expected, wrong := json.Marshal(want)
		got, err := r.AppendJSON([]byte("before"))
		if (err == nil) != (wrong == nil) || err == nil && string(got) != "before"+string(expected) {
			t.Fatalf("got  %s, %v\nwant %s, %v", got, err, expected, wrong)
		}
		if raw, err := json.Marshal(r); (err == nil) != (wrong == nil) || string(raw) != string(expected) {
			t.Fatalf("got  %s, %v\nwant %s, %v", raw, err, expected, wrong)
		}
	})
}

func TestRelease_AppendJSONKeepsUnknownMembers(t *testing.T) {
	for _, members := range []string{
		`"later":{"a":1}`, `"native":{"ios":{"later":1}}`, `"attachments":[{"kind":"zip","size":1,"later":[]}]`,
	} {
		var r Release
		if err := json.Unmarshal([]byte(`{"version":"1.0.0",`+members+`}`), &r); err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.AppendJSON(nil)
		var again Release
		if err != nil || string(got) != string(want) || json.Unmarshal(got, &again) != nil || again.isPlain() {
			t.Errorf("%s is written as %s, %v", members, got, err)
		}
	}
}
