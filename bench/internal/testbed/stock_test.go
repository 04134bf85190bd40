package testbed

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"brink/channel"
	"brink/store"
)

// A node must be able to serve what a stock has added: bundles are complete, and manifests verify.
func TestStock_IsWhatANodeAccepts(t *testing.T) {
	s := &Testbed{Run: &Run{Dir: t.TempDir()}, Dir: t.TempDir()}
	n, err := s.NewNode()
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(s.Dir, "data")
	k, err := OpenStock(data, n.Key)
	if err != nil {
		t.Fatal(err)
	}
	var releases []channel.Release
	for i, version := range []string{"1.0.0", "1.1.0"} {
		r, err := k.AddBundle(t.Context(), version, SmallFiles(uint64(i)))
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, r)
	}
	if _, err := k.AddChannel(t.Context(), App, "production", releases...); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}

	opened, err := store.Open(store.Config{Dir: data, MinFree: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	}()
	raw, err := os.ReadFile(n.Trust)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := channel.ParseTrust(raw, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := opened.Manifest(App, "production")
	if err != nil {
		t.Fatal(err)
	}
	m, err := trust.VerifyManifest(signed, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if m.Release.Version != "1.1.0" || len(m.History) != 1 {
		t.Errorf("the channel serves %s and has served %d more", m.Release.Version, len(m.History))
	}
	lost, err := opened.Lost(t.Context(), m.Release.Bundle)
	if err != nil || len(lost) > 0 {
		t.Errorf("%d chunks of the bundle are not there: %v", len(lost), err)
	}
}
