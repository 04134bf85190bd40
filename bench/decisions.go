package main

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
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// How many apps and channels decisions are made for, and how many different requests there are: more than fit into
// any cache of the processor.
const (
	decisionApps     = 10_000
	decisionRequests = 20_000
	decisionLoad     = 32 // connections
)

// decisionChannels are the channels of each app.
func decisionChannels() []string {
	return []string{"production", "beta", "staging", "internal", "nightly"}
}

// question is one kind of request for a decision.
type question struct {
	name  string
	list  string // file of requests
	first wanted
	size  int // bytes of the body of the answer to the first
}

// decisions asks a node that holds many apps for decisions, and nginx for as many bytes that it need not think about.
func decisions(ctx context.Context, b *bench) (r *report.Report, err error) {
	if err := process.Require("wrk", "nginx", "taskset"); err != nil {
		return nil, err
	}
	s := &site{bench: b}
	loaders, placement := s.place()
	if s.dir, err = b.memory(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return nil, err
	}
	n, err := s.newNode()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.dir, "data")
	list, err := fillApps(ctx, b, data, n.key)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := s.run(ctx, n, data); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.stop()) }()
	ready, err := untilReady(ctx, n.url, start)
	if err != nil {
		return nil, err
	}
	if err := process.WaitIdle(ctx, n.cmd.Process.Pid); err != nil {
		return nil, err
	}
	r = &report.Report{
		Title: "decisions a second beside nginx",
		How: how.Paragraphs("decisions", report.Number(decisionApps), len(decisionChannels()), report.Number(decisionRequests), decisionLoad,
			b.turns, b.seconds, placement),
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
		if err := q.try(ctx, n.url); err != nil {
			var lacks *report.Skipped
			if errors.As(err, &lacks) {
				fmt.Fprintf(b.status, "decisions: %s: left out: %s\n", q.name, lacks.Why)
				continue
			}
			return nil, err
		}
		ours, peer, err := s.beside(ctx, &n.server, q, loaders)
		if err != nil {
			return nil, err
		}
		slowest := func(t turn) float64 { return t.P99 / 1000 }
		rate, best := report.Median(of(ours, turn.rate)), report.Median(of(peer, turn.rate))
		t.Add(q.name, report.Number(q.size), report.Spread(of(ours, turn.rate), 0), report.Spread(of(ours, slowest), 2),
			report.Spread(of(peer, turn.rate), 0), report.Spread(of(peer, slowest), 2), fmt.Sprintf("%.2f", rate/best))
		p.Groups = append(p.Groups, report.Group{Name: q.name, Values: []float64{rate, best}})
		r.Aims = append(r.Aims, report.Aim{What: q.name, Want: "0.7 × nginx", Got: fmt.Sprintf("%.2f ×", rate/best), Met: rate >= 0.7*best})
	}
	load := report.Table{Title: "The node that decided", Head: []string{"apps", "channels", "ready after", "resident at most"}}
	load.Add(report.Number(decisionApps), report.Number(decisionApps*len(decisionChannels())),
		fmt.Sprintf("%.1f s", ready.Seconds()), report.MiB(process.UsageOf(n.cmd.Process.Pid).Peak))
	r.Tables, r.Plots = []report.Table{t, load}, []report.Plot{p}
	return r, nil
}

// asked is a channel, and what was stated of it last.
type asked struct {
	app, channel string
	statement    digest.Digest
	old, next    channel.Release
}

// fillApps makes the apps with their channels, each of which serves the second of two releases.
func fillApps(ctx context.Context, b *bench, data string, key channel.PrivateKey) (list []asked, err error) {
	k, err := openStock(data, key)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	old, err := k.bundle(ctx, "1.0.0", smallFiles(1))
	if err != nil {
		return nil, err
	}
	next, err := k.bundle(ctx, "1.1.0", smallFiles(2))
	if err != nil {
		return nil, err
	}
	for i := range decisionApps {
		if i%1000 == 0 {
			fmt.Fprintf(b.status, "decisions: %d of %d apps\n", i, decisionApps)
		}
		for _, name := range decisionChannels() {
			app := fmt.Sprintf("com.example.app%05d", i)
			m, err := k.channel(ctx, app, name, old, next)
			if err != nil {
				return nil, err
			}
			list = append(list, asked{app, name, m.Statement(), old, next})
		}
	}
	dice := rand.New(rand.NewPCG(1, 2))
	dice.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:decisionRequests], nil
}

// questions are what devices ask, each by a list of requests.
func (s *site) questions(list []asked) ([]*question, error) {
	device := func(a asked, runs channel.Release) protocol.Device {
		return protocol.Device{
			ID: "device-" + a.app, Platform: channel.Android, Native: "3.2.1", Version: runs.Version, Bundle: runs.Bundle,
		}
	}
	kinds := []struct {
		name string
		ask  func(asked) (path string, body any)
	}{
		{"check, nothing new", func(a asked) (string, any) {
			return protocol.CheckPath(a.app), protocol.CheckRequest{
				Channel: a.channel, Seen: a.statement, Device: device(a, a.next),
			}
		}},
		{"check, an update", func(a asked) (string, any) {
			return protocol.CheckPath(a.app), protocol.CheckRequest{Channel: a.channel, Device: device(a, a.old)}
		}},
		{"Capgo, nothing new", func(a asked) (string, any) { return capgoPath, capgoRequest(a, a.next.Version) }},
		{"Capgo, an update", func(a asked) (string, any) { return capgoPath, capgoRequest(a, a.old.Version) }},
	}
	var questions []*question
	for i, kind := range kinds {
		q := &question{name: kind.name, list: filepath.Join(s.dir, fmt.Sprintf("requests-%d", i))}
		requests := make([]wanted, len(list))
		for i, a := range list {
			path, body := kind.ask(a)
			raw, err := json.Marshal(body)
			if err != nil {
				return nil, err
			}
			requests[i] = wanted{http.MethodPost, path, string(raw)}
		}
		q.first = requests[0]
		if err := writeRequests(q.list, requests); err != nil {
			return nil, err
		}
		questions = append(questions, q)
	}
	return questions, nil
}

// capgoPath is where a node answers devices with Capgo's plugin.
const capgoPath = "/capgo/updates"

// capgoRequest is what Capgo's plugin sends on an Android device that runs a version.
func capgoRequest(a asked, version string) map[string]any {
	return map[string]any{
		"app_id": a.app, "device_id": "00009a6b-eefe-490a-9c60-8e965132ae51", "platform": "android", "version_os": "15",
		"plugin_version": "8.51.23", "version_build": "3.2.1", "version_code": "1", "version_name": version, "custom_id": "",
		"is_prod": true, "is_emulator": false, "defaultChannel": a.channel, "install_source": "google_play",
	}
}

// try asks once, and remembers how long the answer is.
func (q *question) try(ctx context.Context, node string) error {
	req, err := http.NewRequestWithContext(ctx, q.first.method, node+q.first.path, strings.NewReader(q.first.body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := believing().Do(req)
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

// fixedConfig has nginx answer every request with the same bytes.
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

// beside loads the node with the question, and nginx with the same requests, in turns.
func (s *site) beside(ctx context.Context, n *server, q *question, loaders []int) (ours, peer []turn, err error) {
	address, err := s.address()
	if err != nil {
		return nil, nil, err
	}
	body := `{"x":"` + strings.Repeat("x", max(0, q.size-8)) + `"}`
	config, err := s.write("nginx.conf", fixedConfig, map[string]any{"Address": address, "Body": body})
	if err != nil {
		return nil, nil, err
	}
	cmd, err := s.start(ctx, address, nil, "nginx", "-p", s.dir, "-c", config)
	if err != nil {
		return nil, nil, err
	}
	nginx := &server{name: "nginx", url: "http://" + address, cmd: cmd}
	defer func() { err = errors.Join(err, nginx.stop()) }()
	for range s.bench.turns {
		one, err := s.loadList(ctx, n, q.list, decisionLoad, loaders)
		if err != nil {
			return nil, nil, err
		}
		other, err := s.loadList(ctx, nginx, q.list, decisionLoad, loaders)
		if err != nil {
			return nil, nil, err
		}
		ours, peer = append(ours, one), append(peer, other)
	}
	return ours, peer, nil
}

// untilReady waits until a node says that it is ready, and returns how long that is after start. It has to ask again
// and again, as whatever stands before a node does.
func untilReady(ctx context.Context, node string, start time.Time) (time.Duration, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, node+"/readyz", nil)
		if err != nil {
			return 0, err
		}
		resp, err := believing().Do(req)
		if err == nil {
			err = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return time.Since(start), err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
