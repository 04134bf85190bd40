package plugin

import (
	"encoding/json"
	"strings"
	"testing"

	"brink/bench/cost"
)

// fuzz calls a handler with bytes of a stranger: the answer is JSON, of a status that the plugin knows, and says either
// yes or no.
func fuzz(f *testing.F, do func(*Server, []byte) Answer) {
	for _, seed := range []string{
		"", "{}", "[]", "null", string(body()), event(), "[" + event() + "," + event("app_id", "a.b") + "]",
		string(body("version_name", "0.9.0", "plugin_version", "8.51.23")), string(body("channel", "beta")),
		string(body("manifest", []entry{{"a", "b", testBase + "/files/x/y"}})), `{"app_id":1,"device_id":{}}`,
		strings.Repeat("[", 100), `{"app_id":"com.acme.shop","device_id":"\ud800"}`,
	} {
		f.Add([]byte(seed))
	}
	_, s := newEdge(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var a Answer
		cost.Check(t, len(raw), func() { a = do(s, raw) })
		if a.Status != 200 && a.Status != 400 && a.Status != 429 {
			t.Errorf("status %d", a.Status)
		}
		var answer map[string]json.RawMessage
		if json.Unmarshal(a.Body, &answer) != nil {
			t.Fatalf("the answer is no object: %.200s", a.Body)
		}
		_, no := answer["error"]
		if _, yes := answer["version"]; !no && !yes && answer["status"] == nil && answer["channel"] == nil && answer["files"] == nil {
			t.Errorf("the answer says nothing: %.200s", a.Body)
		}
		if a.Status != 200 && !no {
			t.Errorf("status %d without an error: %.200s", a.Status, a.Body)
		}
		for name, value := range answer {
			if string(value) == "null" {
				t.Errorf("%s is null", name)
			}
		}
	})
}

// Long lists of next to nothing cost no more than their bytes.
func TestServer_ListsCostLittleWhateverIsInThem(t *testing.T) {
	_, s := newEdge(t)
	for _, element := range []string{"{}", "0", "null", `""`, "[]"} {
		list := "[" + strings.Repeat(element+",", (MaxStats-10)/(len(element)+1)) + element + "]"
		if a := s.Stats(Request{Method: "POST", Body: []byte(list)}); a.Status != 400 {
			t.Errorf("a list of %s: status %d", element, a.Status)
		}
		cost.Check(t, len(list), func() { s.Stats(Request{Method: "POST", Body: []byte(list)}) })
		info := strings.TrimSuffix(string(body()), "}")
		sizes := []byte(info + `,"manifest":` + list + "}")
		if a := s.Sizes(Request{Method: "POST", Body: sizes}); a.Status != 400 {
			t.Errorf("a list of sizes of %s: status %d", element, a.Status)
		}
		cost.Check(t, len(sizes), func() { s.Sizes(Request{Method: "POST", Body: sizes}) })
	}
}

func FuzzServer_Updates(f *testing.F) {
	fuzz(f, func(s *Server, raw []byte) Answer {
		return s.Updates(Request{Method: "POST", Body: raw, Base: testBase})
	})
}

func FuzzServer_Sizes(f *testing.F) {
	fuzz(f, func(s *Server, raw []byte) Answer { return s.Sizes(Request{Method: "POST", Body: raw}) })
}

func FuzzServer_Stats(f *testing.F) {
	fuzz(f, func(s *Server, raw []byte) Answer { return s.Stats(Request{Method: "POST", Body: raw}) })
}

func FuzzServer_Choose(f *testing.F) {
	fuzz(f, func(s *Server, raw []byte) Answer { return s.Channel(Request{Method: "POST", Body: raw}) })
}

func FuzzServer_Followed(f *testing.F) {
	fuzz(f, func(s *Server, raw []byte) Answer { return s.Channel(Request{Method: "PUT", Body: raw}) })
}

func FuzzServer_Query(f *testing.F) {
	fuzz(f, func(s *Server, raw []byte) Answer {
		var members map[string]string
		_ = json.Unmarshal(raw, &members) // what is no object of strings is an empty query
		return s.Channel(Request{Method: "DELETE", Query: func(name string) string { return members[name] }})
	})
}
