package node

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"time"

	"brink/channel"
	"brink/node/internal/fleet"
	"brink/node/internal/guest/appflow"
	"brink/node/internal/guest/appflow/plugin"
	"brink/node/internal/guest/capgo"
	"brink/node/internal/mirror"
	"brink/node/internal/represent"
	"brink/node/internal/semantics"
	"brink/node/internal/wire"
	"brink/protocol"
)

// Defaults of a Config, and the reasons for them.
const (
	// DefaultListen is loopback: exposing the node must be explicit.
	DefaultListen = "127.0.0.1:8080"
	// DefaultCapgo is the path below which requests of Capgo's plugin are answered.
	DefaultCapgo = capgo.DefaultRoot
	// DefaultOriginPoll is the average interval at which the origin is polled. In a fleet, gossip is faster.
	DefaultOriginPoll = mirror.DefaultPoll
	// DefaultHot is enough for tens of bundles: those that most devices of a few apps ask for.
	DefaultHot = 256 << 20
	// DefaultPatchReleases covers devices that missed two releases. Patches for older ones are built after the first
	// request.
	DefaultPatchReleases = 3
	// DefaultPrepare bounds how long a publisher waits for the first representations before the channel moves anyway.
	DefaultPrepare = 20 * time.Second
	// DefaultDrain is how long load balancers have to notice that the node is not ready before it stops accepting.
	DefaultDrain = 5 * time.Second
	// DefaultFinish is how long running requests may take after that: a slow device with a large archive.
	DefaultFinish = 30 * time.Second
	// DefaultUnsent keeps the unsent bytes of one connection within a processor's cache, so that a 5 MB response takes
	// half the processor time, and many slow devices take little memory. It does not limit the bytes in flight.
	DefaultUnsent = 128 << 10
	// DefaultUploads bounds the open uploads of one org; each needs memory for an index and a few chunks.
	DefaultUploads = 16
)

// FleetOptions say which fleet a node belongs to. The zero value is a node without a fleet.
type FleetOptions = fleet.Options

// Limits bound the time and memory of connections. The zero value has the defaults.
type Limits = wire.Config

// Config says how a node runs. The zero value of a field means its default unless it says otherwise.
type Config struct {
	Data   string // folder of the store; required
	Listen string // address of the public listener
	Admin  string // address of the operators' listener; empty: none. Nobody else must be able to reach it
	// AdminHosts are names, in lower case and without a port, by which operators' tools call that listener, besides its
	// address and localhost. Requests by any other name are refused.
	AdminHosts []string
	Trust      [][]byte // the orgs' trust documents, as signed; at least one

	CertFile, KeyFile string // TLS; re-read when they change. Both or none
	Key               []byte // of the certificate, PEM, instead of KeyFile

	Quota        int64 // bytes that the store may hold; default: store.DefaultQuota
	ScrubRate    int64 // bytes per second that are verified in the background; 0: none
	KeepReleases int   // earlier releases of a channel that are never evicted; default: store.DefaultKeepReleases

	Hot           int64 // bytes of RAM for whole representations; negative: none
	PatchReleases int   // earlier releases of a channel against which patches are built at once; negative: none
	Builders      int   // representations built at the same time; default: half of the processors
	Uploads       int   // uploads of one org at the same time

	// Sites are hosts, in lower case and without a port, that serve a channel as a web site at their root. Every channel
	// is also a web site below /web/{app}/{channel}/.
	Sites map[string]Site
	// Fallback serves index.html for paths of web sites that have no file and no extension, for single-page apps.
	Fallback bool

	// PublicURL is the URL by which devices reach the node, for answers that contain it. It is needed behind a proxy that
	// does not pass on Host and X-Forwarded-Proto, or that serves the node below a path. Default: as in each request.
	PublicURL string
	// Capgo is the path below which requests of Capgo's plugin are answered; see package capgo. Default: DefaultCapgo.
	Capgo string
	// Appflow maps the IDs of apps in Ionic Appflow to their names; see package appflow.
	Appflow map[string]string

	Fleet FleetOptions
	// Origin is the URL of a bucket behind the node, see package bucket; empty: none. Releases are written there when
	// they are published, and served from there.
	Origin     string
	OriginAck  bool          // acknowledge releases only once the origin has them
	OriginPoll time.Duration // default: DefaultOriginPoll
	FillRate   int64         // bytes per second that are fetched before they are requested; 0: no bound
	Version    string        // of the program, shown to the fleet

	Prepare time.Duration // see DefaultPrepare; negative: do not wait
	Drain   time.Duration // see DefaultDrain; negative: none
	Finish  time.Duration // see DefaultFinish

	Wire Limits // limits of connections; Unsent: see DefaultUnsent

	AccessLog float64      // share of requests that are logged, 0 to 1; server errors always are
	Logger    *slog.Logger // default: discards
	Now       func() time.Time

	freeSpace  func(dir string) (uint64, error)                  // for tests: free bytes on the disk of the data folder
	built      func(coding semantics.Coding, took time.Duration) // for tests: see represent.Config; default: the metric
	intentWait time.Duration                                     // for tests: see upload.Config
	askWait    time.Duration                                     // for tests: see represent.Config
	encoders   represent.Encoders                                // for tests: see represent.Config
	maxBodies  int64                                             // for tests: see maxBodies
	maxAnswers int64                                             // for tests: see maxAnswers
	maxStreams int64                                             // for tests: see maxStreams
	grace      time.Duration                                     // for tests: see represent.HotConfig
}

// Site names the channel that a host serves.
type Site struct {
	App, Channel string
}

// Validate reports everything that is wrong with the Config.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Data == "" {
		errs = append(errs, errors.New("the data folder is missing"))
	}
	if len(c.Trust) == 0 {
		errs = append(errs, errors.New("the trust document is missing: without one nobody could publish"))
	}
	if (c.CertFile == "") != (c.KeyFile == "" && len(c.Key) == 0) {
		errs = append(errs, errors.New("a certificate needs a key, and a key a certificate"))
	}
	for _, host := range c.AdminHosts {
		if host != strings.ToLower(host) || host == "" || strings.ContainsAny(host, ":/[]") {
			errs = append(errs, fmt.Errorf("admin host %q is not a host name in lower case, without a port", host))
		}
	}
	for host, site := range c.Sites {
		if err := errors.Join(channel.CheckApp(site.App), channel.CheckChannel(site.Channel)); err != nil {
			errs = append(errs, fmt.Errorf("site %q: %w", host, err))
		}
		if host != strings.ToLower(host) || host == "" || strings.ContainsAny(host, ":/") {
			errs = append(errs, fmt.Errorf("site %q is not a host name in lower case", host))
		}
	}
	errs = append(errs, plugin.CheckApps(c.Appflow),
		capgo.CheckRoot(c.Capgo, "/v1", "/web", appflow.Root, "/livez", "/readyz"))
	if c.PublicURL != "" {
		if _, err := protocol.NodeURL(c.PublicURL); err != nil || strings.ContainsAny(c.PublicURL, "?#") {
			errs = append(errs, fmt.Errorf("public URL %q: want one such as https://updates.example.com", c.PublicURL))
		}
	}
	for _, address := range []string{c.Listen, c.Admin} {
		if address == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			errs = append(errs, fmt.Errorf("listen address: %w", err))
		}
	}
	if c.AccessLog < 0 || c.AccessLog > 1 {
		errs = append(errs, fmt.Errorf("share of logged requests is %v, not between 0 and 1", c.AccessLog))
	}
	if c.Quota < 0 || c.ScrubRate < 0 || c.KeepReleases < 0 {
		errs = append(errs, errors.New("quota, scrub rate and kept releases cannot be negative"))
	}
	errs = append(errs, c.Fleet.Validate())
	if c.OriginPoll < 0 || c.FillRate < 0 {
		errs = append(errs, errors.New("origin poll and fill rate cannot be negative"))
	}
	errs = append(errs, c.Wire.Validate())
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	c.Listen = cmp.Or(c.Listen, DefaultListen)
	c.Capgo = cmp.Or(c.Capgo, DefaultCapgo)
	c.Fleet = c.Fleet.WithDefaults()
	c.OriginPoll = cmp.Or(c.OriginPoll, DefaultOriginPoll)
	c.Version = cmp.Or(c.Version, "devel")
	c.Hot = cmp.Or(c.Hot, DefaultHot)
	c.PatchReleases = cmp.Or(c.PatchReleases, DefaultPatchReleases)
	c.Builders = cmp.Or(c.Builders, max(1, runtime.NumCPU()/2))
	c.Uploads = cmp.Or(c.Uploads, DefaultUploads)
	c.maxBodies = cmp.Or(c.maxBodies, maxBodies)
	c.maxAnswers = cmp.Or(c.maxAnswers, maxAnswers)
	c.maxStreams = cmp.Or(c.maxStreams, max(c.Hot, maxStreams))
	c.Wire.Unsent = cmp.Or(c.Wire.Unsent, DefaultUnsent)
	c.Prepare = cmp.Or(c.Prepare, DefaultPrepare)
	c.Drain = cmp.Or(c.Drain, DefaultDrain)
	c.Finish = cmp.Or(c.Finish, DefaultFinish)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}
