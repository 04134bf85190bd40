// Package decisions measures what a decision costs a node, beside nginx that sends the same number of fixed bytes.
//
// The life of one call: [Measure] fills a store with tens of thousands of channels, starts a node on it, and loads it
// with each kind of question in turns with nginx.
//
// The invariant: nginx gets the same requests as the node, and its responses have bodies of the same size.
package decisions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"brink/bench/how"
	"brink/bench/internal/process"
	"brink/bench/internal/report"
	"brink/bench/internal/testbed"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// How many apps decisions are made for, and how many different requests there are: more than fit into any cache of the
// processor.
const (
	appCount     = 10_000
	requestCount = 20_000
	connections  = 32 // of the load
)

// channels returns the channels of each app.
func channels() []string {
	return []string{"production", "beta", "staging", "internal", "nightly"}
}

// question is one kind of check.
type question struct {
	name  string
	list  string // file of requests
	first testbed.Request
	size  int // bytes of the body of the response to the first
}

// bench is one run of the part.
type bench struct {
	testbed.Testbed

	loaders []int // processors of the load; empty: all
}

// Measure runs the part.
func Measure(ctx context.Context, b *testbed.Run) (r *report.Report, err error) {
	if err := process.Require("wrk", "nginx", "taskset"); err != nil {
		return nil, err
	}
	s := &bench{Testbed: testbed.Testbed{Run: b}}
	var placement string
	s.loaders, placement = s.Place()
	if s.Dir, err = b.MemoryDir(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.Dir)) }()
	if err := os.Chmod(s.Dir, 0o755); err != nil {
		return nil, err
	}
	n, err := s.NewNode()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.Dir, "data")
	list, err := addApps(ctx, b, data, n.Key)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := s.StartNode(ctx, n, data); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.Stop()) }()
	ready, err := n.WaitReady(ctx, start)
	if err != nil {
		return nil, err
	}
	if err := process.WaitIdle(ctx, n.PID()); err != nil {
		return nil, err
	}
	r = &report.Report{
		Title: "decisions a second beside nginx",
		How: how.Paragraphs("decisions", report.Number(appCount), len(channels()), report.Number(requestCount), connections,
			b.Turns, b.Seconds, placement),
	}
	t := report.Table{
		Title: "Decisions a second, without TLS",
		Head:  []string{"what", "answer bytes", "Brink /s", "p99 ms", "nginx /s", "p99 ms", "Brink / nginx"},
	}
	p := report.Plot{Name: "decisions", Title: "Decisions a second", Unit: "/s", Series: []string{"Brink", "nginx"}}
	questions, err := s.questions(list)
	if err != nil {
		return nil, err
	}
	for _, q := range questions {
		if err := q.probe(ctx, n.URL); err != nil {
			var lacks *report.Skipped
			if errors.As(err, &lacks) {
				fmt.Fprintf(b.Status, "decisions: %s: left out: %s\n", q.name, lacks.Why)
				continue
			}
			return nil, err
		}
		ours, peer, err := s.compare(ctx, &n.Server, q)
		if err != nil {
			return nil, err
		}
		rate, best := report.Median(ours.Rates()), report.Median(peer.Rates())
		t.Add(q.name, report.Number(q.size), report.Spread(ours.Rates(), 0), report.Spread(ours.P99s(), 2),
			report.Spread(peer.Rates(), 0), report.Spread(peer.P99s(), 2), fmt.Sprintf("%.2f", rate/best))
		p.Groups = append(p.Groups, report.Group{Name: q.name, Values: []float64{rate, best}})
		r.Aims = append(r.Aims, report.Aim{
			What: q.name, Want: "0.7 × nginx", Got: fmt.Sprintf("%.2f ×", rate/best), Met: rate >= 0.7*best,
		})
	}
	load := report.Table{
		Title: "The node that decided",
		Head:  []string{"apps", "channels", "ready after", "resident at most"},
	}
	load.Add(report.Number(appCount), report.Number(appCount*len(channels())),
		fmt.Sprintf("%.1f s", ready.Seconds()), report.MiB(process.UsageOf(n.PID()).Peak))
	r.Tables, r.Plots = []report.Table{t, load}, []report.Plot{p}
	return r, nil
}

// target is a channel with its last statement and its two releases.
type target struct {
	app, channel string
	statement    digest.Digest
	old, next    channel.Release
}

// addApps adds the apps with their channels, each of which serves the second of two releases, and returns some of them
// in random order.
func addApps(ctx context.Context, b *testbed.Run, data string, key channel.PrivateKey) (list []target, err error) {
	k, err := testbed.OpenStock(data, key)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	old, err := k.AddBundle(ctx, "1.0.0", testbed.SmallFiles(1))
	if err != nil {
		return nil, err
	}
	next, err := k.AddBundle(ctx, "1.1.0", testbed.SmallFiles(2))
	if err != nil {
		return nil, err
	}
	for i := range appCount {
		if i%1000 == 0 {
			fmt.Fprintf(b.Status, "decisions: %d of %d apps\n", i, appCount)
		}
		for _, name := range channels() {
			app := fmt.Sprintf("com.example.app%05d", i)
			m, err := k.AddChannel(ctx, app, name, old, next)
			if err != nil {
				return nil, err
			}
			list = append(list, target{app, name, m.Statement(), old, next})
		}
	}
	dice := rand.New(rand.NewPCG(1, 2))
	dice.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:requestCount], nil
}

// questions returns the kinds of checks, each with a list of requests for the targets.
func (s *bench) questions(list []target) ([]*question, error) {
	device := func(a target, runs channel.Release) protocol.Device {
		return protocol.Device{
			ID: "device-" + a.app, Platform: channel.Android, Native: "3.2.1", Version: runs.Version, Bundle: runs.Bundle,
		}
	}
	kinds := []struct {
		name string
		ask  func(target) (path string, body any)
	}{
		{"check, nothing new", func(a target) (string, any) {
			return protocol.CheckPath(a.app), protocol.CheckRequest{
				Channel: a.channel, Seen: a.statement, Device: device(a, a.next),
			}
		}},
		{"check, an update", func(a target) (string, any) {
			return protocol.CheckPath(a.app), protocol.CheckRequest{Channel: a.channel, Device: device(a, a.old)}
		}},
		{"Capgo, nothing new", func(a target) (string, any) {
			return testbed.CapgoPath, testbed.CapgoRequest(a.app, a.channel, a.next.Version)
		}},
		{"Capgo, an update", func(a target) (string, any) {
			return testbed.CapgoPath, testbed.CapgoRequest(a.app, a.channel, a.old.Version)
		}},
	}
	var questions []*question
	for i, kind := range kinds {
		q := &question{name: kind.name, list: filepath.Join(s.Dir, fmt.Sprintf("requests-%d", i))}
		requests := make([]testbed.Request, len(list))
		for i, a := range list {
			path, body := kind.ask(a)
			raw, err := json.Marshal(body)
			if err != nil {
				return nil, err
			}
			requests[i] = testbed.Request{Method: http.MethodPost, Path: path, Body: string(raw)}
		}
		q.first = requests[0]
		if err := testbed.WriteRequests(q.list, requests); err != nil {
			return nil, err
		}
		questions = append(questions, q)
	}
	return questions, nil
}

// probe sends the first request, and sets the size of the response. Any status but 200 is a [*report.Skipped].
func (q *question) probe(ctx context.Context, node string) error {
	req, err := http.NewRequestWithContext(ctx, q.first.Method, node+q.first.Path, strings.NewReader(q.first.Body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := testbed.NewClient().Do(req)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return &report.Skipped{Why: fmt.Sprintf("the node answers %s: %.200s", resp.Status, raw)}
	}
	q.size = len(raw)
	return nil
}

// fixedConfig makes nginx answer every request with the same bytes.
const fixedConfig = `daemon off; master_process on; worker_processes {{.Workers}}; pid {{.Dir}}/nginx.pid; user root;
error_log {{.Dir}}/nginx.error.log warn;
events { worker_connections 4096; multi_accept on; }
http {
	access_log off; server_tokens off; tcp_nodelay on;
	keepalive_timeout 75s; keepalive_requests 100000000;
	client_body_temp_path {{.Dir}}/nginx.body; proxy_temp_path {{.Dir}}/nginx.proxy;
	fastcgi_temp_path {{.Dir}}/nginx.fastcgi;
	uwsgi_temp_path {{.Dir}}/nginx.uwsgi; scgi_temp_path {{.Dir}}/nginx.scgi;
	server {
		listen {{.Address}} reuseport backlog=4096;
		default_type application/json; add_header Cache-Control no-store;
		location / { return 200 '{{.Body}}'; }
	}
}
`

// compare loads the node and nginx with the requests of a question, in turns.
func (s *bench) compare(ctx context.Context, n *testbed.Server, q *question) (ours, peer testbed.Turns, err error) {
	address, err := s.Address()
	if err != nil {
		return nil, nil, err
	}
	body := `{"x":"` + strings.Repeat("x", max(0, q.size-8)) + `"}`
	config, err := s.WriteConfig("nginx.conf", fixedConfig, map[string]any{"Address": address, "Body": body})
	if err != nil {
		return nil, nil, err
	}
	cmd, err := s.StartProgram(ctx, address, nil, "nginx", "-p", s.Dir, "-c", config)
	if err != nil {
		return nil, nil, err
	}
	nginx := &testbed.Server{Name: "nginx", URL: "http://" + address, Cmd: cmd}
	defer func() { err = errors.Join(err, nginx.Stop()) }()
	for range s.Run.Turns {
		one, err := s.LoadList(ctx, n, q.list, connections, s.loaders)
		if err != nil {
			return nil, nil, err
		}
		other, err := s.LoadList(ctx, nginx, q.list, connections, s.loaders)
		if err != nil {
			return nil, nil, err
		}
		ours, peer = append(ours, one), append(peer, other)
	}
	return ours, peer, nil
}
