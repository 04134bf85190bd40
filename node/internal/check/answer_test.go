package check

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"brink/bench/cost"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// TestScanCheck_ReadsWhatOurClientSends: if it did not, every check would be as slow as encoding/json again.
func TestScanCheck_ReadsWhatOurClientSends(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[A-Za-z0-9._+-]{0,20}`)
		want := protocol.CheckRequest{
			Channel: text.Draw(t, "channel"),
			Device: protocol.Device{
				ID: text.Draw(t, "id"), Custom: text.Draw(t, "custom"), Platform: channel.Platform(text.Draw(t, "platform")),
				Native: text.Draw(t, "native"), Version: text.Draw(t, "version"),
				BuiltIn: rapid.Bool().Draw(t, "builtIn"), Emulator: rapid.Bool().Draw(t, "emulator"),
				Development: rapid.Bool().Draw(t, "development"),
			},
			Inline: rapid.Int64Range(0, protocol.MaxInline).Draw(t, "inline"),
			Parts:  rapid.Bool().Draw(t, "parts"),
		}
		if rapid.Bool().Draw(t, "names") {
			want.Seen, want.Dictionary = digest.Sum([]byte(want.Channel)), digest.SumSHA256([]byte(want.Channel))
			want.Device.Bundle = digest.Sum([]byte(want.Device.ID))
		}
		raw, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got protocol.CheckRequest
		if !scanCheck(string(raw), &got) || got != want {
			t.Fatalf("%s is read as %+v", raw, got)
		}
	})
}

// FuzzScanCheck checks that what is read fast is what encoding/json reads.
func FuzzScanCheck(f *testing.F) {
	sum := digest.Sum(nil).String()
	f.Add(`{"channel":"production","device":{"id":"a","platform":"ios","native":"1.0","version":"1.0.0","bundle":"` + sum +
		`","builtIn":true,"emulator":false,"development":true},"seen":"` + sum + `","dictionary":"` + sum + `","inline":12,"parts":true}`)
	f.Add(`{"channel":"a","CHANNEL":"b","device":{"builtin":true}}`)
	f.Add(`{"device":{"custom":null},"device":{"id":"x"},"later":[1,2]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var got, want protocol.CheckRequest
		scanned := false
		cost.Check(t, len(text), func() {
			got = protocol.CheckRequest{}
			scanned = scanCheck(text, &got)
		})
		if !scanned {
			return
		}
		if err := json.Unmarshal([]byte(text), &want); err != nil || got != want {
			t.Errorf("%q is read as %+v; encoding/json: %+v, %v", text, got, want, err)
		}
	})
}

func TestAppendCheck_IsWhatEncodingJSONWrites(t *testing.T) {
	id := digest.Sum([]byte("bundle"))
	release := &channel.Release{Version: "1.0.0", Bundle: id, Created: time.Unix(1e9, 5).UTC(), Comment: "<é>"}
	for _, a := range []protocol.CheckAnswer{
		{Decision: channel.UpToDate, Sequence: 1},
		{Decision: channel.None, Reason: channel.ReasonExpired, Sequence: channel.MaxSequence, Manifest: []byte(`{"a":1}`)},
		{
			Decision: channel.Update, Release: release, Archive: protocol.ArchivePath(id), Sequence: 7,
			Representation: &protocol.Representation{Encoding: "dcz", Size: 12}, Patch: []byte("\x00\xff patch"), Trust: 3, Manifest: []byte(`{"a":[1,"b"]}`),
		},
	} {
		want, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		got, err := appendCheck(nil, &a)
		if diff := cmp.Diff(string(want), string(got)); err != nil || diff != "" {
			t.Errorf("%v, -want +got:\n%s", err, diff)
		}
	}
}
