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
	"strings"
	"time"

	"brink/bench/internal/process"
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
	t, err := s.wrk(ctx, v, connections, loaders, wrkScript, v.url+"/"+file)
	if err != nil {
		return t, fmt.Errorf("%s, %s: %w", v.name, file, err)
	}
	return t, nil
}

// loadList makes the requests of a file over and over, in their order: see [writeRequests].
func (s *site) loadList(ctx context.Context, v *server, list string, connections int, loaders []int) (turn, error) {
	t, err := s.wrk(ctx, v, connections, loaders, wrkScript+wrkList, v.url, "--", list)
	if err != nil {
		return t, fmt.Errorf("%s, %s: %w", v.name, filepath.Base(list), err)
	}
	return t, nil
}

// wrkList has wrk make the requests of a file: method, path and body on each line, parted by spaces.
const wrkList = `local list, at = {}, 0
function init(args)
	for line in io.lines(args[1]) do
		local method, path, body = line:match("^(%S+) (%S+) ?(.*)$")
		if body == "" then body = nil end
		list[#list + 1] = wrk.format(method, path, {["Content-Type"] = "application/json", Host = wrk.headers["Host"]}, body)
	end
end
function request()
	at = at % #list + 1
	return list[at]
end
`

// wanted is one request of a list.
type wanted struct{ method, path, body string }

// writeRequests writes a list of requests for [site.loadList].
func writeRequests(path string, list []wanted) error {
	var text strings.Builder
	for _, w := range list {
		fmt.Fprintf(&text, "%s %s %s\n", w.method, w.path, w.body)
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}

// wrk loads a server, and returns what wrk and the kernel say of it. An answer that says no is an error.
func (s *site) wrk(
	ctx context.Context,
	v *server,
	connections int,
	loaders []int,
	lua string,
	target ...string,
) (turn, error) {
	script := filepath.Join(s.dir, "wrk.lua")
	if err := os.WriteFile(script, []byte(lua), 0o644); err != nil {
		return turn{}, err
	}
	threads := min(max(1, len(loaders)), connections)
	name, args := process.Pin(loaders, "wrk", append([]string{
		"-t", strconv.Itoa(threads), "-c", strconv.Itoa(connections), "-d", fmt.Sprintf("%ds", s.bench.seconds),
		"-s", script,
	}, target...))
	before := process.UsageOf(v.cmd.Process.Pid)
	raw, err := process.Output(process.Command(ctx, name, args...))
	if err != nil {
		return turn{}, err
	}
	after := process.UsageOf(v.cmd.Process.Pid)
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
		return t, fmt.Errorf("%d errors in %d requests", t.Errors, t.Requests)
	}
	t.processor = after.Processor - before.Processor
	return t, nil
}

// believing returns an HTTP client that believes every certificate: those here are made for the run.
func believing() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableCompression: true,
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, // #nosec G402 -- loopback, and keys of this run
	}}
}
