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

// answerWait is how long a node may take to begin its answer to a question.
const answerWait = 30 * time.Second

// ask gets what a node has at path, at most limit bytes. An answer that says no is a [*protocol.Problem].
func ask(ctx context.Context, node, path string, limit int64) ([]byte, error) {
	return send(ctx, http.MethodGet, node, path, nil, limit)
}

// send is ask with any method and a body, which may be nil.
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

// ownTransport returns the transport of one verb, which changes it as it needs and closes its connections at the end.
func ownTransport() *http.Transport { return http.DefaultTransport.(*http.Transport).Clone() }

// clientOf returns what asks nodes over a transport.
func clientOf(transport *http.Transport) *http.Client {
	return &http.Client{Transport: transport, CheckRedirect: protocol.CheckRedirect}
}

// call sends one request, whose body may be nil and whose fields are names and values in turn. The caller closes the
// body of the answer, whatever its status.
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

// askJSON is ask for what is JSON.
func askJSON(ctx context.Context, node, path string, limit int64, answer any) error {
	return exchange(ctx, http.MethodGet, node, path, nil, limit, answer)
}

// exchange is askJSON with any method and a body, which may be nil.
func exchange(ctx context.Context, method, node, path string, body []byte, limit int64, answer any) error {
	raw, err := send(ctx, method, node, path, body, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("the node's answer: %w", err)
	}
	return nil
}

// nodeFlag gives cmd the flag --node for one node, which must be given.
func nodeFlag(cmd *cobra.Command, node *string) {
	cmd.Flags().StringVar(node, "node", "", "`URL` of the node")
	required(cmd, "node")
}

// checkNodes refuses what is no address of a node.
func checkNodes(cmd *cobra.Command, nodes ...string) error {
	for _, node := range nodes {
		if _, err := protocol.NodeURL(node); err != nil {
			usage := &usageError{
				message: fmt.Sprintf("%q is no address of a node", node),
				hint:    "write it like http://127.0.0.1:8080",
			}
			return usage.of(cmd)
		}
	}
	return nil
}
