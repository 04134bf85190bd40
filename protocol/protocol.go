// Package protocol holds the shapes of what goes over HTTP between a node and those who use it: devices, publishers,
// other nodes. docs/protocol.md tells the same with an example of each.
//
// It is what server and client share, so that a field or a code is spelt in one place; it sends nothing itself. The
// invariant: every shape can be read from hostile bytes without harm, and none of them is trusted. What has to be
// trusted is inside the signed envelopes that they carry.
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

// MaxCheck bounds a check request, MaxCheckAnswer its answer and MaxProblem an answer that says no, in bytes.
const (
	MaxCheck       = 16 << 10
	MaxCheckAnswer = 2*channel.MaxManifest + 2*MaxInline + 16<<10
	MaxProblem     = 64 << 10
)

// MaxInline bounds, in bytes, the patch that an answer to a check may carry. It saves a round trip, and costs a third
// more bytes, which is less than a round trip up to about this size on the links that phones have.
const MaxInline = 32 << 10

// CheckRequest is what a device tells of itself to learn whether there is something new.
type CheckRequest struct {
	Channel string `json:"channel"`
	Device  Device `json:"device"`
	// Seen is the statement of the newest channel manifest that the device has accepted. The manifest is not sent again
	// when it is still that one and there is nothing to fetch.
	Seen digest.Digest `json:"seen,omitzero"`
	// Dictionary names the archive that the device has. A patch against it of at most Inline bytes may come with the
	// answer.
	Dictionary digest.SHA256 `json:"dictionary,omitzero"`
	Inline     int64         `json:"inline,omitempty"`
	// Parts says that the device would ask for the archive in several parts at once, for which it has to know its size.
	Parts bool `json:"parts,omitempty"`
}

// Device is what a device says about itself; it may leave out all of it. See [channel.Device].
type Device struct {
	ID          string           `json:"id,omitempty"`
	Custom      string           `json:"custom,omitempty"` // an ID that the app gave it
	Platform    channel.Platform `json:"platform,omitempty"`
	Native      string           `json:"native,omitempty"`  // version of the native app
	Version     string           `json:"version,omitempty"` // of the release that it runs
	Bundle      digest.Digest    `json:"bundle,omitzero"`   // that it runs
	BuiltIn     bool             `json:"builtIn,omitempty"` // it runs what its native app came with
	Emulator    bool             `json:"emulator,omitempty"`
	Development bool             `json:"development,omitempty"` // its native app is a development build
}

// CheckAnswer says what the channel has for the device. All but Manifest follows from it and is there for devices that
// cannot check a signature, and for people.
type CheckAnswer struct {
	Decision channel.Kind     `json:"decision"`
	Reason   channel.Reason   `json:"reason,omitempty"`
	Release  *channel.Release `json:"release,omitempty"`
	Archive  string           `json:"archive,omitempty"` // path of the archive on the same node
	Sequence uint64           `json:"sequence"`
	// Representation is the best that there is of the archive for who takes zstd and, with the dictionary, dcz. It is
	// told to who would ask for parts, and is a hint: it may be gone when it is asked for.
	Representation *Representation `json:"representation,omitempty"`
	Patch          []byte          `json:"patch,omitempty"`    // the archive as dcz against the dictionary that was named
	Trust          uint64          `json:"trust,omitempty"`    // version of the org's trust document on the node
	Manifest       json.RawMessage `json:"manifest,omitempty"` // the envelope, byte for byte as it was signed
}

// Representation tells of bytes that a node has and could send.
type Representation struct {
	Encoding string `json:"encoding"` // Content-Encoding: zstd or dcz
	Size     int64  `json:"size"`     // in bytes
}

// App is what a node tells about an app.
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
	// Reverted says that the version is served to no device: all go back to what their native app came with.
	Reverted bool `json:"reverted,omitempty"`
}

// TrustTaken answers a trust document: the version that is in force.
type TrustTaken struct {
	Org     string `json:"org"`
	Version uint64 `json:"version"`
}

// Moved answers a channel manifest that was accepted: it is durable, and in force on this node.
type Moved struct {
	App      string        `json:"app"`
	Channel  string        `json:"channel"`
	Sequence uint64        `json:"sequence"`
	Manifest digest.Digest `json:"manifest"` // of the envelope as signed: its entity tag

	// Replicas are the nodes that hold it durably, this one first, when the publisher asked for several. They may be
	// fewer than asked for: the channel has moved all the same.
	Replicas []Replica `json:"replicas,omitempty"`
}

// Batch asks for many chunks in one response.
type Batch struct {
	Chunks digest.List `json:"chunks"`
}

// MaxBatch bounds how many chunks one Batch may name.
const MaxBatch = 4096

// AppPath returns the path of an app; CheckPath, BundlesPath and ChannelPath what is below it.
func AppPath(app string) string { return "/v1/apps/" + url.PathEscape(app) }

// CheckPath is where a device asks whether there is something new.
func CheckPath(app string) string { return AppPath(app) + "/check" }

// BundlesPath is where a publisher opens an upload.
func BundlesPath(app string) string { return AppPath(app) + "/bundles" }

// ChannelPath is where the channel manifest is.
func ChannelPath(app, name string) string { return AppPath(app) + "/channels/" + url.PathEscape(name) }

// TrustPath is where the trust document of an org is.
func TrustPath(org string) string { return "/v1/orgs/" + url.PathEscape(org) + "/trust" }

// TrustVersionPath is where one version of the trust document of an org is.
func TrustVersionPath(org string, version uint64) string {
	return TrustPath(org) + "/" + strconv.FormatUint(version, 10)
}

// ArchivePath is where the archive of a bundle is.
func ArchivePath(id digest.Digest) string { return "/v1/bundles/" + id.String() + "/archive" }

// IndexPath is where the index of a bundle is.
func IndexPath(id digest.Digest) string { return "/v1/bundles/" + id.String() + "/index" }

// Tag returns the entity tag of signed bytes that have the digest.
func Tag(name digest.Digest) string { return `"` + name.String() + `"` }
