package testbed

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTestbed_WritesValuesAsTheyAreToAConfiguration(t *testing.T) {
	b := &Testbed{Run: &Run{}, Dir: t.TempDir(), Cores: []int{0, 1}}
	path, err := b.WriteConfig("conf", "workers {{.Workers}}; return 200 '{{.Body}}';\n", map[string]any{"Body": `{"x":"<&>"}`})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("workers 2; return 200 '{\"x\":\"<&>\"}';\n", string(raw)); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}
