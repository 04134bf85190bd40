package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"brink/bundle"
)

func TestLargest_LeavesOutWhatIsTooLargeAndThenTheSmallest(t *testing.T) {
	files := []bundle.File{{Path: "a", Size: 1}, {Path: "c", Size: 5}, {Path: "b", Size: 5}, {Path: "d", Size: 9}}
	for n, want := range map[int]string{1: "b", 2: "b c", 3: "b c a", 9: "b c a"} {
		var got []string
		for _, f := range largest(files, n, 8) {
			got = append(got, f.Path)
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("the %d largest (-want +got):\n%s", n, diff)
		}
	}
	if files[0].Path != "a" {
		t.Error("the caller's list is in another order now")
	}
}

func TestCapgoGate_CountsUpdatesAndNotWhatDevicesTell(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.WriteString(w, r.Host+strings.Repeat("x", 100-len(r.Host))); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	g, err := openCapgoGate()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.close(); err != nil {
			t.Error(err)
		}
	}()
	at := g.before(server.URL)
	for _, path := range []string{"/capgo/stats", "/capgo/updates", "/capgo/files/abc/js/main.js.br", "/capgo/files/abc/a"} {
		raw, err := fetched(t.Context(), http.MethodGet, at+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host := strings.TrimPrefix(g.url, "http://"); !strings.HasPrefix(string(raw), host) {
			t.Errorf("the server was asked as %.30s, not as %s", raw, host)
		}
	}
	want := capgoCount{requests: 3, files: 2, bytes: 300, answer: 100}
	if got := g.counted(); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	g.reset()
	if got := g.counted(); got != (capgoCount{}) {
		t.Errorf("after it was reset, %+v is counted", got)
	}
}
