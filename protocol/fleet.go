package protocol

import (
	"time"

	"brink/digest"
)

// Fields by which a publisher asks for more than one node before it is told that a channel has moved: on how many nodes
// the release is to be durable, the one that answers included, and in how many regions.
const (
	FieldReplicas = "Brink-Replicas"
	FieldRegions  = "Brink-Regions"
)

// FieldAdmin is a field that requests to the operators' listener have when they change something, with any value. No
// web page of another origin can send it.
const FieldAdmin = "Brink-Admin"

// MaxReplicas bounds what may be asked for.
const MaxReplicas = 64

// Replica is a node that holds a channel manifest and its bundles durably.
type Replica struct {
	Node   string `json:"node"`
	Region string `json:"region,omitempty"`
}

// Paths between the nodes of a fleet. All requests to them are signed by the fleet key.
const (
	FleetPath        = "/v1/fleet/" // begins all of them
	FleetStatusPath  = "/v1/fleet/status"
	FleetHoldPath    = "/v1/fleet/hold"
	FleetDrainPath   = "/v1/fleet/drain"
	FleetKeysPath    = "/v1/fleet/keys"
	FleetStatsPath   = "/v1/fleet/stats"
	FleetChoicesPath = "/v1/fleet/choices"
	FleetDerivedPath = "/v1/fleet/derived"
)

// Hold asks a node to take a channel manifest from the one that asks, and to answer when it is in force there.
type Hold struct {
	App       string        `json:"app"`
	Channel   string        `json:"channel"`
	Order     uint64        `json:"order"` // see channel.Manifest.Order
	Statement digest.Digest `json:"statement"`
	Bundle    digest.Digest `json:"bundle"` // of the release that it serves
	From      string        `json:"from"`   // the node that asks
}

// Drain asks a node to say that it is not ready, or that it is again. The latest one counts, in whatever order they
// arrive.
type Drain struct {
	Drain bool      `json:"drain"`
	At    time.Time `json:"at"` // when it was asked for
}

// NodeStatus is what a node of a fleet says of itself.
type NodeStatus struct {
	Node    string   `json:"node"`
	Region  string   `json:"region,omitempty"`
	URL     string   `json:"url,omitempty"`
	State   string   `json:"state"`
	Version string   `json:"version"`
	Reasons []string `json:"reasons,omitempty"` // what is amiss
	Filling int      `json:"filling"`           // bundles that are being brought in
	Bundles int      `json:"bundles"`
	Stored  int64    `json:"stored"` // bytes

	Channels []ChannelStatus `json:"channels,omitempty"`
}

// ChannelStatus is how far a node is with a channel.
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

	Error   string       `json:"error,omitempty"` // why it could not be asked
	Behind  uint64       `json:"behind"`          // sequences that it lacks, of all channels
	Lacking []ChannelLag `json:"lacking,omitempty"`
}

// ChannelLag is a channel in which a node is behind the others. At most MaxLags are told of a node.
type ChannelLag struct {
	App      string `json:"app"`
	Channel  string `json:"channel"`
	Has      uint64 `json:"has"` // 0: nothing
	Sequence uint64 `json:"sequence"`
}

// MaxLags bounds the channels that a FleetMember names.
const MaxLags = 20

// Sealed is what only who has a key of the fleet can read.
type Sealed struct {
	Box []byte `json:"box"` // AES-256-GCM, with the nonce in front
}
