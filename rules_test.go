package brink_test

// module is the prefix of every package of this repository.
const module = "brink"

// anything, as what a room may import, sets no bound inside the repository.
const anything = "*"

// rule says what one room may import. A room is a package, or a folder with all that is below it.
type rule struct {
	room   string   // path below the module; the longest one that fits a package is its rule
	is     string   // what it is, for the table of CONTRIBUTING.md
	may    []string // rooms of this repository that it may import; packages of the same room always may be
	never  []string // prefixes of packages that it must not reach, not even through others
	nor    []string // packages that it must not import itself, though what it imports may
	reason string
}

// servers are the modules that only the running edge may link: they cost a device or a publisher megabytes, and bring
// in what only a server may do.
func servers() []string {
	return []string{"github.com/valyala/fasthttp", "github.com/dgraph-io", "github.com/hashicorp/memberlist"}
}

// outside is what a pure package must not reach.
func outside() []string { return append(servers(), "net/http", "database/sql", "os/exec") }

// rules is the direction of every import in this repository: arrows point down only. The rooms are in order, from those
// at the bottom to those at the top. rooms_test.go writes from it the rules of the linter, and the table of
// CONTRIBUTING.md.
func rules() []rule {
	return []rule{
		{
			room: "", is: "the tests that keep the repository's own rules", may: nil,
			reason: "the root holds no code",
		},
		{
			room: "bench/corpus", is: "real web apps, for benches and for any test", may: nil, never: servers(),
			reason: "the tests of every room may import the corpus, so it can import none of them",
		},
		{
			room: "bench/cost", is: "what parsers allocate, for any fuzz test", may: nil, never: outside(),
			reason: "the tests of every room may import the measure of cost, so it can import none of them",
		},
		{
			room: "digest", is: "the names of content", may: nil, never: outside(),
			reason: "everything is named by a digest, so it can know nothing of what it names",
		},
		{
			room: "internal/durable", is: "small files that survive power loss", may: nil, never: outside(),
			reason: "every room that writes files may import it, so it can import none of them",
		},
		{
			room: "bundle", is: "archive, index, chunks, patches. Pure",
			may: []string{"digest"}, never: outside(), nor: []string{"net"},
			reason: "a bundle is a pure function of its files, on a device as on a node: no network, no database",
		},
		{
			room: "channel", is: "manifests, trust, targeting, rollout: who gets what. Pure",
			may: []string{"digest"}, never: outside(), nor: []string{"net"},
			reason: "who gets what is decided by pure functions of signed records: no network, no database",
		},
		{
			room: "protocol", is: "the shapes of what goes over HTTP",
			may: []string{"bundle", "channel", "digest"}, never: servers(),
			reason: "the shapes on the wire are shared by server and client, so they can belong to neither",
		},
		{
			room: "protocol/capgo", is: "the format of releases encrypted for Capgo's plugin",
			may: []string{"protocol", "bundle", "digest"}, never: servers(),
			reason: "the publisher that encrypts and the node that serves share a format, so it belongs to neither",
		},
		{
			room: "publish", is: "the publisher's side: build, sign, upload, move channels",
			may: []string{"protocol", "bundle", "channel", "digest"}, never: servers(),
			reason: "the publisher's side talks to a node over HTTP and links no part of it",
		},
		{
			room: "publish/capgo", is: "attachments for Capgo's plugin: keys, encryption, what its CLI has made",
			may: []string{"publish", "protocol", "bundle", "channel", "digest"}, never: servers(),
			reason: "a service's attachments are made by what is given to a publisher, which knows no service",
		},
		{
			room: "client", is: "the device's side: check, fetch, verify, apply, roll back",
			may: []string{"protocol", "bundle", "channel", "digest", "internal/durable"}, never: servers(),
			reason: "the device's side knows no server package",
		},
		{
			room: "store/internal/database", is: "Badger without its traps", may: []string{"digest"},
			reason: "what is kept, and what may be dropped, is the store's to know: a database has keys and bytes",
		},
		{
			room: "store", is: "the content-addressed store: quota, garbage collection, scrub",
			may:    []string{"bundle", "channel", "digest", "internal/durable"},
			reason: "the store keeps and checks; who asks, and over which protocol, is not its concern",
		},
		{
			room: "origin", is: "filling from peers, S3 and HTTP, coalesced and verified",
			may:    []string{"store", "protocol", "bundle", "channel", "digest"},
			reason: "filling ends in the store's one door and serves whoever asks, so it knows nobody above it",
		},
		{
			room: "gossip", is: "membership and the spread of pointers to what was signed",
			may:    []string{"channel", "digest", "internal/durable"},
			reason: "announcements are small: they say nothing of how a node serves or where it gets what they point to",
		},
		{
			room: "node/internal/scan", is: "reads plain JSON fast, or leaves it to encoding/json", may: nil, never: outside(),
			reason: "reading plain JSON is a leaf: it does not know what the text means",
		},
		{
			room: "node/internal/semantics", is: "the rules of HTTP, as pure functions", may: nil,
			reason: "the rules of HTTP are a leaf of pure functions, tested without a node",
		},
		{
			room: "node/tally", is: "counts what devices do, and how many they are", may: nil, never: outside(),
			reason: "counting is a leaf: it knows neither who counts nor where it is kept",
		},
		{
			room: "node/internal/wire", is: "connections: limits, pace, certificates", may: nil,
			reason: "connections and their pacing are a leaf: they carry bytes and do not know which",
		},
		{
			room: "node/internal/serve", is: "requests, answers, negotiation and bodies, whatever is served",
			may:    []string{"node/internal/semantics", "node/internal/wire", "store", "protocol", "bundle", "channel", "digest"},
			reason: "requests and answers are the ground of a node: they do not know what is served",
		},
		{
			room: "node/internal/hashed", is: "hashes of content in the names of files",
			may:    nil,
			never:  outside(),
			reason: "the names of files are a leaf of pure functions",
		},
		{
			room: "node/internal/background", is: "goroutines that are waited for",
			may:    nil,
			never:  outside(),
			reason: "goroutines are a leaf: it does not know what they do",
		},
		{
			room: "node/internal/force", is: "what is in force, and the one door by which it changes",
			may:    []string{"node/internal/serve", "origin", "store", "protocol", "bundle", "channel", "digest"},
			reason: "what is in force is below all that is served by it",
		},
		{
			room: "node/internal/bundles", is: "bundles and their chunks, fetched when missing",
			may:    []string{"node/internal/serve", "origin", "store", "protocol", "bundle", "channel", "digest"},
			reason: "where bytes come from does not know which form they are sent in",
		},
		{
			room: "node/internal/represent", is: "encodings and patches: choosing, building, sharing",
			may: []string{
				"node/internal/bundles", "node/internal/force", "node/internal/hashed", "node/internal/semantics", "node/internal/serve", "node/internal/wire", "node/internal/background",
				"origin", "store", "protocol", "bundle", "channel", "digest",
			},
			reason: "representations are built for whoever asks, and know nobody who does",
		},
		{
			room: "node/internal/deliver", is: "archives, files, indexes and chunks",
			may: []string{
				"node/internal/bundles", "node/internal/hashed", "node/internal/represent", "node/internal/semantics", "node/internal/serve", "node/internal/background", "origin",
				"store", "protocol", "bundle", "channel", "digest",
			},
			reason: "a bundle is sent by its name, whatever channel serves it",
		},
		{
			room: "node/internal/site", is: "channels as web sites",
			may: []string{
				"node/internal/bundles", "node/internal/deliver", "node/internal/force", "node/internal/hashed", "node/internal/represent", "node/internal/semantics", "node/internal/serve",
				"store", "protocol", "bundle", "channel", "digest",
			},
			reason: "a browser is one more kind of device",
		},
		{
			room: "node/internal/check", is: "the checks of the own client",
			may: []string{
				"node/internal/bundles", "node/internal/force", "node/internal/represent", "node/internal/scan", "node/internal/semantics", "node/internal/serve", "protocol",
				"bundle", "channel", "digest",
			},
			reason: "a decision is made by channel.Resolve, and only handed over here",
		},
		{
			room: "node/internal/upload", is: "how bundles come in from publishers",
			may:    []string{"node/internal/force", "node/internal/serve", "store", "protocol", "bundle", "channel", "digest"},
			reason: "what comes in does not know how it will be served",
		},
		{
			room: "node/internal/fleet", is: "the node among others: who they are, asking, answering, following",
			may: []string{
				"node/internal/force", "node/internal/serve", "node/internal/background", "gossip", "origin", "internal/durable", "protocol", "bundle",
				"channel", "digest",
			},
			reason: "what others say enters by the door, and knows no other way",
		},
		{
			room: "node/internal/mirror", is: "the origin kept in step",
			may: []string{
				"node/internal/bundles", "node/internal/force", "node/internal/serve", "node/internal/background", "origin", "store", "protocol", "bundle", "channel",
				"digest",
			},
			reason: "what the origin says enters by the door, and knows no other way",
		},
		{
			room: "node/internal/choices", is: "the channels that devices chose, through a fleet",
			may:    []string{"node/internal/serve", "gossip", "origin", "store", "protocol", "bundle", "channel", "digest"},
			reason: "a choice is the word of a device, and has no effect but on what it is given",
		},
		{
			room: "node/internal/stats", is: "what devices do, kept, and summed over a fleet",
			may:    []string{"node/internal/serve", "node/tally", "origin", "store", "protocol", "bundle", "channel", "digest"},
			reason: "counting follows what happened, and decides nothing",
		},
		{
			room: "node/internal/guest", is: "how protocols of other devices join a node",
			may: []string{
				"node/internal/bundles", "node/internal/force", "node/internal/represent", "node/internal/serve", "node/tally", "bundle", "channel", "digest",
			},
			reason: "the edge that guests see is made of what they need",
		},
		{
			room: "node/internal/guest/capgo", is: "Capgo's plugin as a guest",
			may: []string{
				"node/internal/guest", "node/internal/represent", "node/internal/semantics", "node/internal/serve", "node/internal/stats", "node/tally", "store",
				"protocol", "bundle", "channel", "digest",
			},
			reason: "a guest sees the edge that it is given, and no other guest",
		},
		{
			room: "node/internal/guest/capgo/plugin", is: "the protocol of Capgo's plugin",
			may:    []string{"node/internal/scan", "protocol", "bundle", "channel", "digest"},
			never:  servers(),
			reason: "a device protocol translates to channel.Resolve and back, and knows neither store nor server",
		},
		{
			room: "node/internal/guest/appflow", is: "Ionic's plugins as a guest",
			may: []string{
				"node/internal/guest", "node/internal/represent", "node/internal/semantics", "node/internal/serve", "store", "protocol", "bundle", "channel",
				"digest",
			},
			reason: "a guest sees the edge that it is given, and no other guest",
		},
		{
			room: "node/internal/guest/appflow/plugin", is: "the protocol of Ionic's plugins",
			may:    []string{"protocol", "bundle", "channel", "digest"},
			never:  servers(),
			reason: "a device protocol translates to channel.Resolve and back, and knows neither store nor server",
		},
		{
			room: "node/internal/admin", is: "the operators' listener",
			may:    []string{"node/internal/fleet", "node/internal/serve", "node/internal/stats", "store", "protocol", "bundle", "channel", "digest"},
			reason: "operators are shown what the node is given to show",
		},
		{
			room: "node", is: "the running edge: HTTP, wiring, life cycle",
			may:    []string{"gossip", "origin", "store", "protocol", "bundle", "channel", "digest", "internal/durable"},
			reason: "the running edge wires the rooms below it, and nothing but a program wires the edge",
		},
		{
			room: "bench", is: "everything that measures", may: []string{anything},
			reason: "what measures must reach everything",
		},
		{
			room: "e2e", is: "tests of the whole", may: []string{anything},
			reason: "tests of the whole must reach everything",
		},
		{
			room: "cmd", is: "the program: its verbs, flags and output", may: []string{anything},
			reason: "a program is where the rooms come together",
		},
	}
}

// seal says that a package, or a folder of them, is imported by one room alone. Others may reach it through that room.
type seal struct {
	prefix string
	room   string
	reason string
}

// seals are what has one keeper each.
func seals() []seal {
	return []seal{
		{
			prefix: "github.com/dgraph-io/badger", room: "store/internal/database",
			reason: "Badger has traps that end a process or lose data, and each has its guard in one place",
		},
	}
}

// nobodys are the rooms that no other room may import, not even one that may import anything.
func nobodys() []string { return []string{"cmd", "e2e"} }

// tested are the rooms that any test may import beside what its package may: the corpus, the measure of cost, and the
// publisher's side, by which the tests of a node get their releases as real nodes do.
func tested() []string { return []string{"bench/corpus", "bench/cost", "publish"} }
