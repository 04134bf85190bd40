package plugin

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"brink/channel"
	"brink/digest"
	"brink/protocol/capgo"
)

func (e *edge) update(s *Server, changes ...any) reply {
	e.t.Helper()
	return read(e.t, s.Updates(Request{Method: "POST", Body: body(changes...), Base: testBase}))
}

// The rows are those of Capgo's own tests, as far as the two decide alike.
func TestServer_UpdatesSaysWhatCapgoSays(t *testing.T) {
	for _, row := range []struct {
		name    string
		rules   *channel.Rules // of production
		changes []any
		want    reply
	}{
		{name: "runs it", want: reply{Error: "no_new_version_available", Kind: "up_to_date"}},
		{name: "runs less", changes: []any{"version_name", "0.9.0"}, want: reply{Version: "1.0.0"}},
		{name: "store build", changes: []any{"version_name", "builtin"}, want: reply{Error: "no_new_version_available", Kind: "up_to_date"}},
		{name: "store build below", changes: []any{"version_name", "builtin", "version_build", "0.9"}, want: reply{Version: "1.0.0"}},
		{name: "store build of a new plugin", changes: []any{"version_name", "0.9", "version_build", "0.9", "plugin_version", "8.51.23"}, want: reply{Version: "1.0.0"}},
		{name: "asks for beta", changes: []any{"defaultChannel", "beta"}, want: reply{Version: "1.361.0"}},
		{name: "asks for what is not there", changes: []any{"defaultChannel", "nope"}, want: reply{Error: "no_channel", Kind: "failed"}},
		{name: "asks for what is for others", changes: []any{"defaultChannel", "development"}, want: reply{Error: "no_channel", Kind: "failed"}},
		{name: "of ios", changes: []any{"platform", "ios"}, want: reply{Version: "1.359.0"}},
		{name: "ahead", changes: []any{"version_name", "1.1.0"}, want: reply{Error: "no_new_version_available", Kind: "up_to_date"}},
		{
			name: "major", rules: &channel.Rules{MaxStep: channel.StepMinor}, changes: []any{"version_build", "0.1.0", "version_name", "0.1.0"},
			want: reply{Error: "disable_auto_update_to_major", Kind: "blocked", Major: true, Version: "1.0.0", Old: "0.1.0"},
		},
		{
			name: "minor", rules: &channel.Rules{MaxStep: channel.StepPatch}, changes: []any{"version_build", "0.1.0", "version_name", "0.1.0"},
			want: reply{Error: "disable_auto_update_to_minor", Kind: "blocked", Major: true, Version: "1.0.0", Old: "0.1.0"},
		},
		{
			name: "patch", rules: &channel.Rules{MaxStep: channel.StepNone}, changes: []any{"version_name", "0.9.9"},
			want: reply{Error: "disable_auto_update_to_patch", Kind: "blocked", Major: true, Version: "1.0.0", Old: "1.0.0"},
		},
		{
			name: "metadata", rules: &channel.Rules{MaxStep: channel.StepNumber, MinNative: "2.0.0"}, changes: []any{"version_name", "0.9.9"},
			want: reply{Error: "disable_auto_update_to_metadata", Kind: "blocked", Major: true, Version: "1.0.0", Old: "1.0.0"},
		},
		{
			name: "metadata of nothing", rules: &channel.Rules{MaxStep: channel.StepNumber}, changes: []any{"version_name", "0.9.9"},
			want: reply{Error: "misconfigured_channel", Kind: "failed", Version: "1.0.0", Old: "1.0.0"},
		},
		{
			name: "under native", rules: &channel.Rules{NotUnderNative: true}, changes: []any{"version_build", "2.0.0", "version_name", "0.9.9"},
			want: reply{Error: "disable_auto_update_under_native", Kind: "blocked", Version: "1.0.0", Old: "0.9.9"},
		},
		{
			name: "emulator", rules: &channel.Rules{NoEmulators: true}, changes: []any{"is_emulator", true, "version_name", "0.9.0"},
			want: reply{Error: "disable_emulator", Kind: "blocked"},
		},
		{
			name: "device", rules: &channel.Rules{NoDevices: true}, changes: []any{"version_name", "0.9.0"},
			want: reply{Error: "disable_device", Kind: "blocked"},
		},
		{
			name: "production", rules: &channel.Rules{NoProduction: true}, changes: []any{"version_name", "0.9.0"},
			want: reply{Error: "disable_prod_build", Kind: "blocked"},
		},
		{
			name: "development", rules: &channel.Rules{NoDevelopment: true}, changes: []any{"is_prod", false, "version_name", "0.9.0"},
			want: reply{Error: "disable_dev_build", Kind: "blocked"},
		},
		{name: "plugin 4", changes: []any{"plugin_version", "4.61.11", "version_name", "0.9.0"}, want: reply{Error: "unsupported_plugin_version", Kind: "failed"}},
		{name: "no app", changes: []any{"app_id", "com.other.app"}, want: reply{status: 429, Error: "on_premise_app"}},
		{name: "no channels", changes: []any{"app_id", "com.acme.empty"}, want: reply{Error: "no_channel", Kind: "failed"}},
		{name: "no device", changes: []any{"device_id", nil, "app_id", nil}, want: reply{status: 400, Error: "missing_device_id"}},
		{name: "no app id", changes: []any{"app_id", nil}, want: reply{status: 400, Error: "missing_app_id"}},
		{name: "null", changes: []any{"app_id", json.RawMessage("null")}, want: reply{status: 400, Error: "missing_app_id"}},
		{name: "no UUID", changes: []any{"device_id", "1234"}, want: reply{status: 400, Error: "invalid_json_body"}},
		{name: "build", changes: []any{"version_build", "invalid"}, want: reply{status: 400, Error: "semver_error"}},
		{name: "no name", changes: []any{"version_name", ""}, want: reply{status: 400, Error: "invalid_json_body"}},
		{name: "platform", changes: []any{"platform", "symbian"}, want: reply{status: 400, Error: "invalid_json_body"}},
		{name: "type", changes: []any{"is_prod", "yes"}, want: reply{status: 400, Error: "invalid_json_body"}},
		{name: "plugin", changes: []any{"plugin_version", "seven"}, want: reply{status: 400, Error: "invalid_json_body"}},
		{name: "what is not known", changes: []any{"version_name", "0.9.0", "future", map[string]int{"a": 1}}, want: reply{Version: "1.0.0"}},
		{name: "upper case", changes: []any{"version_name", "0.9.0", "device_id", strings.ToUpper(testDevice)}, want: reply{Version: "1.0.0"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			e, s := newEdge(t)
			if row.rules != nil {
				row.rules.Default = []channel.Platform{"android"}
				e.rules("production", *row.rules)
			}
			got := e.update(s, row.changes...)
			if row.want.status == 0 {
				row.want.status = 200
			}
			if got.status != row.want.status || got.Error != row.want.Error || got.Kind != row.want.Kind ||
				got.Version != row.want.Version || got.Major != row.want.Major || got.Old != row.want.Old {
				t.Errorf("the answer is %d %s, want %+v", got.status, got.raw, row.want)
			}
			if got.Error == "" && strings.ContainsAny(got.raw, "\x00") || strings.Contains(got.raw, "null") {
				t.Errorf("null in %s", got.raw)
			}
			if row.want.status == 400 && got.MoreInfo == nil {
				t.Errorf("no moreInfo in %s", got.raw)
			}
		})
	}
}

func TestServer_UpdatesTakesNothingButOneObject(t *testing.T) {
	_, s := newEdge(t)
	for text, want := range map[string]string{
		"":                       "invalid_json_parse_body",
		"{":                      "invalid_json_parse_body",
		"{}":                     "invalid_json_body",
		"[]":                     "invalid_json_body",
		`"text"`:                 "invalid_json_body",
		`{"platform":"android"}`: "missing_device_id",
		`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}": "invalid_json_parse_body",
	} {
		if got := read(t, s.Updates(Request{Body: []byte(text)})); got.status != 400 || got.Error != want {
			t.Errorf("%.40q is answered %d %s, want %s", text, got.status, got.raw, want)
		}
	}
}

func TestServer_UpdatesGivesEveryPluginWhatItTakes(t *testing.T) {
	e, s := newEdge(t)
	files := map[string]string{"index.html": "<html>", "js/a b.js": strings.Repeat("a", 9000), "logo.png": strings.Repeat("b", 9000)}
	e.brotli["js/a b.js"], e.brotli["logo.png"] = 100, 0
	r := e.release("1.5.0", files, e.zip())
	r.Link, r.Comment = "https://example.com/1.5.0", "better"
	e.publish("production", r)
	zip := digest.SumSHA256([]byte("PK")).String()
	for plugin, want := range map[string]struct{ files, text bool }{
		"8.51.23": {true, true}, "8.0.0": {true, false}, "7.51.21": {true, true}, "7.18.15": {true, false},
		"7.18.14": {}, "7.9.2": {}, "7.9.1": {true, false}, "7.0.35": {true, false}, "7.0.34": {}, "6.25.0": {true, false},
		"6.24.9": {}, "5.10.0": {true, false}, "5.9.9": {}, "0.0.1": {}, "9.0.0": {}, "10.0.0": {}, "9.1.0": {true, true},
	} {
		got := e.update(s, "plugin_version", plugin, "version_name", "1.4.0")
		if got.Version != "1.5.0" || got.Checksum != zip || !strings.HasSuffix(got.URL, "/bundle.zip") ||
			!strings.HasPrefix(got.URL, testBase+"/files/") {
			t.Errorf("%s gets %s", plugin, got.raw)
		}
		if (len(got.Manifest) == 3) != want.files || (got.Link != "") != want.text {
			t.Errorf("%s gets %d files and the link %q", plugin, len(got.Manifest), got.Link)
		}
		if !want.files && strings.Contains(got.raw, "manifest") {
			t.Errorf("%s is told of a manifest that it has none of: %s", plugin, got.raw)
		}
		if !want.files {
			continue
		}
		at := testBase + "/files/" + r.Bundle.String()
		for i, name := range []string{"index.html", "js/a b.js.br", "logo.png"} {
			f := got.Manifest[i]
			plain := strings.TrimSuffix(name, ".br")
			if f.Name != name || f.Hash != digest.SumSHA256([]byte(files[plain])).String() ||
				f.URL != at+"/"+strings.ReplaceAll(name, " ", "%20") {
				t.Errorf("%s is told of %+v, want %s", plugin, f, name)
			}
		}
	}
	if got := e.update(s, "platform", "ios", "defaultChannel", "production", "plugin_version", "7.10.0", "version_name", "1.4.0"); len(got.Manifest) != 3 {
		t.Errorf("the MD5 of android is no matter for ios: %s", got.raw)
	}
}

func TestServer_UpdatesWithoutAZip(t *testing.T) {
	e, s := newEdge(t)
	e.publish("production", e.release("1.5.0", map[string]string{"index.html": "<html>"}))
	got := e.update(s, "plugin_version", "8.51.23", "version_name", "1.4.0")
	if got.Version != "1.5.0" || got.URL != testBase+noZip || len(got.Manifest) != 1 || strings.Contains(got.raw, "checksum") {
		t.Errorf("who takes files gets %s", got.raw)
	}
	if got = e.update(s, "plugin_version", "7.18.14", "version_name", "1.4.0"); got.Error != "no_bundle" || got.Kind != "failed" || got.status != 200 {
		t.Errorf("who takes no files gets %s", got.raw)
	}
	// The end of this name would be cut off on the device.
	e.publish("production", e.release("1.6.0", map[string]string{"index.html": "<html>", "a.js.br": "x"}))
	if got = e.update(s, "plugin_version", "8.51.23", "version_name", "1.4.0"); got.Error != "no_bundle" {
		t.Errorf("a file that the plugin would take for brotli: %s", got.raw)
	}
}

func TestServer_UpdatesSendsToTheBuiltIn(t *testing.T) {
	e, s := newEdge(t)
	e.publish("production", e.release("1.5.0", map[string]string{"index.html": "<html>"}))
	e.serve("production", func(m *channel.Manifest) (*channel.Manifest, error) { return m.Revert(now) })
	for _, row := range []struct{ plugin, name, want string }{
		{"8.51.23", "1.5.0", `{"version":"builtin"}`},
		{"6.2.0", "1.5.0", `{"version":"builtin"}`},
		{"6.1.9", "1.5.0", "revert_to_builtin_plugin_version_too_old"},
		{"5.50.2", "1.5.0", `{"version":"builtin"}`},
		{"7.36.1", "builtin", "already_on_builtin"},
		{"8.51.23", "1.0.0", "already_on_builtin"},
	} {
		got := e.update(s, "plugin_version", row.plugin, "version_name", row.name)
		if row.want[0] == '{' && strings.TrimSpace(got.raw) != row.want || row.want[0] != '{' && got.Error != row.want {
			t.Errorf("%s on %s gets %s", row.plugin, row.name, got.raw)
		}
		if got.Error == "already_on_builtin" && (got.Kind != "up_to_date" || got.Version != "") {
			t.Errorf("%s on %s gets %s", row.plugin, row.name, got.raw)
		}
	}
}

func TestServer_UpdatesGoesDownWhereThatIsSigned(t *testing.T) {
	e, s := newEdge(t)
	e.publish("production", e.release("1.5.0", map[string]string{"index.html": "five"}, e.zip()))
	e.serve("production", func(m *channel.Manifest) (*channel.Manifest, error) { return m.RollBack("1.0.0", now) })
	if got := e.update(s, "version_name", "1.5.0"); got.Version != "1.0.0" || got.URL == "" {
		t.Errorf("who runs what was taken back gets %s", got.raw)
	}
	if got := e.update(s, "version_name", "1.6.0"); got.Error != "no_new_version_available" {
		t.Errorf("who runs something else gets %s", got.raw)
	}
}

func TestServer_UpdatesOfWhatIsEncrypted(t *testing.T) {
	e, s := newEdge(t)
	sealed := strings.Repeat("ab", 256)
	session := base64.StdEncoding.EncodeToString(make([]byte, 16)) + ":" + base64.StdEncoding.EncodeToString(make([]byte, 256))
	c := capgo.Description{
		Checksum: sealed, SessionKey: session, KeyID: "MIIBCgKCAQEAabcdefgh", Form: capgo.Hex,
		Files: []capgo.File{{FileName: "index.html.br", FileHash: sealed, Path: "files/0", Size: 16}},
	}
	raw, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	block := strings.Repeat("x", 16)
	r := e.release("1.5.0", map[string]string{"index.html": "<html>"},
		e.attach("capgo", map[string]string{"capgo.json": string(raw), "bundle.zip": block, "files/0": block}))
	e.publish("production", r)
	got := e.update(s, "plugin_version", "8.51.23", "version_name", "1.4.0", "key_id", "MIIBCgKCAQEAabcdefgh")
	if got.Checksum != sealed || got.SessionKey != session || len(got.Manifest) != 1 || got.Manifest[0].Hash != sealed ||
		got.Manifest[0].URL != testBase+"/files/"+r.Attachments[0].Bundle.String()+"/files/0" || got.Manifest[0].Name != "index.html.br" {
		t.Errorf("the device gets %s", got.raw)
	}
	got = e.update(s, "plugin_version", "8.51.23", "version_name", "1.4.0", "key_id", "MIIBCgKCAQEAother")
	if got.Error != "key_id_mismatch" || got.Kind != "blocked" || got.DeviceKeyID != "MIIBCgKCAQEAother" || got.BundleKeyID != c.KeyID {
		t.Errorf("a device with another key gets %s", got.raw)
	}
	if got = e.update(s, "plugin_version", "8.40.7", "version_name", "1.4.0", "key_id", "MIIB"); got.Version != "1.5.0" {
		t.Errorf("a device whose IDs of keys are short gets %s", got.raw)
	}
	if got = e.update(s, "plugin_version", "7.18.14", "version_name", "1.4.0"); got.Error != "no_bundle" {
		t.Errorf("a device that takes base64 only gets %s", got.raw)
	}
	delete(e.indexes, r.Attachments[0].Bundle)
	e.publish("production", e.release("1.6.0", map[string]string{"index.html": "six"}, r.Attachments...))
	if got = e.update(s, "plugin_version", "8.51.23", "version_name", "1.4.0"); got.Error != "no_bundle" {
		t.Errorf("without the attachment the device gets %s, and never what is not encrypted", got.raw)
	}
}

func TestServer_KeepsWhatIsSettledOnly(t *testing.T) {
	e, s := newEdge(t)
	files := map[string]string{}
	for i := range 100 {
		files[fmt.Sprintf("js/%d.js", i)] = strings.Repeat(fmt.Sprint(i), 9000)
		e.brotli[fmt.Sprintf("js/%d.js", i)] = 10
	}
	delete(e.brotli, "js/7.js")
	e.publish("production", e.release("1.5.0", files, e.zip()))
	ask := func() Answer {
		return s.Updates(Request{Body: body("plugin_version", "8.51.23", "version_name", "1.4.0"), Base: testBase})
	}
	first := ask()
	if first.Gzip != nil || strings.Contains(string(first.Body), "js/7.js.br") {
		t.Errorf("before all is encoded the answer is %d bytes of gzip: %.300s", len(first.Gzip), first.Body)
	}
	e.brotli["js/7.js"] = 10
	now = now.Add(settle)
	defer func() { now = now.Add(-settle) }()
	second := ask()
	if !strings.Contains(string(second.Body), "js/7.js.br") || second.Gzip == nil || len(second.Gzip) > len(second.Body)/2 {
		t.Fatalf("after it the answer is %d bytes, %d of gzip", len(second.Body), len(second.Gzip))
	}
	r, err := gzip.NewReader(bytes.NewReader(second.Gzip))
	if err != nil || !bytes.Equal(readAll(t, r), second.Body) {
		t.Errorf("the two forms of the answer are not the same: %v", err)
	}
	if third := ask(); &third.Body[0] != &second.Body[0] {
		t.Error("the answer is made again for each device")
	}
}

// Who asks under many names of the host, or as many devices, makes nothing grow.
func TestServer_ManyAskersTakeNoMemory(t *testing.T) {
	e, s := newEdge(t)
	s.rendered.most = 100 << 10
	e.publish("production", e.release("1.5.0", map[string]string{"index.html": "<html>"}, e.zip()))
	for i := range 3000 {
		s.Updates(Request{
			Body: body("plugin_version", "8.51.23", "version_name", "1.4.0", "device_id", fmt.Sprintf("%08x-0000-4000-8000-000000000000", i)),
			Base: fmt.Sprintf("http://%d.example/capgo", i),
		})
	}
	size := 0
	for _, a := range s.rendered.kept {
		size += a.size()
	}
	if size == 0 || size > s.rendered.most || size != s.rendered.bytes {
		t.Errorf("answers of %d bytes are kept, and %d are counted of %d", size, s.rendered.bytes, s.rendered.most)
	}
	if len(e.checks) != 3000 || e.checks[0].Kind != channel.Update || e.checks[0].Version != "1.4.0" {
		t.Errorf("%d checks were told of", len(e.checks))
	}
}

func TestServer_SizesOfWhatADeviceLacks(t *testing.T) {
	e, s := newEdge(t)
	e.brotli["js/main.js"] = 1234
	r := e.release("1.5.0", map[string]string{"index.html": "<html>", "js/main.js": strings.Repeat("a", 9000)})
	e.publish("production", r)
	list := e.update(s, "plugin_version", "8.51.23", "version_name", "1.4.0").Manifest
	list = append(list, list[0], entry{Name: "x", Hash: "y", URL: testBase + "/files/" + r.Bundle.String() + "/none"},
		entry{Name: "x", Hash: "y", URL: "https://elsewhere.example/x"})
	got := read(t, s.Sizes(Request{Body: body("version", "1.5.0", "manifest", list)}))
	var a sizes
	if err := json.Unmarshal([]byte(got.raw), &a); err != nil {
		t.Fatal(err)
	}
	if a.Total != 1240 || a.Known != 2 || a.Unknown != 2 || len(a.Files) != 4 || a.Files[0].Size != 6 || a.Files[1].Size != 1234 ||
		a.Files[2].Error != "size_unknown" {
		t.Errorf("the sizes are %s", got.raw)
	}
	if got := read(t, s.Sizes(Request{Body: body()})); strings.TrimSpace(got.raw) != `{"totalSize":0,"knownFiles":0,"unknownFiles":0,"files":[]}` {
		t.Errorf("of no files the sizes are %s", got.raw)
	}
	if got := read(t, s.Sizes(Request{Body: body("manifest", "no list")})); got.status != 400 {
		t.Errorf("of no list the sizes are %s", got.raw)
	}
}
