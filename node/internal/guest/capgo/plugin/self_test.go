package plugin

import (
	"encoding/json"
	"slices"
	"testing"

	"brink/channel"
)

func (e *edge) self(s *Server, method string, changes ...any) reply {
	e.t.Helper()
	r := Request{Method: method, Query: query(changes...)}
	if method == "POST" || method == "PUT" {
		r.Body = body(changes...)
	}
	return read(e.t, s.Channel(r))
}

func TestServer_ChannelListsWhatADeviceMayChoose(t *testing.T) {
	e, s := newEdge(t)
	list := func(changes ...any) (names []string) {
		t.Helper()
		var channels []listed
		raw := e.self(s, "GET", changes...).raw
		if err := json.Unmarshal([]byte(raw), &channels); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		for _, c := range channels {
			name := c.Name
			if c.Public {
				name += "*"
			}
			if c.ID == 0 || !c.AllowSelf {
				t.Errorf("channel %+v", c)
			}
			names = append(names, name)
		}
		return names
	}
	want := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	want("ios", list("platform", "ios"), "beta", "development*", "production")
	want("android", list(), "beta", "production*")
	// The plugin 7.18 tells no more than this.
	want("android", list("device_id", nil, "version_build", nil, "version_name", nil, "plugin_version", nil), "beta", "production*")
	e.rules("beta", channel.Rules{SelfAssign: true, NoEmulators: true, NoDevelopment: true})
	want("emulator", list("is_emulator", true), "production*")
	want("development", list("is_prod", false), "production*")
	want("device", list(), "beta", "production*")
	e.rules("beta", channel.Rules{})
	want("not to be chosen", list(), "production*")
	e.rules("beta", channel.Rules{Private: true})
	want("private", list(), "production*")
	if got := e.self(s, "GET", "app_id", nil); got.status != 400 || got.Error != "missing_app_id" {
		t.Errorf("without an app: %s", got.raw)
	}
	if got := read(t, s.Channel(Request{Method: "GET", Query: func(string) string { return "" }})); got.Error != "invalid_query_parameters" {
		t.Errorf("without anything: %s", got.raw)
	}
	if got := e.self(s, "GET", "is_prod", "maybe"); got.status != 400 || got.Error != "invalid_query_parameters" {
		t.Errorf("with a bool that is none: %s", got.raw)
	}
}

func TestServer_ChannelChosenByANewPluginIsOnlyChecked(t *testing.T) {
	e, s := newEdge(t)
	if got := e.self(s, "POST", "plugin_version", "7.34.0", "channel", "beta"); got.Status != "ok" || !got.AllowSet || got.Unset {
		t.Errorf("beta: %s", got.raw)
	}
	if got := e.self(s, "POST", "plugin_version", "7.34.0", "channel", "production"); got.Status != "ok" || !got.AllowSet {
		t.Errorf("the default, before unset was known: %s", got.raw)
	}
	if got := e.self(s, "POST", "plugin_version", "8.51.23", "channel", "production"); got.Status != "ok" || !got.Unset || got.AllowSet {
		t.Errorf("the default: %s", got.raw)
	}
	if got := e.self(s, "DELETE", "plugin_version", "8.51.23"); got.Status != "ok" {
		t.Errorf("given up: %s", got.raw)
	}
	if len(e.chosen) > 0 {
		t.Errorf("kept: %v", e.chosen)
	}
	e.chosen[testDevice] = "beta" // from when its plugin was old
	if got := e.self(s, "PUT", "plugin_version", "8.51.23"); got.Channel != "production" || got.Status != "default" {
		t.Errorf("what was chosen with an old plugin: %s", got.raw)
	}
	if got := e.self(s, "PUT", "plugin_version", "8.51.23", "defaultChannel", "beta"); got.Channel != "beta" || got.Status != "default" {
		t.Errorf("what the device asks for: %s", got.raw)
	}
	if got := e.self(s, "PUT", "plugin_version", "8.51.23", "defaultChannel", "nope"); got.Error != "channel_not_found" || got.status != 200 {
		t.Errorf("what there is not: %s", got.raw)
	}
}

func TestServer_ChannelChosenByAnOldPluginIsKept(t *testing.T) {
	e, s := newEdge(t)
	if got := e.self(s, "DELETE"); got.Error != "cannot_override" {
		t.Errorf("given up before it was chosen: %s", got.raw)
	}
	if got := e.self(s, "POST", "channel", "beta"); got.Status != "ok" || got.AllowSet {
		t.Errorf("beta: %s", got.raw)
	}
	if got := e.update(s); got.Version != "1.361.0" {
		t.Errorf("then the device gets %s", got.raw)
	}
	if got := e.self(s, "PUT"); got.Channel != "beta" || got.Status != "override" {
		t.Errorf("then it follows %s", got.raw)
	}
	e.rules("beta", channel.Rules{})
	if got := e.update(s); got.Error != "no_new_version_available" {
		t.Errorf("once the channel lets nobody choose it the device gets %s", got.raw)
	}
	e.rules("beta", channel.Rules{SelfAssign: true})
	if got := e.self(s, "POST", "channel", "production"); got.Status != "ok" || len(e.chosen) > 0 {
		t.Errorf("the default: %s, kept %v", got.raw, e.chosen)
	}
	e.self(s, "POST", "channel", "beta")
	if got := e.self(s, "DELETE"); got.Status != "ok" || len(e.chosen) > 0 {
		t.Errorf("given up: %s, kept %v", got.raw, e.chosen)
	}
	e.self(s, "POST", "channel", "beta")
	if got := read(t, s.Channel(Request{Method: "DELETE", Body: body("version_name", "")})); got.Status != "ok" || len(e.chosen) > 0 {
		t.Errorf("given up as the plugin 7.18 does: %s, kept %v", got.raw, e.chosen)
	}
	e.full = true
	if got := e.self(s, "POST", "channel", "beta"); got.Error != "channel_self_server_storage_unavailable" || got.status != 200 {
		t.Errorf("when nothing can be kept: %s", got.raw)
	}
}

func TestServer_ChannelRefusesWhatADeviceMayNotChoose(t *testing.T) {
	e, s := newEdge(t)
	e.publish("private", e.release("3.0.0", map[string]string{"index.html": "p"}))
	e.rules("private", channel.Rules{Private: true})
	e.publish("closed", e.release("3.1.0", map[string]string{"index.html": "c"}))
	e.rules("production", channel.Rules{Default: []channel.Platform{"android"}})
	for name, want := range map[string]string{
		"": "missing_channel", "nope": "channel_not_found", "private": "channel_self_set_not_allowed",
		"closed": "channel_self_set_not_allowed", "production": "public_channel_self_set_not_allowed",
		"development": "channel_self_set_not_allowed",
	} {
		for _, plugin := range []string{"7.0.0", "8.51.23"} {
			if got := e.self(s, "POST", "channel", name, "plugin_version", plugin); got.Error != want || got.status != 200 {
				t.Errorf("%q with %s: %s, want %s", name, plugin, got.raw, want)
			}
		}
	}
	e.serve("private", func(m *channel.Manifest) (*channel.Manifest, error) {
		return m.SetOverride(channel.Override{Device: m.HashDevice(testDevice)}, now)
	})
	if got := e.self(s, "POST", "channel", "beta"); got.Error != "override_not_allowed" {
		t.Errorf("a device that an override names: %s", got.raw)
	}
	if got := e.self(s, "PUT"); got.Channel != "private" || got.Status != "override" {
		t.Errorf("a device that an override names follows %s", got.raw)
	}
	if got := e.update(s); got.Error != "no_bundle" && got.Version != "3.0.0" {
		t.Errorf("a device that an override names gets %s", got.raw)
	}
	if got := e.self(s, "POST", "channel", "beta", "app_id", "com.other.app"); got.status != 429 || got.Error != "on_premise_app" {
		t.Errorf("an app of somebody else: %s", got.raw)
	}
}
