package e2e_test

import (
	"io"
	"net/http"
	"testing"
)

// get asks once, on a connection of its own.
func get(t *testing.T, url string) (body string, status int) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	return string(raw), resp.StatusCode
}
