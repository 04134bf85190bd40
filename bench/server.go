package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"text/template"
	"time"

	"brink/bench/internal/process"
)

// server is a program that serves the same files as the others.
type server struct {
	name    string
	version string
	url     string // of the folder of the files; without a slash at the end
	cmd     *exec.Cmd
	before  *exec.Cmd // a second program that it needs; may be nil
}

// site is what all servers serve: files in a folder, and the processors that the servers may use.
type site struct {
	bench *bench
	dir   string // work of the servers
	files string
	tls   bool
	cert  string
	key   string
	cores []int // empty: all

	listen string // address; empty: a free one on loopback
	static bool   // whether files have a gzip beside them
}

// address returns where the next server is to listen.
func (s *site) address() (string, error) {
	if s.listen != "" {
		return s.listen, nil
	}
	return free()
}

func (s *site) scheme() string {
	if s.tls {
		return "https"
	}
	return "http"
}

// workers is how many processors a server has.
func (s *site) workers() int {
	if len(s.cores) > 0 {
		return len(s.cores)
	}
	return runtime.NumCPU()
}

// start starts a program on the servers' processors and waits until the address answers.
func (s *site) start(
	ctx context.Context,
	address string,
	env []string,
	name string,
	args ...string,
) (*exec.Cmd, error) {
	log, err := os.Create(filepath.Join(s.dir, filepath.Base(name)+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	program, args := process.Pin(s.cores, name, args)
	cmd := process.Command(ctx, program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := await(ctx, address); err != nil {
		raw, _ := os.ReadFile(log.Name())
		return nil, errors.Join(fmt.Errorf("%s does not answer: %w\n%s", filepath.Base(name), err, raw), process.Stop(cmd))
	}
	return cmd, nil
}

// await returns when something listens at the address. It has to ask again and again: not every program tells.
func await(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// free returns a loopback address that nobody uses now.
func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// write fills in a configuration file.
func (s *site) write(name, text string, values map[string]any) (string, error) {
	path := filepath.Join(s.dir, name)
	out, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer out.Close()
	values["Dir"], values["Files"], values["Workers"] = s.dir, s.files, s.workers()
	values["TLS"], values["Cert"], values["Key"] = s.tls, s.cert, s.key
	return path, template.Must(template.New(name).Parse(text)).Execute(out, values)
}

// nginxConfig is what the handbook advises for static files, without a log of accesses, which no other server here
// writes either, and without a bound on requests per connection, which would make it connect anew where others do not.
const nginxConfig = `daemon off; master_process on; worker_processes {{.Workers}}; pid {{.Dir}}/nginx.pid; user root;
error_log {{.Dir}}/nginx.error.log warn;
events { worker_connections 4096; multi_accept on; }
http {
	access_log off; server_tokens off;
	sendfile on; tcp_nopush on; tcp_nodelay on;
	keepalive_timeout 75s; keepalive_requests 100000000;
	open_file_cache max=10000 inactive=300s; open_file_cache_valid 300s;
	client_body_temp_path {{.Dir}}/nginx.body; proxy_temp_path {{.Dir}}/nginx.proxy;
	fastcgi_temp_path {{.Dir}}/nginx.fastcgi;
	uwsgi_temp_path {{.Dir}}/nginx.uwsgi; scgi_temp_path {{.Dir}}/nginx.scgi;
	types { application/zip zip; text/html html; } default_type application/octet-stream;
	{{if .TLS}}ssl_session_cache shared:s:10m; ssl_protocols TLSv1.3; ssl_buffer_size 16k;{{end}}
	server {
		listen {{.Address}}{{if .TLS}} ssl{{end}} reuseport backlog=4096; root {{.Files}};
		{{if .TLS}}ssl_certificate {{.Cert}}; ssl_certificate_key {{.Key}};{{end}}
		add_header Cache-Control "public, max-age=31536000, immutable"; {{if .Static}}gzip_static on;{{end}}
	}
}
`

func (s *site) nginx(ctx context.Context) (*server, error) {
	address, err := s.address()
	if err != nil {
		return nil, err
	}
	config, err := s.write("nginx.conf", nginxConfig, map[string]any{"Address": address, "Static": s.static})
	if err != nil {
		return nil, err
	}
	cmd, err := s.start(ctx, address, nil, "nginx", "-p", s.dir, "-c", config)
	return &server{
		name:    "nginx",
		version: version(ctx, "nginx", "-v"),
		url:     s.scheme() + "://" + address,
		cmd:     cmd,
	}, err
}

// caddyConfig turns off what needs the internet or a second port.
const caddyConfig = `{
	admin off
	auto_https off
	log {
		level ERROR
	}
}
{{.URL}} {
	{{if .TLS}}tls {{.Cert}} {{.Key}}{{end}}
	root * {{.Files}}
	header Cache-Control "public, max-age=31536000, immutable"
	file_server
}
`

func (s *site) caddy(ctx context.Context) (*server, error) {
	address, err := s.address()
	if err != nil {
		return nil, err
	}
	url := s.scheme() + "://" + address
	config, err := s.write("Caddyfile", caddyConfig, map[string]any{"URL": url})
	if err != nil {
		return nil, err
	}
	cmd, err := s.start(
		ctx,
		address,
		[]string{"HOME=" + s.dir},
		"caddy",
		"run",
		"--config",
		config,
		"--adapter",
		"caddyfile",
	)
	return &server{name: "Caddy", version: version(ctx, "caddy", "version"), url: url, cmd: cmd}, err
}

const varnishConfig = `vcl 4.1;
backend origin { .host = "{{.Host}}"; .port = "{{.Port}}"; }
sub vcl_recv { unset req.http.Cookie; return (hash); }
sub vcl_backend_response { set beresp.ttl = 24h; set beresp.do_stream = false; }
`

// varnish keeps the files in memory; nginx behind it is asked once for each.
func (s *site) varnish(ctx context.Context) (*server, error) {
	origin, err := (&site{bench: s.bench, dir: s.dir, files: s.files, cores: s.cores}).nginxBehind(ctx)
	if err != nil {
		return nil, err
	}
	address, err := s.address()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(origin.url, "http://"))
	if err != nil {
		return nil, err
	}
	config, err := s.write("varnish.vcl", varnishConfig, map[string]any{"Host": host, "Port": port})
	if err != nil {
		return nil, err
	}
	cmd, err := s.start(
		ctx,
		address,
		nil,
		"varnishd",
		"-F",
		"-j",
		"none",
		"-a",
		address,
		"-f",
		config,
		"-s",
		"malloc,512m",
		"-n",
		filepath.Join(s.dir, "varnish"),
		"-p",
		"thread_pools=1",
		"-p",
		"thread_pool_min=200",
		"-t",
		"86400",
	)
	return &server{
		name:    "Varnish",
		version: version(ctx, "varnishd", "-V"),
		url:     "http://" + address,
		cmd:     cmd,
		before:  origin.cmd,
	}, err
}

func (s *site) nginxBehind(ctx context.Context) (*server, error) {
	s.dir = filepath.Join(s.dir, "behind")
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	return s.nginx(ctx)
}

// version returns the number in what a program says of itself.
func version(ctx context.Context, program string, args ...string) string {
	raw, _ := exec.CommandContext(ctx, program, args...).CombinedOutput()
	other := func(r rune) bool { return !strings.ContainsRune("0123456789.", r) }
	for _, word := range strings.FieldsFunc(string(raw), other) {
		if strings.Count(word, ".") == 2 {
			return word
		}
	}
	return "unknown"
}

func (v *server) stop() error {
	err := process.Stop(v.cmd)
	if v.before != nil {
		err = errors.Join(err, process.Stop(v.before))
	}
	return err
}

// warm asks for each file once, and checks its length.
func (v *server) warm(ctx context.Context, client *http.Client, files map[string]int64) error {
	for name, size := range files {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url+"/"+name, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, resp.Body)
		err = errors.Join(err, resp.Body.Close())
		if err != nil || resp.StatusCode != http.StatusOK || n != size {
			return fmt.Errorf("%s answers %s with %s and %d bytes: %w", v.name, name, resp.Status, n, err)
		}
	}
	return nil
}
