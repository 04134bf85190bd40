package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// TestNode_DecidesByAllThatADeviceTells sends each field of a device by the name it has on the wire.
func TestNode_DecidesByAllThatADeviceTells(t *testing.T) {
	f := start(t)
	f.publish("1.0.0")
	second := f.publish("1.1.0")
	_, err := f.publisher().Change(t.Context(), testApp, "production", false,
		func(m *channel.Manifest) (*channel.Manifest, error) {
			rules := channel.Rules{
				Platforms: []channel.Platform{channel.IOS}, NoEmulators: true, NoDevelopment: true, NotUnderNative: true,
			}
			for _, o := range []channel.Override{
				{Device: m.HashDevice("named"), Version: "1.0.0"}, {Custom: m.HashCustom("till-7"), Version: "1.0.0"},
			} {
				next, err := m.SetOverride(o, time.Now())
				if err != nil {
					return nil, err
				}
				m = next
			}
			return m.SetRules(rules, time.Now())
		})
	if err != nil {
		t.Fatal(err)
	}
	for device, want := range map[string]string{
		`{"platform":"ios","native":"1.0"}`:                                           "update 1.1.0",
		`{"platform":"ios","native":"1.0","bundle":"` + second.Bundle.String() + `"}`: "up_to_date",
		`{"platform":"ios","native":"1.0","version":"9.0.0"}`:                         "none ahead",
		`{"platform":"ios","native":"1.2"}`:                                           "none under_native",
		`{"platform":"web","native":"1.0"}`:                                           "none platform_not_allowed",
		`{"platform":"ios","native":"1.0","emulator":true}`:                           "none emulator_not_allowed",
		`{"platform":"ios","native":"1.0","development":true}`:                        "none development_not_allowed",
		`{"id":"named","version":"1.1.0"}`:                                            "rollback 1.0.0",
		`{"custom":"till-7"}`:                                                         "update 1.0.0",
		`{}`:                                                                          "none platform_not_allowed",
	} {
		request := strings.NewReader(`{"channel":"production","device":` + device + `}`)
		resp, body := f.do("POST", protocol.CheckPath(testApp), request)
		var answer protocol.CheckAnswer
		if err := json.Unmarshal(body, &answer); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", device, resp.Status, err)
		}
		got := string(answer.Decision)
		if answer.Reason != "" {
			got += " " + string(answer.Reason)
		}
		if answer.Release != nil {
			got += " " + answer.Release.Version
		}
		if got != want {
			t.Errorf("%s gets %s, want %s", device, got, want)
		}
	}
}

// TestNode_SendsTheSignatureToDevicesWithSomethingToDo: a device acts on nothing that is not signed, so only one that
// stays as it is can do without the manifest that it has seen.
func TestNode_SendsTheSignatureToDevicesWithSomethingToDo(t *testing.T) {
	f := start(t)
	f.publish("1.0.0")
	reverted, err := f.publisher().Change(t.Context(), testApp, "production", false,
		func(m *channel.Manifest) (*channel.Manifest, error) { return m.Revert(time.Now()) })
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.publisher().Channel(t.Context(), testApp, "production")
	if err != nil || m.Sequence != reverted.Sequence || !m.BuiltIn {
		t.Fatalf("the channel is %+v, %v", m, err)
	}
	for device, want := range map[string]channel.Kind{
		`{"version":"1.0.0"}`: channel.BuiltIn,
		`{"builtIn":true}`:    channel.UpToDate,
		`{"version":"9.0.0"}`: channel.None,
	} {
		seen := m.Statement().String()
		request := strings.NewReader(`{"channel":"production","seen":"` + seen + `","device":` + device + `}`)
		resp, body := f.do("POST", protocol.CheckPath(testApp), request)
		var answer protocol.CheckAnswer
		if err := json.Unmarshal(body, &answer); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", device, resp.Status, err)
		}
		if answer.Decision != want || answer.Release != nil || (answer.Manifest != nil) != (want == channel.BuiltIn) {
			t.Errorf("%s: %s, with %d bytes of manifest", device, body, len(answer.Manifest))
		}
	}
	var app protocol.App
	_, body := f.get(protocol.AppPath(testApp))
	if err := json.Unmarshal(body, &app); err != nil || len(app.Channels) != 1 || !app.Channels[0].Reverted {
		t.Errorf("the app is %s, %v", body, err)
	}
}

// TestNode_TellsWhatAnArchiveIsSentAs: a device asks for parts of what it was told, so it has to be what it gets.
func TestNode_TellsWhatAnArchiveIsSentAs(t *testing.T) {
	f := start(t)
	first, second := f.publish("1.0.0"), f.publish("1.1.0")
	f.settle()
	_, old := f.get(protocol.ArchivePath(first.Bundle))
	name := digest.SumSHA256(old)
	for what, test := range map[string]struct {
		in   protocol.CheckRequest
		want string // encoding
	}{
		"install":                 {protocol.CheckRequest{Parts: true}, "zstd"},
		"update":                  {protocol.CheckRequest{Parts: true, Dictionary: name}, "dcz"},
		"update, too little room": {protocol.CheckRequest{Parts: true, Dictionary: name, Inline: 10}, "dcz"},
		"unknown dictionary":      {protocol.CheckRequest{Parts: true, Dictionary: digest.SumSHA256(nil)}, "zstd"},
		"patch in the answer":     {protocol.CheckRequest{Parts: true, Dictionary: name, Inline: protocol.MaxInline}, ""},
		"not asked":               {protocol.CheckRequest{Dictionary: name}, ""},
		"up to date": {protocol.CheckRequest{
			Parts: true, Device: protocol.Device{Version: "1.1.0", Bundle: second.Bundle},
		}, ""},
	} {
		test.in.Channel = "production"
		request, err := json.Marshal(test.in)
		if err != nil {
			t.Fatal(err)
		}
		resp, raw := f.do(http.MethodPost, protocol.CheckPath(testApp), bytes.NewReader(request))
		var answer protocol.CheckAnswer
		if err := json.Unmarshal(raw, &answer); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", what, resp.Status, err)
		}
		told := answer.Representation
		if (told == nil) != (test.want == "") {
			t.Errorf("%s: the node tells %+v, want %q", what, told, test.want)
		}
		if told == nil {
			continue
		}
		fields := []string{"Accept-Encoding", told.Encoding, "Available-Dictionary", test.in.Dictionary.Field()}
		whole, all := f.get(answer.Archive, fields...)
		if told.Encoding != test.want || whole.Header.Get("Content-Encoding") != told.Encoding || int64(len(all)) != told.Size {
			t.Errorf("%s: the node tells %+v and sends %d bytes of %q", what, told, len(all), whole.Header.Get("Content-Encoding"))
		}
		part, some := f.get(answer.Archive, append(fields, "Range", fmt.Sprintf("bytes=20-%d", told.Size-1))...)
		if part.StatusCode != http.StatusPartialContent || part.Header.Get("ETag") != whole.Header.Get("ETag") ||
			part.Header.Get("Content-Encoding") != told.Encoding || !bytes.Equal(some, all[20:]) {
			t.Errorf("%s: a part is %s, %v, and not the end of the whole", what, part.Status, part.Header)
		}
	}
}
