package node

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"brink/channel"
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
			for _, o := range []channel.Override{{Device: "named", Version: "1.0.0"}, {Custom: "till-7", Version: "1.0.0"}} {
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
