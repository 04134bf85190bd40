package fleet

import (
	"bytes"
	"log/slog"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"brink/node/internal/background"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Keys by value are those of the environment: to replace them in memory only would last until the next start.
func TestFleet_ReplacesNoKeysThatCameByValue(t *testing.T) {
	given := [][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)}
	f, err := New(Config{
		Options: Options{Name: "test", Node: "node-a", Bind: "127.0.0.1:0", Keys: given},
		Context: t.Context(), Work: &background.Group{}, Data: t.TempDir(),
		Logger: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := f.rekey([][]byte{bytes.Repeat([]byte{3}, 32)}); err == nil {
		t.Error("the keys are replaced")
	}
	if done, err := f.Rotate(t.Context()); err == nil {
		t.Errorf("the key is rotated on %v", done)
	}
	if got := f.keys.current(); !slices.EqualFunc(got, given, bytes.Equal) {
		t.Errorf("it has %d other keys", len(got))
	}
}
