package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brink/protocol"
)

// answerWait is how long to wait for the head of a node's answer.
const answerWait = 30 * time.Second

// ask fetches path from a node, at most limit bytes. The error for a response with an error status is a
// [*protocol.Problem].
func ask(ctx context.Context, node, path string, limit int64) ([]byte, error) {
	return send(ctx, http.MethodGet, node, path, nil, limit)
}

// send is ask with another method and a body, which may be nil.
func send(ctx context.Context, method, node, path string, body []byte, limit int64) ([]byte, error) {
	transport := ownTransport()
	transport.ResponseHeaderTimeout = answerWait
	defer transport.CloseIdleConnections()
	var fields []string
	if method != http.MethodGet {
		fields = []string{protocol.FieldAdmin, "1"}
	}
	resp, err := call(ctx, clientOf(transport), method, strings.TrimRight(node, "/")+path, body, fields...)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return protocol.ReadAnswer(resp, limit)
}

// ownTransport returns a transport for one verb, which may change its fields and closes its connections at the end.
func ownTransport() *http.Transport { return http.DefaultTransport.(*http.Transport).Clone() }

// clientOf returns a client for nodes that uses transport.
func clientOf(transport *http.Transport) *http.Client {
	return &http.Client{Transport: transport, CheckRedirect: protocol.CheckRedirect}
}

// call sends one request. The body may be nil; fields are alternating names and values of header fields. The caller
// closes the body of the response, whatever its status.
func call(
	ctx context.Context, client *http.Client, method, url string, body []byte, fields ...string,
) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	return client.Do(req)
}

// askJSON is ask for a JSON response, which it decodes into answer.
func askJSON(ctx context.Context, node, path string, limit int64, answer any) error {
	return exchange(ctx, http.MethodGet, node, path, nil, limit, answer)
}

// exchange is askJSON with another method and a body, which may be nil.
func exchange(ctx context.Context, method, node, path string, body []byte, limit int64, answer any) error {
	raw, err := send(ctx, method, node, path, body, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("decode the node's answer: %w", err)
	}
	return nil
}

// nodeFlag adds the required flag --node to cmd.
func nodeFlag(cmd *cobra.Command, node *string) {
	cmd.Flags().StringVar(node, "node", "", "`URL` of the node")
	required(cmd, "node")
}

// checkNodes refuses anything that is not the URL of a node.
func checkNodes(cmd *cobra.Command, nodes ...string) error {
	for _, node := range nodes {
		if _, err := protocol.NodeURL(node); err != nil {
			usage := &usageError{
				message: fmt.Sprintf("%q is not the URL of a node", node),
				hint:    "want a URL such as http://127.0.0.1:8080",
			}
			return usage.of(cmd)
		}
	}
	return nil
}
