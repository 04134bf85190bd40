package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brink/node"
	"brink/protocol"
)

// health is the output of brink health.
type health struct {
	URL     string   `json:"url"`
	OK      bool     `json:"ok"`
	Reasons []string `json:"reasons,omitempty"` // why it is not ready, or warnings
}

func healthCommand(sh *shell) *cobra.Command {
	var url, listen, admin, cert string
	var ready bool
	var timeout time.Duration
	cmd := verb("health", "Check whether a node is alive",
		`It is for health checks of containers and supervisors, so that an image needs no other program. Without --url it
uses the settings of serve: the address of --admin if it is set, of --listen otherwise. The exit code is 0 for a
healthy node, and 6 otherwise.`,
		`
  brink health
  brink health --url http://127.0.0.1:8080 --ready`,
		func(cmd *cobra.Command, _ []string) error {
			if url == "" {
				url = ownURL(listen, admin, cert != "")
			}
			if err := checkNodes(cmd, url); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			result, err := askHealth(ctx, strings.TrimRight(url, "/"), ready)
			if err != nil {
				return err
			}
			return sh.show(result, func(w io.Writer) {
				fmt.Fprintf(w, "%s is healthy\n", url)
				for _, reason := range result.Reasons {
					fmt.Fprintf(w, "  warning: %s\n", reason)
				}
			})
		})
	flags := cmd.Flags()
	flags.StringVar(&url, "url", "", "`URL` of the node")
	flags.StringVar(&listen, "listen", node.DefaultListen, "`ADDRESS` of the node (serve --listen)")
	flags.StringVar(&admin, "admin", "", "private `ADDRESS` of the node (serve --admin)")
	flags.StringVar(&cert, "tls-cert", "", "`FILE` of the certificate (serve --tls-cert): if set, use TLS for --listen")
	flags.BoolVar(&ready, "ready", false, "check whether it is ready to serve, not only whether it is alive")
	flags.DurationVar(&timeout, "timeout", 3*time.Second, "how long to wait for the answer")
	sh.printsJSON(cmd)
	return cmd
}

// ownURL returns the URL of a node on this machine with these settings.
func ownURL(listen, admin string, secure bool) string {
	scheme, address := "http", listen
	if admin != "" {
		address = admin
	} else if secure {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return scheme + "://" + address // for checkNodes to refuse
	}
	switch ip := net.ParseIP(host); {
	case host == "":
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// askHealth checks a node. It returns an error if the node is not healthy or cannot be reached.
func askHealth(ctx context.Context, url string, ready bool) (health, error) {
	path := "/livez"
	if ready {
		path = "/readyz"
	}
	transport := ownTransport()
	defer transport.CloseIdleConnections()
	// The certificate has the public name of the node, and the request goes to an address of this machine. Neither the
	// request nor the response is confidential.
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	resp, err := call(ctx, clientOf(transport), http.MethodGet, url+path, nil)
	if err != nil {
		return health{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, protocol.MaxProblem))
	if err != nil {
		return health{}, err
	}
	var answer node.Readiness
	if err := json.Unmarshal(raw, &answer); err != nil {
		return health{}, protocol.ReadProblem(resp.StatusCode, raw)
	}
	if resp.StatusCode != http.StatusOK {
		return health{}, &unwellError{url: url, reasons: answer.Reasons}
	}
	return health{URL: url, OK: true, Reasons: answer.Reasons}, nil
}

// unwellError is the error for a node that answers that it is not ready.
type unwellError struct {
	url     string
	reasons []string
}

func (e *unwellError) Error() string {
	return fmt.Sprintf("%s is not ready: %s", e.url, strings.Join(e.reasons, ", "))
}

// isUnwell reports whether err says that a node is not ready.
func isUnwell(err error) bool {
	_, unwell := errors.AsType[*unwellError](err)
	return unwell
}
