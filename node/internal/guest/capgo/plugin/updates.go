package plugin

import (
	"brink/channel"
)

// Updates answers POST on the path of checks for updates.
func (s *Server) Updates(r Request) Answer {
	f, wrong := decode(r.Body)
	if wrong != nil {
		return wrong.answer()
	}
	in, wrong := f.info(need{device: true, version: true, rest: true})
	if wrong != nil {
		return wrong.answer()
	}
	list, served := s.config.Edge.Channels(in.App)
	if !served {
		return unknownApp().answer()
	}
	if in.Plugin.isUnsupported() {
		return failed("unsupported_plugin_version", "Plugins before version 5 are not served").answer()
	}
	m, _ := s.follow(list, &in)
	if m == nil {
		return noChannel().answer()
	}
	device := in.device()
	decision := channel.ResolveIgnoringExpiry(m, device, s.config.Now())
	s.config.Checked(Check{App: in.App, Version: in.Version, Device: in.Device, Kind: decision.Kind})
	switch decision.Kind {
	case channel.Update, channel.Rollback:
		return s.answerRelease(r, m, decision.Release, &in)
	case channel.BuiltIn:
		if !in.Plugin.takesBuiltIn() {
			return failed("revert_to_builtin_plugin_version_too_old",
				"This plugin cannot go back to what the native app came with").answer()
		}
		return say(200, update{Version: "builtin"})
	case channel.UpToDate:
		// If the channel was reverted to the built-in, and the device runs it already, the answer says so.
		device.BuiltIn = false
		if in.BuiltIn && channel.ResolveIgnoringExpiry(m, device, s.config.Now()).Kind == channel.BuiltIn {
			f := decline("already_on_builtin", "The device runs what its native app came with")
			f.Kind = kindUpToDate
			return f.answer()
		}
		return upToDate().answer()
	default:
		return blocked(decision.Reason, m, &in).answer()
	}
}

// follow returns the channel that the device follows. Its choice is stored here only for plugins that do not store it.
func (s *Server) follow(list []*channel.Manifest, in *info) (*channel.Manifest, channel.Choice) {
	assigned := ""
	if !in.Plugin.remembers() && in.Device != "" {
		assigned = s.config.Choices.Chosen(in.App, in.Device)
	}
	return channel.Choose(list, in.device(), in.Asked, assigned, s.config.Now())
}

// update is the answer with an update. No member may be null; see the invariants of the package.
type update struct {
	Version    string  `json:"version"`
	URL        string  `json:"url,omitempty"`
	Checksum   string  `json:"checksum,omitempty"`
	SessionKey string  `json:"session_key,omitempty"`
	Manifest   []entry `json:"manifest,omitempty"`
	Link       string  `json:"link,omitempty"`
	Comment    string  `json:"comment,omitempty"`
}

// entry is one file of the list of a release.
type entry struct {
	Name string `json:"file_name"` // with the suffix ".br", the download is brotli, and the file's name is without it
	Hash string `json:"file_hash"` // SHA-256 of the file as it will be used; of an encrypted one, sealed
	URL  string `json:"download_url"`
}

// noZip is the path of a zip that does not exist. The plugin requires a URL, and does not fetch it if there is a list.
const noZip = "/no.zip"

// answerRelease returns the answer with a release.
func (s *Server) answerRelease(r Request, m *channel.Manifest, release *channel.Release, in *info) Answer {
	of := subject{
		statement: m.Statement(),
		version:   release.Version,
		base:      r.Base,
		files:     in.Plugin.takesFiles(in.Platform),
		hex:       in.Plugin.takesHex(),
		text:      in.Plugin.takesText(),
	}
	a := s.rendered.find(of, s.config.Now())
	if a == nil {
		a = s.render(of, release)
		s.rendered.put(of, a, s.config.Now())
	}
	if a.keyID != "" && in.KeyID != "" && a.keyID != in.KeyID && in.Plugin.comparesKeys() {
		f := decline("key_id_mismatch", "The release was encrypted for another key than the app has")
		f.Kind = kindBlocked
		return f.with("deviceKeyId", in.KeyID).with("bundleKeyId", a.keyID).answer()
	}
	if a.refusal != "" {
		return failed("no_bundle", a.refusal).answer()
	}
	return Answer{Status: 200, Body: a.body, Gzip: a.gzip}
}
