package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"brink/bench/internal/process"
)

// wrkScript makes wrk print its summary as JSON. Latencies are in microseconds.
const wrkScript = `done = function(summary, latency, requests)
	io.write(string.format('\n{"seconds":%f,"requests":%d,"bytes":%d,"p50":%f,"p99":%f,"errors":%d}\n',
		summary.duration / 1e6, summary.requests, summary.bytes, latency:percentile(50), latency:percentile(99),
		summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout))
end
`

// Turn is the result of one turn of load.
type Turn struct {
	Seconds   float64       `json:"seconds"`
	Requests  int64         `json:"requests"`
	Bytes     int64         `json:"bytes"`
	P50       float64       `json:"p50"` // microseconds
	P99       float64       `json:"p99"`
	Errors    int64         `json:"errors"`
	Processor time.Duration `json:"-"` // that the server used
}

// Turns are the turns of one server with one load.
type Turns []Turn

// Rates returns the requests a second of each turn.
func (t Turns) Rates() []float64 {
	return t.each(func(one Turn) float64 { return float64(one.Requests) / one.Seconds })
}

// P50s returns the median latency of each turn in milliseconds.
func (t Turns) P50s() []float64 { return t.each(func(one Turn) float64 { return one.P50 / 1000 }) }

// P99s returns the 99th percentile of the latency of each turn in milliseconds.
func (t Turns) P99s() []float64 { return t.each(func(one Turn) float64 { return one.P99 / 1000 }) }

func (t Turns) each(value func(Turn) float64) []float64 {
	list := make([]float64, len(t))
	for i, one := range t {
		list[i] = value(one)
	}
	return list
}

// Load requests one file of a server for one turn, over all connections. loaders are the processors of the load.
func (b *Testbed) Load(ctx context.Context, v *Server, file string, connections int, loaders []int) (Turn, error) {
	t, err := b.wrk(ctx, v, connections, loaders, wrkScript, v.URL+"/"+file)
	if err != nil {
		return t, fmt.Errorf("%s, %s: %w", v.Name, file, err)
	}
	return t, nil
}

// LoadList makes the requests of a list ([WriteRequests]) in their order, again and again for one turn.
func (b *Testbed) LoadList(ctx context.Context, v *Server, list string, connections int, loaders []int) (Turn, error) {
	t, err := b.wrk(ctx, v, connections, loaders, wrkScript+wrkList, v.URL, "--", list)
	if err != nil {
		return t, fmt.Errorf("%s, %s: %w", v.Name, filepath.Base(list), err)
	}
	return t, nil
}

// wrkList makes wrk send the requests of a file: method, path and body on each line, separated by spaces.
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

// Request is one request of a list.
type Request struct{ Method, Path, Body string }

// WriteRequests writes a list of requests for [Testbed.LoadList] to a file.
func WriteRequests(path string, list []Request) error {
	var text strings.Builder
	for _, w := range list {
		fmt.Fprintf(&text, "%s %s %s\n", w.Method, w.Path, w.Body)
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}

// wrk loads a server for one turn. A response that is not successful is an error.
func (b *Testbed) wrk(
	ctx context.Context,
	v *Server,
	connections int,
	loaders []int,
	lua string,
	target ...string,
) (Turn, error) {
	script := filepath.Join(b.Dir, "wrk.lua")
	if err := os.WriteFile(script, []byte(lua), 0o644); err != nil {
		return Turn{}, err
	}
	threads := min(max(1, len(loaders)), connections)
	name, args := process.Pin(loaders, "wrk", append([]string{
		"-t", strconv.Itoa(threads), "-c", strconv.Itoa(connections), "-d", fmt.Sprintf("%ds", b.Run.Seconds),
		"-s", script,
	}, target...))
	before := process.UsageOf(v.PID())
	raw, err := process.Output(process.Command(ctx, name, args...))
	if err != nil {
		return Turn{}, err
	}
	after := process.UsageOf(v.PID())
	var t Turn
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
	t.Processor = after.Processor - before.Processor
	return t, nil
}
