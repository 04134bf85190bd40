package plugin

import (
	"encoding/binary"

	"brink/channel"
	"brink/digest"
)

// Channel answers on the path for the choice of a channel: GET lists the channels that a device may choose, POST
// chooses one, PUT returns the one that it follows, and DELETE withdraws the choice.
func (s *Server) Channel(r Request) Answer {
	var f *fields
	var n need
	var wrong *failure
	switch {
	case r.Method == "GET":
		f, n = fromQuery(r.Query), need{asQuery: true}
	case r.Method == "DELETE" && len(r.Body) == 0:
		f, n = fromQuery(r.Query), need{device: true, rest: true, asQuery: true}
	default: // plugin 7.18 also sends a body with DELETE
		if f, wrong = decode(r.Body); wrong != nil {
			return wrong.answer()
		}
		n = need{device: true, version: r.Method != "DELETE", rest: true}
	}
	in, wrong := f.info(n)
	if wrong != nil {
		return wrong.answer()
	}
	list, served := s.config.Edge.Channels(in.App)
	if !served {
		return unknownApp().answer()
	}
	switch r.Method {
	case "GET":
		return s.list(list, &in)
	case "POST":
		return s.choose(list, &in, get(f.Channel))
	case "PUT":
		return s.followed(list, &in)
	default:
		return s.withdraw(&in)
	}
}

// listed is a channel that a device may choose.
type listed struct {
	ID        uint32 `json:"id"` // a number, as the plugin for iOS wants it; the same on every node
	Name      string `json:"name"`
	Public    bool   `json:"public"` // devices of the platform follow it unless they choose another
	AllowSelf bool   `json:"allow_self_set"`
}

// list answers GET. A device without a platform gets the channels for all platforms.
func (s *Server) list(list []*channel.Manifest, in *info) Answer {
	answer := []listed{}
	public := s.public(list, in)
	device := in.device()
	for _, m := range list {
		if m != public && !m.Rules.SelfAssign {
			continue
		}
		if !m.Rules.Open(device.Platform) {
			continue
		}
		// Only these reasons are properties of the device; all others may change.
		switch channel.ResolveIgnoringExpiry(m, device, s.config.Now()).Reason {
		case channel.ReasonPrivate, channel.ReasonPlatform, channel.ReasonEmulator, channel.ReasonDevice,
			channel.ReasonDevelopment, channel.ReasonProduction:
			continue
		}
		answer = append(answer, listed{numberOf(m), m.Channel, m == public, m.Rules.SelfAssign})
	}
	return say(200, answer)
}

// public returns the channel that devices of the platform follow by default.
func (s *Server) public(list []*channel.Manifest, in *info) *channel.Manifest {
	m, _ := channel.Choose(list, channel.Device{Platform: channel.Platform(in.Platform)}, "", "", s.config.Now())
	return m
}

// numberOf returns a number for a channel, which has no meaning: 31 bits of the digest of its name.
func numberOf(m *channel.Manifest) uint32 {
	sum := digest.Sum([]byte(m.App + "/" + m.Channel))
	return binary.BigEndian.Uint32(sum[:4]) >> 1
}

// chosen is the answer to a choice.
type chosen struct {
	Status   string `json:"status"`
	AllowSet bool   `json:"allowSet,omitempty"`
	Unset    bool   `json:"unset,omitempty"` // the device removes its choice, because it follows the channel by default
}

// choose answers POST.
func (s *Server) choose(list []*channel.Manifest, in *info, name string) Answer {
	if name == "" {
		return decline("missing_channel", "channel is missing").answer()
	}
	m, why := channel.Choose(list, in.device(), name, "", s.config.Now())
	if why == channel.ChoiceOverride {
		return decline("override_not_allowed", "The channel of this device was set by the publisher").answer()
	}
	public := s.public(list, in)
	switch known := named(list, name); {
	case known == nil:
		return notFound(name, in)
	case m == nil:
		return decline("channel_self_set_not_allowed", "The channel is not open to this device").answer()
	case !m.Rules.SelfAssign && m == public:
		return decline("public_channel_self_set_not_allowed", "The channel does not let devices choose it").answer()
	case !m.Rules.SelfAssign:
		return decline("channel_self_set_not_allowed", "The channel does not let devices choose it").answer()
	}
	switch {
	case in.Plugin.remembers() && m == public && in.Plugin.takesUnset():
		return say(200, chosen{Status: "ok", Unset: true})
	case in.Plugin.remembers():
		return say(200, chosen{Status: "ok", AllowSet: true})
	case m == public:
		name = ""
	}
	if err := s.config.Choices.Choose(in.App, in.Device, name); err != nil {
		return storageUnavailable()
	}
	return say(200, chosen{Status: "ok"})
}

// followedAnswer is the answer to which channel a device follows.
type followedAnswer struct {
	Channel  string `json:"channel"`
	Status   string `json:"status"`
	AllowSet *bool  `json:"allowSet,omitempty"`
}

// followed answers PUT with the channel from which the device would be updated, because the plugin stores it.
func (s *Server) followed(list []*channel.Manifest, in *info) Answer {
	m, why := s.follow(list, in)
	switch why {
	case channel.ChoiceNone:
		return notFound(in.Asked, in)
	case channel.ChoiceOverride, channel.ChoiceAssigned:
		return say(200, followedAnswer{m.Channel, "override", &m.Rules.SelfAssign})
	default:
		return say(200, followedAnswer{m.Channel, "default", nil})
	}
}

// withdraw answers DELETE.
func (s *Server) withdraw(in *info) Answer {
	if !in.Plugin.remembers() {
		if s.config.Choices.Chosen(in.App, in.Device) == "" {
			return decline("cannot_override", "The device has chosen no channel").answer()
		}
		if err := s.config.Choices.Choose(in.App, in.Device, ""); err != nil {
			return storageUnavailable()
		}
	}
	return say(200, status{Status: "ok"})
}

func storageUnavailable() Answer {
	return decline("channel_self_server_storage_unavailable", "The choice cannot be kept now").answer()
}

func notFound(name string, in *info) Answer {
	return decline("channel_not_found", "The app has no such channel for this device").
		with("channel", name).with("app_id", in.App).answer()
}

// named returns the manifest of the channel, or nil.
func named(list []*channel.Manifest, name string) *channel.Manifest {
	for _, m := range list {
		if m.Channel == name {
			return m
		}
	}
	return nil
}
