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

// trustFile holds a keptTrust.
const trustFile = "trust.json"

// maxTrustFile bounds, in bytes, what is read of trustFile.
const maxTrustFile = channel.MaxTrust + 1<<10

// keptTrust is the newest trust document that the device has verified, and the one that it followed from: a native app
// that comes with another document starts over from that.
type keptTrust struct {
	From     digest.Digest   `json:"from"`     // of the document that the app came with
	Document json.RawMessage `json:"document"` // the envelope, byte for byte as it was signed
}

// loadTrust returns the trust document to go by: the one that the app came with, or a later one that followed from it.
// It looks at no clock, so that what is installed can be confirmed and left at any time.
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
		return given, nil // the app was rebuilt with a document of its own
	}
	return later, nil
}

func decodeTrust(raw []byte) (*channel.Trust, digest.Digest, error) {
	if len(raw) > maxTrustFile {
		return nil, digest.Digest{}, fmt.Errorf("longer than %d bytes", maxTrustFile)
	}
	var k keptTrust
	if err := json.Unmarshal(raw, &k); err != nil {
		return nil, digest.Digest{}, err
	}
	t, err := channel.LoadTrust(k.Document)
	return t, k.From, err
}

// keepTrust makes a trust document the one that the device goes by, durably.
func (c *Client) keepTrust(next *channel.Trust) error {
	raw, err := json.Marshal(keptTrust{From: digest.Sum(c.config.Trust), Document: next.Raw()})
	if err != nil {
		return err
	}
	if err := durable.ReplaceIn(c.root, trustFile, raw, 0o644); err != nil {
		return fmt.Errorf("keep trust document: %w", err)
	}
	c.trust = next
	return nil
}

// verify checks a manifest by the trust document. One that it refuses may be allowed by a later document, which is
// fetched then, as it is when the node says that there is one.
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

// advance takes the newest trust document that the node has, if it follows from the one that the device goes by, and
// reports whether that is another one now. A node that has none to offer, or a wrong one, is no reason to stop: what
// it says is checked by the document that there is.
func (t *transfer) advance(ctx context.Context) bool {
	c := t.client
	org := c.trust.Org()
	// For the whole walk: a node may name a version that is far ahead, and have each one before it wait.
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
		err = c.keepTrust(next)
	}
	if err != nil {
		c.config.Logger.Warn("the node's trust document is not taken", "node", t.node, "error", err)
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
