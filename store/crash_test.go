package store_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"brink/channel"
	"brink/digest"
	"brink/store"
	"brink/store/storetest"
)

const crashApp, crashChannel = "com.acme.shop", "beta"

// crashBundle is the bundle that a child publishes as number n. Neighbours share a file.
func crashBundle(t testing.TB, n int) *storetest.Bundle {
	return storetest.New(t, map[string][]byte{
		"own":    storetest.Noise(uint64(n), 150<<10),
		"shared": storetest.Noise(uint64(n/4+1_000_000), 100<<10),
	})
}

// crashState is what a child puts after manifest n: two states that say the same.
func crashState(n int) map[string][]byte {
	return map[string][]byte{"stats/last": []byte(strconv.Itoa(n)), "stats/again": []byte(strconv.Itoa(n))}
}

// publishForever publishes one bundle after the other, each on the same channel, and prints what it does: "put" for
// each chunk, "bundle N", "manifest N" and "state N" for what was acknowledged.
func publishForever(dir string) {
	var t silent
	s, err := store.Open(store.Config{Dir: dir, MinFree: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	n, current := 0, digest.Digest{}
	if raw, err := s.Manifest(crashApp, crashChannel); err == nil {
		m, err := channel.ParseManifest(raw)
		if err != nil {
			t.Fatal(err)
		}
		n, current = int(m.Sequence), digest.Sum(raw)
	}
	for n++; ; n++ {
		b := crashBundle(t, n)
		in, err := s.Ingest(t.Context(), store.IngestRequest{Index: b.Index, Intent: []byte("intent")})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range in.Missing() {
			if err := in.Put(b.Frames[c.Digest]); err != nil {
				t.Fatal(err)
			}
			fmt.Println("put")
		}
		if err := in.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		fmt.Println("bundle", n)
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		raw, m := storetest.Manifest(t, crashApp, crashChannel, uint64(n), b)
		if err := s.PutManifest(t.Context(), raw, m, current); err != nil {
			t.Fatal(err)
		}
		fmt.Println("manifest", n)
		if err := s.PutState(t.Context(), crashState(n)); err != nil {
			t.Fatal(err)
		}
		fmt.Println("state", n)
		current = digest.Sum(raw)
	}
}

// A child is killed at some event, over and over. What it acknowledged is there, whatever it was doing.
func TestStore_SurvivesKill(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	dir := t.TempDir()
	bundle, manifest, state := 0, 0, 0
	rnd := rand.New(rand.NewPCG(3, uint64(rounds)))
	for round := range rounds {
		events := 1 + rnd.IntN(60)
		cmd := startChild(t, "publish", dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(out); lines.Scan(); events-- {
			what, number, _ := strings.Cut(lines.Text(), " ")
			n, _ := strconv.Atoi(number)
			switch what {
			case "bundle":
				bundle = n
			case "manifest":
				manifest = n
			case "state":
				state = n
			}
			if events == 0 { // and read on, up to its last word
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("round %d: the child ended by itself: %v", round, err)
		}
		checkCrashed(t, dir, bundle, manifest, state)
	}
	if bundle < rounds/2 {
		t.Errorf("%d bundles in %d rounds: the test tests nothing", bundle, rounds)
	}
}

func checkCrashed(t *testing.T, dir string, bundle, manifest, state int) {
	t.Helper()
	s, err := store.Open(store.Config{Dir: dir, MinFree: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= bundle; n++ {
		b := crashBundle(t, n)
		storetest.CheckBundle(t, s, b)
		if intent, err := s.Intent(b.ID()); err != nil || string(intent) != "intent" {
			t.Errorf("intent of bundle %d = %q, %v", n, intent, err)
		}
	}
	raw, err := s.Manifest(crashApp, crashChannel)
	switch {
	case err == nil:
		m, err := channel.ParseManifest(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := int(m.Sequence); got < manifest || got > manifest+1 {
			t.Errorf("manifest %d is in force, %d was acknowledged", got, manifest)
		}
		storetest.CheckBundle(t, s, crashBundle(t, int(m.Sequence)))
	case manifest > 0 || !errors.Is(err, store.ErrNotFound):
		t.Errorf("Manifest = %v, %d was acknowledged", err, manifest)
	}
	last, err := s.State("stats/last")
	if err != nil && (state > 0 || !errors.Is(err, store.ErrNotFound)) {
		t.Errorf("State = %v, %d was acknowledged", err, state)
	}
	if n, _ := strconv.Atoi(string(last)); n < state || n > manifest+1 {
		t.Errorf("state %d is there, %d was acknowledged", n, state)
	}
	if again, err := s.State("stats/again"); string(again) != string(last) {
		t.Errorf("one state is %q and the other %q, %v: they were put at once", last, again, err)
	}
	if report, err := s.Verify(t.Context(), nil); err != nil || !report.OK() {
		t.Errorf("Verify = %+v, %v", report, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
