package capgo

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"brink/bench/internal/testbed"
)

// staticServer is nginx with static files, one of which is the response to every check: the simplest way to serve one
// release to Capgo's plugin by hand.
type staticServer struct {
	testbed.Server

	files string
}

// staticConfig responds to POST with a file. nginx can do that only by redirecting its own error 405.
const staticConfig = `daemon off; master_process on; worker_processes {{.Workers}}; pid {{.Dir}}/hand.pid; user root;
error_log {{.Dir}}/hand.error.log warn;
events { worker_connections 4096; multi_accept on; }
http {
	access_log off; server_tokens off; sendfile on; tcp_nopush on; tcp_nodelay on;
	keepalive_timeout 75s; keepalive_requests 100000000;
	client_body_temp_path {{.Dir}}/hand.body; proxy_temp_path {{.Dir}}/hand.proxy;
	fastcgi_temp_path {{.Dir}}/hand.fastcgi; uwsgi_temp_path {{.Dir}}/hand.uwsgi; scgi_temp_path {{.Dir}}/hand.scgi;
	types { application/zip zip; } default_type application/octet-stream;
	server {
		listen {{.Address}} backlog=4096; root {{.Hand}};
		add_header Cache-Control "public, max-age=31536000, immutable";
		location = /capgo/updates { default_type application/json; gzip_static on; error_page 405 =200 $uri; }
		location = /capgo/stats { default_type application/json; return 200 '{"status":"ok"}'; }
	}
}
`

// startStatic starts nginx without files.
func startStatic(ctx context.Context, s *testbed.Testbed) (*staticServer, error) {
	address, err := testbed.FreeAddress()
	if err != nil {
		return nil, err
	}
	h := &staticServer{files: filepath.Join(s.Dir, "hand")}
	if err := os.MkdirAll(filepath.Join(h.files, "capgo"), 0o755); err != nil {
		return nil, err
	}
	config, err := s.WriteConfig("hand.conf", staticConfig, map[string]any{"Address": address, "Hand": h.files})
	if err != nil {
		return nil, err
	}
	h.Name, h.URL = "nginx", "http://"+address
	h.Cmd, err = s.StartProgram(ctx, address, nil, "nginx", "-p", s.Dir, "-c", config)
	return h, err
}

// checkResponse is what is used of the response to a check: where the release is.
type checkResponse struct {
	URL      string `json:"url"`
	Manifest []struct {
		Name string `json:"file_name"`
		URL  string `json:"download_url"`
	} `json:"manifest"`
}

// mirror copies what the node serves to the devices of a channel: its response to the check of a new device, with base
// instead of the node's address, and the files that the response names.
func (h *staticServer) mirror(ctx context.Context, node, follows, base string) error {
	request := testbed.CapgoRequest(testbed.App, follows, "builtin")
	request["version_build"] = nativeVersion
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	raw, err := fetch(ctx, http.MethodPost, node+testbed.CapgoPath, body)
	if err != nil {
		return err
	}
	var a checkResponse
	if err := json.Unmarshal(raw, &a); err != nil {
		return err
	}
	if a.URL == "" {
		return fmt.Errorf("the node has nothing for a new device: %.200s", raw)
	}
	urls := []string{a.URL}
	if len(a.Manifest) > 0 {
		urls, err = urls[:0], errors.New("none of the files has a brotli")
		for _, f := range a.Manifest {
			urls = append(urls, f.URL)
			if strings.HasSuffix(f.Name, ".br") {
				err = nil
			}
		}
	}
	if err != nil {
		return err
	}
	for _, from := range urls {
		if err := h.copyFile(ctx, from); err != nil {
			return err
		}
	}
	raw = bytes.ReplaceAll(raw, []byte(node), []byte(base))
	var small bytes.Buffer
	packer := gzip.NewWriter(&small)
	if _, err := packer.Write(raw); err != nil {
		return err
	}
	if err := packer.Close(); err != nil {
		return err
	}
	at := filepath.Join(h.files, filepath.FromSlash(testbed.CapgoPath))
	return errors.Join(os.WriteFile(at, raw, 0o644), os.WriteFile(at+".gz", small.Bytes(), 0o644))
}

// copyFile fetches a file, unless it was fetched before.
func (h *staticServer) copyFile(ctx context.Context, from string) error {
	u, err := url.Parse(from)
	if err != nil {
		return err
	}
	at := filepath.Join(h.files, filepath.FromSlash(path.Clean("/"+u.Path)))
	if _, err := os.Stat(at); err == nil {
		return nil
	}
	raw, err := fetch(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, raw, 0o644))
}

// errNotFound is the error of [fetch] for status 404.
var errNotFound = errors.New("not found")

// fetch sends a request and returns the body of the response, whose status must be 200.
func fetch(ctx context.Context, method, from string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, from, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := testbed.NewClient().Do(req)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%s: %w", from, errNotFound)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.200s", from, resp.Status, raw)
	}
	return raw, nil
}
