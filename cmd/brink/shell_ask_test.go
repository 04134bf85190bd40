package main

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// TestAsk_FollowsNoRedirectElsewhere: what an operator or publisher asks a node is for that node.
func TestAsk_FollowsNoRedirectElsewhere(t *testing.T) {
	var reached atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer other.Close()
	node := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer node.Close()
	if _, err := ask(t.Context(), node.URL, "/", 1<<10); err == nil {
		t.Error("ask took the answer of another host")
	}
	if _, err := askHealth(t.Context(), node.URL, true); err == nil {
		t.Error("health took the answer of another host")
	}
	if reached.Load() != 0 {
		t.Errorf("%d requests reached another host", reached.Load())
	}
}
