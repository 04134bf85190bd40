package plugin

import (
	"strings"
	"testing"
	"time"
)

func (e *edge) stats(s *Server, text string) reply {
	e.t.Helper()
	return read(e.t, s.Stats(Request{Method: "POST", Body: []byte(text)}))
}

// event returns an event as a device sends it.
func event(changes ...any) string {
	return string(body(append([]any{"action", "set", "old_version_name", "0.9.0"}, changes...)...))
}

func TestServer_StatsCountsOneEvent(t *testing.T) {
	e, s := newEdge(t)
	if got := e.stats(s, event("device_id", strings.ToUpper(testDevice))); got.status != 200 || got.Status != "ok" {
		t.Fatalf("the answer is %s", got.raw)
	}
	want := Event{
		App: testApp, Version: "1.0.0", OldVersion: "0.9.0", Action: "set", Platform: "android", Device: testDevice,
		Plugin: "7.0.0", When: now,
	}
	if len(e.events) != 1 || e.events[0] != want {
		t.Errorf("counted %+v, want %+v", e.events, want)
	}
}

func TestServer_StatsReadsWhatPluginsReallySend(t *testing.T) {
	e, s := newEdge(t)
	hour := now.Add(-time.Hour).UnixMilli()
	for text, want := range map[string]Event{
		event("version_name", "1.0.0:js/app.js"):                                           {Version: "1.0.0", Action: "set", When: now},
		event("version_name", nil, "action", "download_fail", "plugin_version", "8.51.23"): {Action: "download_fail", When: now},
		event("action", "download_5900"):                                                   {Version: "1.0.0", Action: "download_5900", When: now},
		event("timestamp", hour):                                                           {Version: "1.0.0", Action: "set", When: time.UnixMilli(hour)},
		event("timestamp", now.AddDate(1, 0, 0).UnixMilli()):                               {Version: "1.0.0", Action: "set", When: now},
		event("timestamp", 0):                                                              {Version: "1.0.0", Action: "set", When: now},
		event("timestamp", "soon"):                                                         {Version: "1.0.0", Action: "set", When: now},
		event("version_name", "builtin"):                                                   {Version: "1.0.0", Action: "set", When: now},
		event("metadata", map[string]string{"source": "plugin"}):                           {Version: "1.0.0", Action: "set", When: now},
	} {
		e.events = nil
		if got := e.stats(s, text); got.status != 200 || got.Status != "ok" {
			t.Errorf("%s is answered %s", text, got.raw)
		}
		if len(e.events) != 1 || e.events[0].Version != want.Version || e.events[0].Action != want.Action || !e.events[0].When.Equal(want.When) {
			t.Errorf("%s counts as %+v, want %+v", text, e.events, want)
		}
	}
	e.events = nil
	for _, plugin := range []string{"7.16.9", "6.14.24"} { // they say so whenever there is nothing new
		if got := e.stats(s, event("action", "download_fail", "plugin_version", plugin)); got.Status != "ok" || len(e.events) > 0 {
			t.Errorf("download_fail of %s: %s, counted %+v", plugin, got.raw, e.events)
		}
	}
}

func TestServer_StatsSaysWhatIsWrongWithAnEvent(t *testing.T) {
	e, s := newEdge(t)
	for text, want := range map[string]reply{
		"{":                      {status: 400, Error: "invalid_json_parse_body"},
		"null":                   {status: 400, Error: "invalid_app_id"},
		event("app_id", "shop"):  {status: 400, Error: "invalid_app_id"},
		event("device_id", nil):  {status: 400, Error: "missing_device_id"},
		event("device_id", "me"): {status: 400, Error: "invalid_json_body"},
		event("version_build", "invalid_version"): {status: 400, Error: "semver_error"},
		event("action", nil):                      {status: 400, Error: "invalid_json_body"},
		event("action", "no such"):                {status: 400, Error: "invalid_json_body"},
		event("action", strings.Repeat("a", 65)):  {status: 400, Error: "invalid_json_body"},
		event("app_id", "com.other.app"):          {status: 429, Error: "on_premise_app"},
		event("version_name", "9.9.9"):            {status: 200, Error: "version_not_found"},
	} {
		if got := e.stats(s, text); got.status != want.status || got.Error != want.Error {
			t.Errorf("%.200s is answered %d %s, want %+v", text, got.status, got.raw, want)
		}
	}
	if len(e.events) != 1 || e.events[0].Version != "9.9.9" {
		t.Errorf("counted %+v, want only the one of a version that is not known", e.events)
	}
}

func TestServer_StatsAnswersEachOfMany(t *testing.T) {
	e, s := newEdge(t)
	many := func(events ...string) reply { return e.stats(s, "["+strings.Join(events, ",")+"]") }
	if got := many(); strings.TrimSpace(got.raw) != `{"status":"ok","results":[]}` {
		t.Errorf("of none: %s", got.raw)
	}
	got := many(event(), event("device_id", nil), event("app_id", "com.acme.other"), event("app_id", "x"), "[]", event())
	if got.status != 200 || got.Status != "ok" || len(got.Results) != 6 {
		t.Fatalf("of six: %d %s", got.status, got.raw)
	}
	for i, want := range []string{"", "missing_device_id", "mixed_app_ids", "invalid_app_id", "invalid_app_id", ""} {
		r := got.Results[i]
		if code, _ := r["error"].(string); code != want || r["index"] != float64(i) || (want == "") != (r["status"] == "ok") {
			t.Errorf("result %d is %v, want %q", i, r, want)
		}
	}
	if len(e.events) != 2 {
		t.Errorf("counted %d, want 2", len(e.events))
	}
	if got := many(event("app_id", "x"), event()); got.status != 400 || got.Error != "invalid_app_id" {
		t.Errorf("of one whose first is of no app: %d %s", got.status, got.raw)
	}
	if got := many(event("app_id", "com.other.app")); got.status != 200 || got.Results[0]["error"] != "on_premise_app" {
		t.Errorf("of an app of somebody else: %d %s", got.status, got.raw)
	}
	if got := e.stats(s, "["+strings.Repeat("1,", MaxEvents)+"1]"); got.status != 400 || got.Error != "invalid_json_body" {
		t.Errorf("of too many: %d %s", got.status, got.raw)
	}
}

func TestServer_Health(t *testing.T) {
	_, s := newEdge(t)
	if a := s.Health(); a.Status != 200 || strings.TrimSpace(string(a.Body)) != `{"status":"ok"}` {
		t.Errorf("health is %d %s", a.Status, a.Body)
	}
}
