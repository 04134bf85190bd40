//go:build race

package bundle

import (
	"flag"
	"os"
	"testing"
)

// TestMain has properties tried 20 times under the race detector and not 100. It makes cutting and compressing some 20
// times as slow, and nothing that these properties are about runs beside anything; without it they are tried in full.
// -rapid.checks on the command line counts still.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "20"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
