package brink_test

// module is the prefix of every package of this repository.
const module = "brink"

// anything stands for all rooms of this repository.
const anything = "*"

// rule says what one room may import. A room is a package, or a folder with everything below it.
type rule struct {
	room   string   // path below the module; the longest one that matches a package is its rule
	is     string   // what it is, for the table of CONTRIBUTING.md
	may    []string // rooms of this repository that it may import; packages of the same room always may be
	never  []string // prefixes of packages that it must not import, directly or indirectly
	nor    []string // packages that it must not import directly
	reason string
}

// servers are the modules that only a node may link: they add megabytes to a device or a publisher, which have no use
// for a server.
func servers() []string {
	return []string{"github.com/valyala/fasthttp", "github.com/dgraph-io", "github.com/hashicorp/memberlist"}
}

// outside are the packages that a pure package must not import, directly or indirectly.
func outside() []string { return append(servers(), "net/http", "database/sql", "os/exec") }

// rules are the allowed imports of every room, from the bottom to the top: imports point down only. rooms_test.go
// writes the rules of the linter and the table of CONTRIBUTING.md from them.
func rules() []rule {
	return []rule{
		{
			room: "", is: "tests of the repository's own rules", may: nil,
			reason: "the root has tests only",
		},
		{
			room: "bench/corpus", is: "real web apps, for benchmarks and tests", may: nil, never: servers(),
			reason: "the tests of every room may import the corpus, so it imports no room",
		},
		{
			room: "bench/cost", is: "measures what parsers allocate, for fuzz tests", may: nil, never: outside(),
			reason: "the tests of every room may import it, so it imports no room",
		},
		{
			room: "digest", is: "the names of content", may: nil, never: outside(),
			reason: "every room uses digests, so this one imports no room",
		},
		{
			room: "internal/durable", is: "small files that survive power loss", may: nil, never: outside(),
			reason: "every room that writes files may import it, so it imports no room",
		},
		{
			room: "bundle", is: "archive, index, chunks and patches; pure",
			may: []string{"digest"}, never: outside(), nor: []string{"net"},
			reason: "a bundle is a pure function of its files, on devices and nodes alike: no network, no database",
		},
		{
			room: "channel", is: "manifests, trust, targeting and rollout: which device gets which release; pure",
			may: []string{"digest"}, never: outside(), nor: []string{"net"},
			reason: "which release a device gets is a pure function of signed documents: no network, no database",
		},
		{
			room: "protocol", is: "the shapes of requests and answers",
			may: []string{"bundle", "channel", "digest"}, never: servers(),
			reason: "server and client share these shapes, so they are in a package below both",
		},
		{
			room: "protocol/capgo", is: "the format of releases encrypted for Capgo's plugin",
			may: []string{"protocol", "bundle", "digest"}, never: servers(),
			reason: "the publisher that encrypts and the node that serves share the format, so it is in a package below both",
		},
		{
			room: "publish", is: "the publisher's side: index, sign, upload, move channels",
			may: []string{"protocol", "bundle", "channel", "digest"}, never: servers(),
			reason: "the publisher's side speaks HTTP to a node and links no part of it",
		},
		{
			room: "publish/capgo", is: "attachments for Capgo's plugin: keys, encryption, what its CLI made",
			may: []string{"publish", "protocol", "bundle", "channel", "digest"}, never: servers(),
			reason: "publish calls an Attacher and knows no service; each service is a package above it",
		},
		{
			room: "client", is: "the device's side: check, fetch, verify, apply, roll back",
			may: []string{"protocol", "bundle", "channel", "digest", "internal/durable"}, never: servers(),
			reason: "the device's side links no part of a server",
		},
		{
			room: "store/internal/database", is: "Badger, with guards against its traps", may: []string{"digest"},
			reason: "a database has keys and bytes; the store decides what to keep and what to drop",
		},
		{
			room: "store", is: "the content-addressed store: quota, eviction, scrub",
			may:    []string{"bundle", "channel", "digest", "internal/durable"},
			reason: "the store stores and verifies, independent of protocols and callers",
		},
		{
			room: "origin", is: "filling from other nodes, S3 and HTTP: one fetch for all waiting requests, verified",
			may:    []string{"store", "protocol", "bundle", "channel", "digest"},
			reason: "filling writes to the store for any caller, so it depends on no package above it",
		},
		{
			room: "gossip", is: "membership, and the spread of pointers to signed documents",
			may:    []string{"channel", "digest", "internal/durable"},
			reason: "gossip spreads pointers only, independent of how a node serves or fetches what they point to",
		},
		{
			room: "node/internal/scan", is: "parses plain JSON fast, and leaves the rest to encoding/json", may: nil, never: outside(),
			reason: "a leaf: it parses JSON and does not interpret it",
		},
		{
			room: "node/internal/semantics", is: "the rules of HTTP, as pure functions", may: nil,
			reason: "a leaf of pure functions, tested without a node",
		},
		{
			room: "node/tally", is: "counts devices and what they do", may: nil, never: outside(),
			reason: "a leaf: it counts for any caller, and does not store the counts",
		},
		{
			room: "node/internal/wire", is: "connections: limits, pace, certificates", may: nil,
			reason: "a leaf: connections carry bytes of any kind",
		},
		{
			room: "node/internal/serve", is: "requests, answers, negotiation and bodies",
			may:    []string{"node/internal/semantics", "node/internal/wire", "store", "protocol", "bundle", "channel", "digest"},
			reason: "all handlers use it, so it depends on none of them",
		},
		{
			room: "node/internal/hashed", is: "hashes of content in file names",
			may:    nil,
			never:  outside(),
			reason: "a leaf of pure functions",
		},
		{
			room: "node/internal/background", is: "goroutines that are waited for",
			may:    nil,
			never:  outside(),
			reason: "a leaf: it starts and waits for goroutines of any kind",
		},
		{
			room: "node/internal/force", is: "trust documents and manifests in force, and the one way by which they change",
			may:    []string{"node/internal/serve", "origin", "store", "protocol", "bundle", "channel", "digest"},
			reason: "everything that is served depends on what is in force, so this is below it",
		},
		{
			room: "node/internal/bundles", is: "bundles and their chunks, fetched when missing",
			may:    []string{"node/internal/serve", "origin", "store", "protocol", "bundle", "channel", "digest"},
			reason: "finding and fetching a bundle does not depend on the encoding in which it is sent",
		},
		{
			room: "node/internal/represent", is: "encodings and patches: choosing, building, sharing",
			may: []string{
				"node/internal/bundles", "node/internal/force", "node/internal/hashed", "node/internal/semantics", "node/internal/serve", "node/internal/wire", "node/internal/background",
				"origin", "store", "protocol", "bundle", "channel", "digest",
			},
			reason: "representations are built for any handler, so this depends on none of them",
		},
		{
			room: "node/internal/deliver", is: "sends archives, files, indexes and chunks",
			may: []string{
				"node/internal/bundles", "node/internal/hashed", "node/internal/represent", "node/internal/semantics", "node/internal/serve", "node/internal/background", "origin",
				"store", "protocol", "bundle", "channel", "digest",
			},
			reason: "a bundle is requested by its digest, so sending it does not depend on channels",
		},
		{
			room: "node/internal/site", is: "channels as web sites",
			may: []string{
				"node/internal/bundles", "node/internal/deliver", "node/internal/force", "node/internal/hashed", "node/internal/represent", "node/internal/semantics", "node/internal/serve",
				"store", "protocol", "bundle", "channel", "digest",
			},
			reason: "a web site is one way to serve a channel, and depends on no other",
		},
		{
			room: "node/internal/check", is: "answers the checks of Brink's own client",
			may: []string{
				"node/internal/bundles", "node/internal/force", "node/internal/represent", "node/internal/scan", "node/internal/semantics", "node/internal/serve", "protocol",
				"bundle", "channel", "digest",
			},
			reason: "channel.Resolve decides; this package only translates to and from HTTP",
		},
		{
			room: "node/internal/upload", is: "bundles from publishers",
			may:    []string{"node/internal/force", "node/internal/serve", "store", "protocol", "bundle", "channel", "digest"},
			reason: "receiving a bundle does not depend on how it will be served",
		},
		{
			room: "node/internal/fleet", is: "the other nodes: membership, requests to them, following their manifests",
			may: []string{
				"node/internal/force", "node/internal/serve", "node/internal/background", "gossip", "origin", "internal/durable", "protocol", "bundle",
				"channel", "digest",
			},
			reason: "what other nodes send comes into force by package force only",
		},
		{
			room: "node/internal/mirror", is: "keeps the origin in step",
			may: []string{
				"node/internal/bundles", "node/internal/force", "node/internal/serve", "node/internal/background", "origin", "store", "protocol", "bundle", "channel",
				"digest",
			},
			reason: "what the origin has comes into force by package force only",
		},
		{
			room: "node/internal/choices", is: "the channels that devices chose, shared in a fleet",
			may:    []string{"node/internal/serve", "gossip", "origin", "store", "protocol", "bundle", "channel", "digest"},
			reason: "a choice is not signed, and affects only the device that made it",
		},
		{
			room: "node/internal/stats", is: "what devices do: stored, and summed over the fleet",
			may:    []string{"node/internal/serve", "node/tally", "origin", "store", "protocol", "bundle", "channel", "digest"},
			reason: "statistics record events, and influence no decision",
		},
		{
			room: "node/internal/guest", is: "how protocols of other devices join a node",
			may: []string{
				"node/internal/bundles", "node/internal/force", "node/internal/represent", "node/internal/serve", "node/tally", "bundle", "channel", "digest",
			},
			reason: "guests see an interface of what they need, not the node",
		},
		{
			room: "node/internal/guest/capgo", is: "serves Capgo's plugin",
			may: []string{
				"node/internal/guest", "node/internal/represent", "node/internal/semantics", "node/internal/serve", "node/internal/stats", "node/tally", "store",
				"protocol", "bundle", "channel", "digest",
			},
			reason: "guests depend on package guest, and not on each other",
		},
		{
			room: "node/internal/guest/capgo/plugin", is: "the protocol of Capgo's plugin",
			may:    []string{"node/internal/scan", "protocol", "bundle", "channel", "digest"},
			never:  servers(),
			reason: "a protocol is translated to channel.Resolve and back, without store or server",
		},
		{
			room: "node/internal/guest/appflow", is: "serves Ionic's plugins",
			may: []string{
				"node/internal/guest", "node/internal/represent", "node/internal/semantics", "node/internal/serve", "store", "protocol", "bundle", "channel",
				"digest",
			},
			reason: "guests depend on package guest, and not on each other",
		},
		{
			room: "node/internal/guest/appflow/plugin", is: "the protocol of Ionic's plugins",
			may:    []string{"protocol", "bundle", "channel", "digest"},
			never:  servers(),
			reason: "a protocol is translated to channel.Resolve and back, without store or server",
		},
		{
			room: "node/internal/admin", is: "the operators' listener",
			may:    []string{"node/internal/fleet", "node/internal/serve", "node/internal/stats", "store", "protocol", "bundle", "channel", "digest"},
			reason: "the node passes in what operators see, so this package does not depend on it",
		},
		{
			room: "node", is: "the running edge: configuration, listeners, routes, life cycle",
			may:    []string{"gossip", "origin", "store", "protocol", "bundle", "channel", "digest", "internal/durable"},
			reason: "a node connects the rooms below it, and none of them depends on it",
		},
		{
			room: "internal/release", is: "makes the files of a release", may: nil, never: servers(),
			reason: "a release is made from the repository's files by the go command, not by Brink's own code",
		},
		{
			room: "bench", is: "benchmarks", may: []string{anything},
			reason: "benchmarks measure every room",
		},
		{
			room: "e2e", is: "end-to-end tests", may: []string{anything},
			reason: "end-to-end tests use every room",
		},
		{
			room: "cmd", is: "the program: its verbs, flags and output", may: []string{anything},
			reason: "the program connects all rooms",
		},
	}
}

// seal says that only one room may import a package, or a folder of packages. Others may use it through that room.
type seal struct {
	prefix string
	room   string
	reason string
}

// seals are the packages that one room each may import.
func seals() []seal {
	return []seal{
		{
			prefix: "github.com/dgraph-io/badger", room: "store/internal/database",
			reason: "Badger has traps that end a process or lose data, and one package guards against all of them",
		},
	}
}

// nobodys are the rooms that no other room may import, not even a room that may import anything.
func nobodys() []string { return []string{"cmd", "e2e"} }

// tested are the rooms that any test may import, in addition to what its package may: the corpus, the measure of cost,
// and the publisher's side, with which the tests of a node publish.
func tested() []string { return []string{"bench/corpus", "bench/cost", "publish"} }
