package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"brink/channel"
	"brink/digest"
	"brink/internal/durable"
	"brink/protocol"
)

// trustFile contains a savedTrust.
const trustFile = "trust.json"

// maxTrustFile limits the size of trustFile, in bytes.
const maxTrustFile = channel.MaxTrust + 1<<10

// savedTrust is the newest trust document that the device has verified, and the digest of the configured one that it
// succeeds. It is ignored if the app is configured with another document.
type savedTrust struct {
	From     digest.Digest   `json:"from"`     // of the configured document
	Document json.RawMessage `json:"document"` // the envelope, byte for byte as it was signed
}

// loadTrust returns the trust document in force: the configured one or its newest successor. It does not check whether
// it has expired, so that Confirm and Rollback always work.
func (c *Client) loadTrust() (*channel.Trust, error) {
	given, err := channel.LoadTrust(c.config.Trust)
	if err != nil {
		return nil, fmt.Errorf("trust document: %w", err)
	}
	raw, err := c.root.ReadFile(trustFile)
	if errors.Is(err, fs.ErrNotExist) {
		return given, nil
	}
	if err != nil {
		return nil, err
	}
	later, from, err := decodeTrust(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", trustFile, err)
	}
	if from != given.Digest() || later.Org() != given.Org() || later.Version() < given.Version() {
		return given, nil // the app was built with another document since
	}
	return later, nil
}

func decodeTrust(raw []byte) (*channel.Trust, digest.Digest, error) {
	if len(raw) > maxTrustFile {
		return nil, digest.Digest{}, fmt.Errorf("longer than %d bytes", maxTrustFile)
	}
	var k savedTrust
	if err := json.Unmarshal(raw, &k); err != nil {
		return nil, digest.Digest{}, err
	}
	t, err := channel.LoadTrust(k.Document)
	return t, k.From, err
}

// saveTrust makes a trust document the one in force, durably.
func (c *Client) saveTrust(next *channel.Trust) error {
	raw, err := json.Marshal(savedTrust{From: digest.Sum(c.config.Trust), Document: next.Raw()})
	if err != nil {
		return err
	}
	if err := durable.ReplaceIn(c.root, trustFile, raw, 0o644); err != nil {
		return fmt.Errorf("save trust document: %w", err)
	}
	c.trust = next
	return nil
}

// verify verifies the manifest in an answer against the trust document. It fetches a newer document first if the node
// has one, and also if the current one does not allow the manifest.
func (t *transfer) verify(ctx context.Context, answer *answer) (*channel.Manifest, error) {
	c := t.client
	newer := answer.Trust > c.trust.Version()
	if newer {
		t.advance(ctx)
	}
	m, err := c.trust.VerifyManifest(answer.Manifest, c.config.Now())
	if err == nil || newer {
		return m, err
	}
	switch channel.CodeOf(err) {
	case channel.CodeUnknownKey, channel.CodeNotEnoughSignatures, channel.CodeWrongRole, channel.CodeWrongApp,
		channel.CodeWrongChannel, channel.CodeWrongEpoch, channel.CodeTrustExpired:
		if t.advance(ctx) {
			return c.trust.VerifyManifest(answer.Manifest, c.config.Now())
		}
	}
	return nil, err
}

// advance fetches the newest trust document from the node, puts it in force if it is a valid successor of the current
// one, and reports whether it did. Failing to do so is not an error: the current document is still used to verify what
// the node sends.
func (t *transfer) advance(ctx context.Context) bool {
	c := t.client
	org := c.trust.Org()
	// The timeout is for all requests together: a node could name a far later version and delay each one before it.
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	newest, err := t.document(ctx, protocol.TrustPath(org))
	if err != nil || newest == nil {
		c.config.Logger.Warn("no newer trust document", "node", t.node, "error", err)
		return false
	}
	before := c.trust
	next, err := before.Advance(newest, func(version uint64) ([]byte, error) {
		return t.document(ctx, protocol.TrustVersionPath(org, version))
	})
	if err == nil && next != before {
		err = c.saveTrust(next)
	}
	if err != nil {
		c.config.Logger.Warn("refused the node's trust document", "node", t.node, "error", err)
		return false
	}
	return next != before
}

// document fetches a trust document, nil if the node does not have it.
func (t *transfer) document(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.node+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := t.do(req)
	if protocol.CodeOf(err) == protocol.CodeUnknownOrg {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := protocol.ReadAll(resp.Body, channel.MaxTrust)
	if err != nil {
		return nil, fmt.Errorf("trust document: %w", err)
	}
	return raw, nil
}
