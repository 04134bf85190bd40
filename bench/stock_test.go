package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"brink/channel"
	"brink/store"
)

// A node that is measured on a stock has to take it for its own: bundles are complete, and manifests count.
func TestStock_IsWhatANodeBelieves(t *testing.T) {
	s := &site{bench: &bench{dir: t.TempDir()}, dir: t.TempDir()}
	n, err := s.newNode()
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(s.dir, "data")
	k, err := openStock(data, n.key)
	if err != nil {
		t.Fatal(err)
	}
	var releases []channel.Release
	for i, version := range []string{"1.0.0", "1.1.0"} {
		r, err := k.bundle(t.Context(), version, smallFiles(uint64(i)))
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, r)
	}
	if _, err := k.channel(t.Context(), benchApp, "production", releases...); err != nil {
		t.Fatal(err)
	}
	if err := k.close(); err != nil {
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
	raw, err := os.ReadFile(n.trust)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := channel.ParseTrust(raw, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := opened.Manifest(benchApp, "production")
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
