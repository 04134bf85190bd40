package testbed

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
)

// WriteConfig writes a configuration file to the testbed's folder from a template, and returns its path.
func (b *Testbed) WriteConfig(name, text string, values map[string]any) (string, error) {
	path := filepath.Join(b.Dir, name)
	out, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer out.Close()
	values["Dir"], values["Files"], values["Workers"] = b.Dir, b.Files, b.workers()
	values["TLS"], values["Cert"], values["Key"] = b.TLS, b.Cert, b.Key
	return path, template.Must(template.New(name).Parse(text)).Execute(out, values)
}

// nginxConfig is what nginx's documentation advises for static files, without an access log, which no other server here
// writes either, and without its limit on requests per connection, which others do not have.
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

// Nginx starts nginx on the files.
func (b *Testbed) Nginx(ctx context.Context) (*Server, error) {
	address, err := b.Address()
	if err != nil {
		return nil, err
	}
	config, err := b.WriteConfig("nginx.conf", nginxConfig, map[string]any{"Address": address, "Static": b.Static})
	if err != nil {
		return nil, err
	}
	cmd, err := b.StartProgram(ctx, address, nil, "nginx", "-p", b.Dir, "-c", config)
	return &Server{
		Name:    "nginx",
		Version: version(ctx, "nginx", "-v"),
		URL:     b.scheme() + "://" + address,
		Cmd:     cmd,
	}, err
}

// caddyConfig disables what needs the internet or a second port.
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

// Caddy starts Caddy on the files.
func (b *Testbed) Caddy(ctx context.Context) (*Server, error) {
	address, err := b.Address()
	if err != nil {
		return nil, err
	}
	url := b.scheme() + "://" + address
	config, err := b.WriteConfig("Caddyfile", caddyConfig, map[string]any{"URL": url})
	if err != nil {
		return nil, err
	}
	cmd, err := b.StartProgram(
		ctx,
		address,
		[]string{"HOME=" + b.Dir},
		"caddy",
		"run",
		"--config",
		config,
		"--adapter",
		"caddyfile",
	)
	return &Server{Name: "Caddy", Version: version(ctx, "caddy", "version"), URL: url, Cmd: cmd}, err
}

const varnishConfig = `vcl 4.1;
backend origin { .host = "{{.Host}}"; .port = "{{.Port}}"; }
sub vcl_recv { unset req.http.Cookie; return (hash); }
sub vcl_backend_response { set beresp.ttl = 24h; set beresp.do_stream = false; }
`

// Varnish starts Varnish, which keeps the files in memory, and nginx behind it, which sends it each file once.
func (b *Testbed) Varnish(ctx context.Context) (*Server, error) {
	origin, err := (&Testbed{Run: b.Run, Dir: b.Dir, Files: b.Files, Cores: b.Cores}).nginxBehind(ctx)
	if err != nil {
		return nil, err
	}
	address, err := b.Address()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(origin.URL, "http://"))
	if err != nil {
		return nil, err
	}
	config, err := b.WriteConfig("varnish.vcl", varnishConfig, map[string]any{"Host": host, "Port": port})
	if err != nil {
		return nil, err
	}
	cmd, err := b.StartProgram(
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
		filepath.Join(b.Dir, "varnish"),
		"-p",
		"thread_pools=1",
		"-p",
		"thread_pool_min=200",
		"-t",
		"86400",
	)
	return &Server{
		Name:    "Varnish",
		Version: version(ctx, "varnishd", "-V"),
		URL:     "http://" + address,
		Cmd:     cmd,
		origin:  origin.Cmd,
	}, err
}

// nginxBehind starts nginx with a folder of its own.
func (b *Testbed) nginxBehind(ctx context.Context) (*Server, error) {
	b.Dir = filepath.Join(b.Dir, "behind")
	if err := os.MkdirAll(b.Dir, 0o755); err != nil {
		return nil, err
	}
	return b.Nginx(ctx)
}

// version returns the version number in the output of a program.
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
