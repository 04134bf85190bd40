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

// health is what brink health prints.
type health struct {
	URL     string   `json:"url"`
	OK      bool     `json:"ok"`
	Reasons []string `json:"reasons,omitempty"` // why not, or what is amiss
}

func healthCommand(sh *shell) *cobra.Command {
	var url, listen, admin, cert string
	var ready bool
	var timeout time.Duration
	cmd := verb("health", "Ask a node whether it lives",
		`For health checks of containers and supervisors, which need no other program in the image. Without --url it asks
where the settings of serve say that the node is: --admin if there is one, --listen otherwise. The exit code is 0 for
yes and 6 for no.`,
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
				fmt.Fprintf(w, "%s is well\n", url)
				for _, reason := range result.Reasons {
					fmt.Fprintf(w, "  but: %s\n", reason)
				}
			})
		})
	flags := cmd.Flags()
	flags.StringVar(&url, "url", "", "`URL` of the node")
	flags.StringVar(&listen, "listen", node.DefaultListen, "`ADDRESS` of the node, as serve has it")
	flags.StringVar(&admin, "admin", "", "private `ADDRESS` of the node, as serve has it")
	flags.StringVar(&cert, "tls-cert", "", "`FILE` of the certificate, as serve has it: if set, --listen is asked by TLS")
	flags.BoolVar(&ready, "ready", false, "ask whether it is ready to serve, not only whether it lives")
	flags.DurationVar(&timeout, "timeout", 3*time.Second, "how long to wait for the answer")
	sh.printsJSON(cmd)
	return cmd
}

// ownURL returns where on this machine a node with these settings answers.
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

// askHealth asks a node. The error says that it is not well, or not there.
func askHealth(ctx context.Context, url string, ready bool) (health, error) {
	path := "/livez"
	if ready {
		path = "/readyz"
	}
	transport := ownTransport()
	defer transport.CloseIdleConnections()
	// The certificate names the node as the world calls it, and the question goes to this machine's address; nothing of
	// worth is asked or told.
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

// unwellError tells that a node answered and is not ready.
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
