package protocol

import (
	"time"

	"brink/digest"
)

// Fields with which a publisher requires more than one node to have a release before the answer: on how many nodes the
// release must be durable, including the one that answers, and in how many regions.
const (
	FieldReplicas = "Brink-Replicas"
	FieldRegions  = "Brink-Regions"
)

// FieldAdmin is a field that must be present, with any value, in requests to the operators' listener that change
// something. Web pages of another origin cannot send it.
const FieldAdmin = "Brink-Admin"

// MaxReplicas bounds the values of [FieldReplicas] and [FieldRegions].
const MaxReplicas = 64

// Replica is a node that has a channel manifest and its bundles durably.
type Replica struct {
	Node   string `json:"node"`
	Region string `json:"region,omitempty"`
}

// Paths between the nodes of a fleet. All requests to them are signed by the fleet key.
const (
	FleetPath        = "/v1/fleet/" // the prefix of the others
	FleetStatusPath  = "/v1/fleet/status"
	FleetHoldPath    = "/v1/fleet/hold"
	FleetDrainPath   = "/v1/fleet/drain"
	FleetKeysPath    = "/v1/fleet/keys"
	FleetStatsPath   = "/v1/fleet/stats"
	FleetChoicesPath = "/v1/fleet/choices"
	FleetDerivedPath = "/v1/fleet/derived"
)

// Hold requests a node to fetch a channel manifest from the sender, and to answer when it is in force there.
type Hold struct {
	App       string        `json:"app"`
	Channel   string        `json:"channel"`
	Order     uint64        `json:"order"` // see channel.Manifest.Order
	Statement digest.Digest `json:"statement"`
	Bundle    digest.Digest `json:"bundle"` // of the release that it serves
	From      string        `json:"from"`   // the node that sends the request
}

// Drain requests a node to report that it is not ready, or that it is ready again. The one with the latest time is
// applied, whatever the order in which they arrive.
type Drain struct {
	Drain bool      `json:"drain"`
	At    time.Time `json:"at"` // when it was requested
}

// NodeStatus is what a node of a fleet reports about itself.
type NodeStatus struct {
	Node    string   `json:"node"`
	Region  string   `json:"region,omitempty"`
	URL     string   `json:"url,omitempty"`
	State   string   `json:"state"`
	Version string   `json:"version"`
	Reasons []string `json:"reasons,omitempty"` // why it is not ready or not healthy
	Filling int      `json:"filling"`           // bundles that are being fetched
	Bundles int      `json:"bundles"`
	Stored  int64    `json:"stored"` // bytes

	Channels []ChannelStatus `json:"channels,omitempty"`
}

// ChannelStatus is the manifest of a channel that is in force on a node.
type ChannelStatus struct {
	App      string `json:"app"`
	Channel  string `json:"channel"`
	Sequence uint64 `json:"sequence"`
	Renewal  uint64 `json:"renewal,omitempty"`
	Version  string `json:"version"`
}

// MaxFleetAnswer bounds an answer between nodes, in bytes: 50,000 channels of 160 bytes.
const MaxFleetAnswer = 16 << 20

// FleetStatus is a fleet as one of its nodes sees it.
type FleetStatus struct {
	Fleet    string        `json:"fleet"`
	Channels int           `json:"channels"` // that some node has
	Nodes    []FleetMember `json:"nodes"`
}

// FleetMember is one node in a FleetStatus.
type FleetMember struct {
	NodeStatus

	Error   string       `json:"error,omitempty"` // why it did not answer
	Behind  uint64       `json:"behind"`          // sequences that it lacks, in all channels together
	Lacking []ChannelLag `json:"lacking,omitempty"`
}

// ChannelLag is a channel in which a node is behind the others.
type ChannelLag struct {
	App      string `json:"app"`
	Channel  string `json:"channel"`
	Has      uint64 `json:"has"` // 0: nothing
	Sequence uint64 `json:"sequence"`
}

// MaxLags bounds the channels in FleetMember.Lacking.
const MaxLags = 20

// Sealed is a message encrypted with a key of the fleet.
type Sealed struct {
	Box []byte `json:"box"` // AES-256-GCM, with the nonce in front
}
