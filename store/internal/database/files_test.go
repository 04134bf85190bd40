package database

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFilesOf_TakesTheFolderAsItIs(t *testing.T) {
	for _, name := range []string{"plain", "a[b]", "{a,b}", "star*", "what?", `back\slash`, "[unclosed"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"2.mem", "1.mem", "3.vlog"} {
			if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		paths, err := filesOf(dir, ".mem")
		if err != nil || len(paths) != 2 || filepath.Base(paths[0]) != "1.mem" {
			t.Errorf("filesOf(%q) = %q, %v", name, paths, err)
		}
	}
}
