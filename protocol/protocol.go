// Package protocol defines the messages, paths and codes of the HTTP interface of a node, which devices, publishers and
// other nodes use. docs/protocol.md describes them with examples.
//
// Servers and clients share it, so that each field and code is defined in one place; it sends nothing itself. The
// invariant: every message can be decoded from hostile bytes without harm, and none is trusted. What must be trusted is
// in the signed envelopes that the messages contain.
package protocol

import (
	"encoding/json"
	"net/url"
	"strconv"

	"brink/channel"
	"brink/digest"
)

// Media types of bodies that are not JSON.
const (
	TypeChunks  = "application/vnd.brink.chunks" // a chunk stream, see bundle.StreamWriter
	TypeArchive = "application/x-tar"
)

// MaxCheck bounds a check request, MaxCheckAnswer its answer, and MaxProblem a Problem, in bytes.
const (
	MaxCheck       = 16 << 10
	MaxCheckAnswer = 2*channel.MaxManifest + 2*MaxInline + 16<<10
	MaxProblem     = 64 << 10
)

// MaxInline bounds, in bytes, the patch in an answer to a check. An inline patch saves a round trip but takes a third
// more bytes (base64). On the links of phones, up to about this size, sending those is faster than a round trip.
const MaxInline = 32 << 10

// CheckRequest is the request of a device for an update.
type CheckRequest struct {
	Channel string `json:"channel"`
	Device  Device `json:"device"`
	// Seen is the statement of the newest channel manifest that the device has accepted. The node does not send that
	// manifest again if there is nothing to fetch.
	Seen digest.Digest `json:"seen,omitzero"`
	// Dictionary identifies the archive that the device has. The answer may include a patch against it of at most Inline
	// bytes.
	Dictionary digest.SHA256 `json:"dictionary,omitzero"`
	Inline     int64         `json:"inline,omitempty"`
	// Parts means that the device can fetch parts of the archive in parallel, for which it needs to know the size.
	Parts bool `json:"parts,omitempty"`
}

// Device is what a device reports about itself. All fields are optional. See [channel.Device].
type Device struct {
	ID          string           `json:"id,omitempty"`
	Custom      string           `json:"custom,omitempty"` // an ID given by the app
	Platform    channel.Platform `json:"platform,omitempty"`
	Native      string           `json:"native,omitempty"`  // version of the native app
	Version     string           `json:"version,omitempty"` // of the release that it runs
	Bundle      digest.Digest    `json:"bundle,omitzero"`   // that it runs
	BuiltIn     bool             `json:"builtIn,omitempty"` // it runs what its native app came with
	Emulator    bool             `json:"emulator,omitempty"`
	Development bool             `json:"development,omitempty"` // its native app is a development build
}

// CheckAnswer is the decision for the device. All fields but Manifest follow from the manifest: they are for devices
// that cannot verify signatures, and for people.
type CheckAnswer struct {
	Decision channel.Kind     `json:"decision"`
	Reason   channel.Reason   `json:"reason,omitempty"`
	Release  *channel.Release `json:"release,omitempty"`
	Archive  string           `json:"archive,omitempty"` // path of the archive on the same node
	Sequence uint64           `json:"sequence"`
	// Representation is the best representation of the archive for clients that accept zstd and, with the dictionary, dcz.
	// It is only set if the request has Parts, and is a hint: the node may have evicted it by the next request.
	Representation *Representation `json:"representation,omitempty"`
	Patch          []byte          `json:"patch,omitempty"`    // the archive as dcz against the request's dictionary
	Trust          uint64          `json:"trust,omitempty"`    // version of the org's trust document on the node
	Manifest       json.RawMessage `json:"manifest,omitempty"` // the envelope, byte for byte as it was signed
}

// Representation describes bytes that a node has and could send.
type Representation struct {
	Encoding string `json:"encoding"` // Content-Encoding: zstd or dcz
	Size     int64  `json:"size"`     // in bytes
}

// App describes an app on a node.
type App struct {
	App      string       `json:"app"`
	Org      string       `json:"org"`
	Trust    string       `json:"trust"` // path of the org's trust document on the same node
	Channels []AppChannel `json:"channels"`
}

// AppChannel is one channel of an app.
type AppChannel struct {
	Channel  string        `json:"channel"`
	Sequence uint64        `json:"sequence"`
	Version  string        `json:"version"`
	Manifest digest.Digest `json:"manifest"` // of the envelope as signed
	// Reverted means that no device gets the version: all go back to what their native app came with.
	Reverted bool `json:"reverted,omitempty"`
}

// TrustAccepted answers an upload of a trust document, with the version that is in force.
type TrustAccepted struct {
	Org     string `json:"org"`
	Version uint64 `json:"version"`
}

// Moved answers an upload of a channel manifest that was accepted: it is durable, and in force on this node.
type Moved struct {
	App      string        `json:"app"`
	Channel  string        `json:"channel"`
	Sequence uint64        `json:"sequence"`
	Manifest digest.Digest `json:"manifest"` // of the envelope as signed: its entity tag

	// Replicas are the nodes that have it durably, this one first, if the publisher requested several. There may be fewer
	// than requested; the channel has moved nevertheless.
	Replicas []Replica `json:"replicas,omitempty"`
}

// Batch requests many chunks in one response.
type Batch struct {
	Chunks digest.List `json:"chunks"`
}

// MaxBatch bounds the number of chunks in one Batch.
const MaxBatch = 4096

// AppPath returns the path of an app. The paths of checks, uploads and channels are below it.
func AppPath(app string) string { return "/v1/apps/" + url.PathEscape(app) }

// CheckPath returns the path for a [CheckRequest].
func CheckPath(app string) string { return AppPath(app) + "/check" }

// BundlesPath returns the path at which a publisher starts an upload.
func BundlesPath(app string) string { return AppPath(app) + "/bundles" }

// ChannelPath returns the path of a channel manifest.
func ChannelPath(app, name string) string { return AppPath(app) + "/channels/" + url.PathEscape(name) }

// TrustPath returns the path of the trust document of an org.
func TrustPath(org string) string { return "/v1/orgs/" + url.PathEscape(org) + "/trust" }

// TrustVersionPath returns the path of one version of the trust document of an org.
func TrustVersionPath(org string, version uint64) string {
	return TrustPath(org) + "/" + strconv.FormatUint(version, 10)
}

// ArchivePath returns the path of the archive of a bundle.
func ArchivePath(id digest.Digest) string { return "/v1/bundles/" + id.String() + "/archive" }

// IndexPath returns the path of the index of a bundle.
func IndexPath(id digest.Digest) string { return "/v1/bundles/" + id.String() + "/index" }

// Tag returns the entity tag of signed bytes with the digest.
func Tag(name digest.Digest) string { return `"` + name.String() + `"` }
