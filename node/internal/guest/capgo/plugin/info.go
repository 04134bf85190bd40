package plugin

import (
	"encoding/json"
	"errors"
	"strings"

	"brink/channel"
	"brink/node/internal/scan"
)

// info is what every request tells about the device. What a plugin does not send, or sends as null, is zero.
type info struct {
	App        string
	Device     string // UUID in lower case
	Custom     string
	Platform   string
	Native     string // version of the native app: semver; 0.0.0 for one that is not known
	Build      string // the same as it was sent
	Version    string // of what it runs: the native one for what the native app came with; may be empty
	BuiltIn    bool   // it runs what its native app came with, as far as it can tell
	Plugin     plugin
	PluginText string
	Emulator   bool
	Production bool
	Asked      string // the channel that the app was built for, or that was chosen on the device
	KeyID      string // of the key that the app decrypts with; empty: none, or it is not told
}

// fields are the members of a request, as they are sent. Those of other types than these are told by raw.bad.
type fields struct {
	App        *string `json:"app_id"`
	Device     *string `json:"device_id"`
	Custom     *string `json:"custom_id"`
	Platform   *string `json:"platform"`
	Build      *string `json:"version_build"`
	Version    *string `json:"version_name"`
	Plugin     *string `json:"plugin_version"`
	Emulator   *bool   `json:"is_emulator"`
	Production *bool   `json:"is_prod"`
	Asked      *string `json:"defaultChannel"`
	KeyID      *string `json:"key_id"`
	Source     *string `json:"install_source"`

	// Only some requests have these.
	Channel    *string         `json:"channel"`
	Action     *string         `json:"action"`
	OldVersion *string         `json:"old_version_name"`
	Timestamp  json.RawMessage `json:"timestamp"`
	Manifest   json.RawMessage `json:"manifest"`
	Files      json.RawMessage `json:"files"`

	bad error // why a member has another type than it should
}

// Bounds of what a device says, in bytes or levels.
const (
	maxText   = 256 // of a version, an ID or a name
	maxKeyID  = 20
	maxSource = 64
	maxDepth  = 32 // of nested objects and arrays

	// maxScanned is the size of a body whose strings may share its memory for as long as one of them is held.
	maxScanned = 2 << 10
)

// need says which parts of an info a request cannot do without.
type need struct {
	device  bool // the ID of the device
	version bool // what it runs
	rest    bool // platform, versions of the native app and of the plugin
	asQuery bool // it came in the query, so the errors are called otherwise
}

// decode reads the object of a body.
func decode(body []byte) (*fields, *failure) {
	if len(body) <= maxScanned {
		if f := scanFields(string(body)); f != nil {
			return f, nil
		}
	}
	if !json.Valid(body) || depth(body) > maxDepth {
		return nil, refuse("invalid_json_parse_body", "the body is not JSON")
	}
	f := &fields{}
	if err := json.Unmarshal(body, f); err != nil {
		f.bad = err
		if _, wrongType := errors.AsType[*json.UnmarshalTypeError](err); !wrongType {
			return nil, refuse("invalid_json_parse_body", "the body is not JSON")
		}
	}
	return f, nil
}

// The names of the members that are bools.
const (
	nameEmulator   = "is_emulator"
	nameProduction = "is_prod"
)

// scanned holds what the members of fields point to.
type scanned struct {
	fields
	text [13]string
	is   [2]bool
}

// scanFields reads the object of a body as the plugin spells it. It returns nil for what is for encoding/json.
func scanFields(text string) *fields {
	f := &scanned{}
	s := scan.New(text)
	s.Open()
	var seen uint32
	for s.Next() {
		n, to := f.textField(s.Name())
		switch {
		case to != nil:
			s.Once(&seen, n)
			f.text[n] = s.String()
			*to = &f.text[n]
		case s.Name() == nameEmulator:
			s.Once(&seen, 30)
			f.is[0] = s.Bool()
			f.Emulator = &f.is[0]
		case s.Name() == nameProduction:
			s.Once(&seen, 31)
			f.is[1] = s.Bool()
			f.Production = &f.is[1]
		default:
			s.Skip("app_id", "device_id", "custom_id", "platform", "version_build", "version_name", "plugin_version",
				nameEmulator, nameProduction, "defaultChannel", "key_id", "install_source", "channel", "action",
				"old_version_name", "timestamp", "manifest", "files")
		}
	}
	if !s.Done() {
		return nil
	}
	return &f.fields
}

// textField returns the member of a name that is a string, with a number of its own, or nil.
func (f *fields) textField(name string) (uint, **string) {
	switch name {
	case "app_id":
		return 0, &f.App
	case "device_id":
		return 1, &f.Device
	case "custom_id":
		return 2, &f.Custom
	case "platform":
		return 3, &f.Platform
	case "version_build":
		return 4, &f.Build
	case "version_name":
		return 5, &f.Version
	case "plugin_version":
		return 6, &f.Plugin
	case "defaultChannel":
		return 7, &f.Asked
	case "key_id":
		return 8, &f.KeyID
	case "install_source":
		return 9, &f.Source
	case "channel":
		return 10, &f.Channel
	case "action":
		return 11, &f.Action
	case "old_version_name":
		return 12, &f.OldVersion
	}
	return 0, nil
}

// depth returns how deep JSON is nested.
func depth(raw []byte) (deepest int) {
	level, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}

// fromQuery reads the members from a query: they are all strings there.
func fromQuery(query func(string) string) *fields {
	text := func(name string) *string {
		if value := query(name); value != "" {
			return &value
		}
		return nil
	}
	f := &fields{
		App: text("app_id"), Device: text("device_id"), Custom: text("custom_id"), Platform: text("platform"),
		Build: text("version_build"), Version: text("version_name"), Plugin: text("plugin_version"),
		Asked: text("defaultChannel"), KeyID: text("key_id"), Source: text("install_source"), Channel: text("channel"),
	}
	for name, to := range map[string]**bool{nameEmulator: &f.Emulator, nameProduction: &f.Production} {
		switch value := query(name); value {
		case "true", "false":
			is := value == "true"
			*to = &is
		case "":
		default:
			f.bad = errors.New(name + " is neither true nor false")
		}
	}
	return f
}

// info checks the members, in the order in which Capgo's servers do.
func (f *fields) info(n need) (info, *failure) {
	code := "invalid_json_body"
	if n.asQuery {
		code = "invalid_query_parameters"
	}
	in := info{
		App:        get(f.App),
		Device:     strings.ToLower(get(f.Device)),
		Custom:     strings.TrimSpace(get(f.Custom)),
		Platform:   get(f.Platform),
		Build:      get(f.Build),
		Version:    get(f.Version),
		PluginText: get(f.Plugin),
		Emulator:   f.Emulator != nil && *f.Emulator,
		Production: f.Production == nil || *f.Production,
		Asked:      get(f.Asked),
		KeyID:      get(f.KeyID),
	}
	switch {
	case f.isEmpty():
		return in, refuse(code, "it tells nothing")
	case in.Device == "" && n.device:
		return in, refuse("missing_device_id", "device_id is missing")
	case in.App == "":
		return in, refuse("missing_app_id", "app_id is missing")
	}
	native, ok := nativeVersion(in.Build)
	if !ok && (n.rest || in.Build != "") {
		return in, refuse("semver_error", "version_build is not a semantic version").with("version_build", in.Build)
	}
	in.Native = native
	if wrong := f.wrong(in, n); wrong != "" {
		return in, refuse(code, wrong)
	}
	// A build from a store runs "builtin", or from x.44 on the version of the native app.
	in.BuiltIn = in.Version == "builtin" || in.Version == "" || in.Version == in.Build || in.Version == in.Native
	if in.Version == "builtin" {
		in.Version = in.Native
	}
	in.Plugin, _ = parsePlugin(in.PluginText)
	return in, nil
}

// wrong says what a member should not be, "" if they all are as they should.
func (f *fields) wrong(in info, n need) string {
	if f.bad != nil {
		return f.bad.Error()
	}
	for _, text := range []string{in.App, in.Custom, in.Build, in.Version, in.PluginText, in.Asked} {
		if len(text) > maxText {
			return "a text is too long"
		}
	}
	_, isPlugin := parsePlugin(in.PluginText)
	switch {
	case !isApp(in.App):
		return "app_id is not an identifier such as com.example.app"
	case in.Device != "" && !isUUID(in.Device):
		return "device_id is not a UUID"
	case (n.rest || in.Platform != "") && !isPlatform(in.Platform):
		return "platform is not ios, android or electron"
	case (n.rest || in.PluginText != "") && !isPlugin:
		return "plugin_version is not a semantic version"
	case n.version && in.Version == "":
		return "version_name is empty"
	case len(in.KeyID) > maxKeyID, len(get(f.Source)) > maxSource:
		return "key_id or install_source is too long"
	default:
		return ""
	}
}

// isEmpty reports whether nothing was told of a device.
func (f *fields) isEmpty() bool {
	for _, field := range []*string{f.App, f.Device, f.Custom, f.Platform, f.Build, f.Version, f.Plugin, f.Asked} {
		if field != nil {
			return false
		}
	}
	return f.Emulator == nil && f.Production == nil
}

// device returns the info as package channel wants it.
func (in *info) device() channel.Device {
	return channel.Device{
		ID:          in.Device,
		Custom:      in.Custom,
		Platform:    channel.Platform(in.Platform),
		Native:      in.Native,
		Version:     in.Version,
		BuiltIn:     in.BuiltIn,
		Emulator:    in.Emulator,
		Development: !in.Production,
	}
}

func get(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// nativeVersion returns a version of the native app as semver: stores also take one and two numbers.
func nativeVersion(text string) (string, bool) {
	switch text {
	case "":
		return "", false
	case "builtin", "unknown":
		return "0.0.0", true
	}
	numbers, _, _ := strings.Cut(text, "-")
	numbers, _, _ = strings.Cut(numbers, "+")
	if len(numbers) == len(text) {
		for range 2 - min(strings.Count(numbers, "."), 2) {
			text += ".0"
		}
	}
	return text, channel.CheckVersion(text) == nil
}

// isApp reports whether text is an identifier as Capgo's servers take it, and can be one here.
func isApp(text string) bool {
	first, rest, found := strings.Cut(text, ".")
	for _, c := range []byte(first) {
		if c == '_' || c == '-' {
			return false
		}
	}
	return found && rest != "" && channel.CheckApp(text) == nil
}

func isPlatform(text string) bool { return text == "ios" || text == "android" || text == "electron" }

// isUUID reports whether text has the form of a UUID (RFC 9562, section 4) in lower case.
func isUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i := range len(text) {
		c := text[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}
