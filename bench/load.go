package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// wrkScript makes wrk print its summary in a form that is easily read. Latencies are in microseconds.
const wrkScript = `done = function(summary, latency, requests)
	io.write(string.format('\n{"seconds":%f,"requests":%d,"bytes":%d,"p50":%f,"p99":%f,"errors":%d}\n',
		summary.duration / 1e6, summary.requests, summary.bytes, latency:percentile(50), latency:percentile(99),
		summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout))
end
`

// turn is what one turn of load has shown.
type turn struct {
	Seconds   float64 `json:"seconds"`
	Requests  int64   `json:"requests"`
	Bytes     int64   `json:"bytes"`
	P50       float64 `json:"p50"` // microseconds
	P99       float64 `json:"p99"`
	Errors    int64   `json:"errors"`
	processor time.Duration
}

func (t turn) rate() float64 { return float64(t.Requests) / t.Seconds }

// load asks one server for one file over and over.
func (s *site) load(ctx context.Context, v *server, file string, connections int, loaders []int) (turn, error) {
	script := filepath.Join(s.dir, "wrk.lua")
	if err := os.WriteFile(script, []byte(wrkScript), 0o644); err != nil {
		return turn{}, err
	}
	threads := max(1, len(loaders))
	name, args := onCores(loaders, "wrk", []string{
		"-t", strconv.Itoa(threads), "-c", strconv.Itoa(connections), "-d", fmt.Sprintf("%ds", s.bench.seconds),
		"-s", script, v.url + "/" + file,
	})
	before := usageOf(v.cmd.Process.Pid)
	raw, err := read(command(ctx, name, args...))
	if err != nil {
		return turn{}, err
	}
	after := usageOf(v.cmd.Process.Pid)
	var t turn
	at := 0
	for i, c := range raw {
		if c == '{' {
			at = i
		}
	}
	if err := json.Unmarshal(raw[at:], &t); err != nil {
		return t, fmt.Errorf("wrk said %q: %w", raw, err)
	}
	if t.Errors > 0 || t.Requests == 0 {
		return t, fmt.Errorf("%s: %d errors in %d requests for %s", v.name, t.Errors, t.Requests, file)
	}
	t.processor = after.processor - before.processor
	return t, nil
}

// believing returns an HTTP client that believes every certificate: those here are made for the run.
func believing() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableCompression: true,
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, // #nosec G402 -- loopback, and keys of this run
	}}
}
