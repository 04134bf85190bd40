package node

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestNode_RoutesAreDocumented keeps docs/protocol.md complete: each route is there with its method and its path.
func TestNode_RoutesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`\{[a-z]+(\.\.\.)?\}`)
	documented := map[string]bool{}
	for _, span := range regexp.MustCompile("`([A-Z, `]+) (/[^`?\\s]*)").FindAllStringSubmatch(string(page), -1) {
		for _, method := range regexp.MustCompile("[A-Z]+").FindAllString(span[1], -1) {
			documented[method+" "+name.ReplaceAllString(span[2], "{}")] = true
		}
	}
	f := start(t)
	for _, r := range f.routes() {
		if r.Name == "unknown" {
			continue // what a guest answers to paths that its protocol does not have
		}
		path := name.ReplaceAllString(strings.TrimSuffix(r.Pattern, "/"), "{}")
		if !documented[r.Method+" "+path] {
			t.Errorf("docs/protocol.md has no %s %s", r.Method, r.Pattern)
		}
	}
	if len(documented) < 20 {
		t.Errorf("only %d paths are documented: is the page read rightly?", len(documented))
	}
}
