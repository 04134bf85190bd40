package capgo

import "testing"

func TestCheckRoot_RefusesWhatIsTakenOrNoPath(t *testing.T) {
	for path, ok := range map[string]bool{
		"/": true, "/capgo": true, "/a/b": true, "/v10": true, "capgo": false, "/capgo/": false, "/v1": false,
		"/v1/capgo": false, "/a//b": false, "/web/x": false, "/appflow": false, "/a?b": false, "": false,
	} {
		if err := CheckRoot(path, "/v1", "/web", "/appflow"); (err == nil) != ok {
			t.Errorf("path %q: %v", path, err)
		}
	}
}
