package plugin

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"brink/channel"
)

// MaxEvents bounds the events in one request. The plugin sends at most 200.
const MaxEvents = 1000

// Stats answers POST on the path of events: one of them, or many in an array. Plugins from x.42 send both.
func (s *Server) Stats(r Request) Answer {
	if !json.Valid(r.Body) || depth(r.Body) > maxDepth {
		return refuse("invalid_json_parse_body", "the body is not JSON").answer()
	}
	many, err := listOf[json.RawMessage](r.Body, MaxEvents)
	if errors.Is(err, errTooMany) {
		return refuse("invalid_json_body", "too many events at once").answer()
	}
	if err != nil {
		c := counter{server: s}
		if wrong := c.one(r.Body); wrong != nil {
			return wrong.answer()
		}
		return say(200, status{Status: "ok"})
	}
	answer := results{Status: "ok", Results: make([]map[string]any, len(many))}
	c := counter{server: s}
	for i, raw := range many {
		wrong := c.one(raw)
		if wrong == nil {
			answer.Results[i] = map[string]any{"status": "ok", "index": i}
			continue
		}
		if i == 0 && wrong.Error == "invalid_app_id" {
			return wrong.answer()
		}
		result := wrong.whole()
		result["status"], result["index"] = "error", i
		answer.Results[i] = result
	}
	return say(200, answer)
}

// results is the answer to many events.
type results struct {
	Status  string           `json:"status"`
	Results []map[string]any `json:"results"`
}

// counter counts the events of one request, which are all of one app.
type counter struct {
	server *Server
	app    string
	served bool
	list   []*channel.Manifest
}

// one counts one event, or returns what is wrong with it.
func (c *counter) one(raw []byte) *failure {
	f, wrong := decode(raw)
	if wrong != nil {
		return wrong
	}
	if app := get(f.App); !isApp(app) {
		return refuse("invalid_app_id", "app_id is not an identifier such as com.example.app")
	} else if c.app == "" {
		c.app = app
		c.list, c.served = c.server.config.Edge.Channels(app)
	} else if c.app != app {
		return decline("mixed_app_ids", "all events that come at once must be of one app")
	}
	in, wrong := f.info(need{device: true})
	if wrong != nil {
		return wrong
	}
	action := get(f.Action)
	if !isAction(action) || len(get(f.OldVersion)) > maxText {
		return refuse("invalid_json_body", "action is not a word")
	}
	if !c.served {
		return unknownApp()
	}
	if action == "download_fail" && !in.Plugin.countsFailures() {
		return nil // these versions send it whenever there is no update
	}
	// "1.2.0:js/app.js" is about one file of a version.
	version, _, _ := strings.Cut(in.Version, ":")
	c.server.config.Count(Event{
		App:        in.App,
		Version:    version,
		OldVersion: get(f.OldVersion),
		Action:     action,
		Platform:   channel.Platform(in.Platform),
		Device:     in.Device,
		Plugin:     in.PluginText,
		When:       c.server.when(f.Timestamp),
	})
	if !in.BuiltIn && !c.knows(version) {
		return decline("version_not_found", "no channel of the app serves or remembers this version").
			with("app_id", in.App).with("version_name", version)
	}
	return nil
}

// knows reports whether a channel of the app serves the version or has it in its history.
func (c *counter) knows(version string) bool {
	for _, m := range c.list {
		for release := range m.Releases() {
			if release.Version == version {
				return true
			}
		}
	}
	return false
}

// Events wait on a device without a network, and clocks of devices are wrong. An event outside of these bounds gets the
// current time.
const (
	oldest = 30 * 24 * time.Hour
	ahead  = 10 * time.Minute
)

// when returns the time of an event: the one that the device reports, in milliseconds since 1970, if that is plausible.
func (s *Server) when(timestamp json.RawMessage) time.Time {
	now := s.config.Now()
	ms, err := strconv.ParseInt(string(timestamp), 10, 64)
	if t := time.UnixMilli(ms); err == nil && t.After(now.Add(-oldest)) && t.Before(now.Add(ahead)) {
		return t
	}
	return now
}

// isAction reports whether text is valid as an action: 1 to 64 letters, digits and underscores. There is no list of
// actions, because the plugin sends some that its own servers do not know, such as download_5900.
func isAction(text string) bool {
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' {
			return false
		}
	}
	return len(text) >= 1 && len(text) <= 64
}
