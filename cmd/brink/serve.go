package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/node"
	"brink/store"
)

// serveFlags are the settings of a node.
type serveFlags struct {
	data, listen, admin    string
	adminHosts             []string
	trust                  []string
	tlsCert, tlsKey        string
	quota, hot, scrubRate  size
	keepReleases           int
	patchReleases          int
	uploads                int
	prepare, drain, finish time.Duration
	sites, appflow         []string
	publicURL, capgo       string
	fallback               bool
	logLevel, logFormat    string
	accessLog              float64
	fleet                  fleetFlags
}

// defaultScrub reads a full store of the default quota in about 45 minutes, a negligible load for a disk.
const defaultScrub = 4 << 20

func (s *serveFlags) add(cmd *cobra.Command) {
	s.quota, s.hot, s.scrubRate = store.DefaultQuota, node.DefaultHot, defaultScrub
	flags := cmd.Flags()
	flags.StringVar(&s.data, "data", "", "`FOLDER` of the store; created if it does not exist")
	flags.StringVar(&s.listen, "listen", node.DefaultListen,
		"`ADDRESS` for devices and publishers; port 0 selects a free port")
	flags.StringVar(&s.admin, "admin", "",
		"private `ADDRESS` for operators: health, metrics, profiles (default: none)")
	flags.StringArrayVar(&s.adminHosts, "admin-host", nil,
		"host `NAME` under which --admin is reached, besides its address and localhost (repeatable)")
	flags.StringArrayVar(&s.trust, "trust", nil, "an org's trust document, a `FILE` or its content (repeatable)")
	flags.StringVar(&s.tlsCert, "tls-cert", "", "`FILE` with the certificate chain, PEM; reloaded when it changes")
	flags.StringVar(&s.tlsKey, "tls-key", "", "`KEY` of the certificate, PEM: "+secretSources)
	markSecret(cmd, "tls-key")
	flags.Var(&s.quota, "quota", "how much may be stored")
	flags.Var(&s.hot, "hot", "how much memory to use as cache for popular content (0B: none)")
	flags.Var(&s.scrubRate, "scrub-rate", "how much to read per second to find damage on disk (0B: none)")
	flags.IntVar(&s.keepReleases, "keep-releases", store.DefaultKeepReleases,
		"`NUMBER` of earlier releases of each channel that are never evicted")
	flags.IntVar(&s.patchReleases, "patch-releases", node.DefaultPatchReleases,
		"`NUMBER` of earlier releases from which patches are built when a release is published (0: none)")
	flags.IntVar(&s.uploads, "uploads", node.DefaultUploads, "maximum `NUMBER` of open uploads per org")
	flags.StringArrayVar(&s.sites, "site", nil,
		"`HOST=APP/CHANNEL`: serve the channel as a web site at the root of that host (repeatable)")
	flags.BoolVar(&s.fallback, "spa-fallback", false,
		"serve index.html for paths of web sites that have no file and no extension")
	flags.StringVar(&s.publicURL, "public-url", "",
		"`URL` at which devices reach this node, for proxies that do not pass on host and scheme")
	flags.StringVar(&s.capgo, "capgo-path", node.DefaultCapgo, "`PATH` prefix of the API for Capgo's plugin")
	flags.StringArrayVar(&s.appflow, "appflow-app", nil,
		"`ID=APP`: the app for an ID in Ionic Appflow (repeatable)")
	flags.DurationVar(&s.prepare, "prepare-wait", node.DefaultPrepare,
		"how long to wait for patches before a channel serves a new release (0s: not at all)")
	flags.DurationVar(&s.drain, "drain-wait", node.DefaultDrain,
		"how long to report not ready before the node stops accepting connections (0s: not at all)")
	flags.DurationVar(&s.finish, "finish-wait", node.DefaultFinish,
		"how long to wait for running requests after that")
	flags.StringVar(&s.logLevel, "log-level", "info", "`LEVEL` of the log: debug, info, warn or error")
	flags.StringVar(&s.logFormat, "log-format", "text", "`FORMAT` of the log: text or json")
	flags.Float64Var(&s.accessLog, "access-log-sample", 0,
		"`SHARE` of requests to log, 0 to 1; server errors are always logged")
	s.fleet.add(cmd)
	completes(cmd, "log-level", "debug", "info", "warn", "error")
	completes(cmd, "log-format", "text", "json")
	required(cmd, "data")
}

// completes registers the values of a flag for shell completion.
func completes(cmd *cobra.Command, flag string, values ...string) {
	fixed := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, fixed); err != nil {
		panic(err) // a flag that the verb does not have
	}
}

func serveCommand(sh *shell) *cobra.Command {
	var s serveFlags
	cmd := verb("serve", "Run a node",
		`The node stores bundles in --data and serves devices and publishers on --listen. It accepts only what the trust
documents of the orgs allow (--trust). Without --trust, in an empty folder, it makes an org and keys for development,
and listens on loopback only.

On Ctrl-C or SIGTERM it shuts down gracefully: it reports that it is not ready, waits for --drain-wait, stops accepting
connections, waits up to --finish-wait for running requests, and closes the store. A second Ctrl-C kills it, which is
safe too.

"brink config check" prints all settings and their sources.`,
		`
  brink serve --data ./data                                     for development
  brink serve --data /var/lib/brink --listen :8080 --admin 127.0.0.1:9090 --trust acme.trust.json --quota 50GiB
  brink serve --config brink.yaml
  brink serve --data /var/lib/brink --listen :8080 --trust acme.trust.json \
      --fleet acme-prod --fleet-key fleet.key --region eu-west --join edge.internal:7946`,
		func(cmd *cobra.Command, _ []string) error { return sh.serve(cmd.Context(), cmd, &s) })
	s.add(cmd)
	return cmd
}

func (sh *shell) serve(ctx context.Context, cmd *cobra.Command, s *serveFlags) error {
	config, err := s.config(sh, cmd)
	if err != nil {
		return err
	}
	if config.Logger, err = sh.logger(cmd, s); err != nil {
		return err
	}
	var dev *development
	if len(config.Trust) == 0 {
		if dev, err = openDevelopment(cmd, s, &config); err != nil {
			return err
		}
	}
	if dev != nil {
		config.Drain = -1 // no load balancer sends devices to a node for development
		if err := dev.saveTo(store.Config{Dir: config.Data, Quota: config.Quota}); err != nil {
			return err
		}
	}
	n, err := node.New(config)
	if err != nil {
		return err
	}
	if dev != nil {
		sh.announce(dev, n.URL())
	}
	return n.Run(ctx)
}

// maxTLSKey limits the PEM of a certificate's key, in bytes.
const maxTLSKey = 64 << 10

// config returns the configuration of a node. It has no trust document if none is set.
func (s *serveFlags) config(sh *shell, cmd *cobra.Command) (node.Config, error) {
	c := node.Config{
		Data: s.data, Listen: s.listen, Admin: s.admin, AdminHosts: s.adminHosts, CertFile: s.tlsCert,
		Quota: int64(s.quota), ScrubRate: int64(s.scrubRate), KeepReleases: s.keepReleases,
		Hot: orNone(int64(s.hot)), PatchReleases: orNone(s.patchReleases), Uploads: s.uploads,
		Prepare: orNone(s.prepare), Drain: orNone(s.drain), Finish: s.finish,
		AccessLog: s.accessLog, Fallback: s.fallback, PublicURL: s.publicURL, Capgo: s.capgo,
	}
	for _, value := range s.trust {
		raw, err := readTrust(value)
		if err != nil {
			return c, err
		}
		if _, err := channel.LoadTrust(raw); err != nil {
			return c, fmt.Errorf("%s: %w", trustName(value), err)
		}
		c.Trust = append(c.Trust, raw)
	}
	for _, text := range s.sites {
		host, where, _ := strings.Cut(text, "=")
		app, name, ok := strings.Cut(where, "/")
		if !ok {
			return c, (&usageError{message: fmt.Sprintf("--site %q: want HOST=APP/CHANNEL", text)}).of(cmd)
		}
		if c.Sites == nil {
			c.Sites = map[string]node.Site{}
		}
		c.Sites[strings.ToLower(host)] = node.Site{App: app, Channel: name}
	}
	for _, text := range s.appflow {
		id, app, ok := strings.Cut(text, "=")
		if !ok {
			return c, (&usageError{message: fmt.Sprintf("--appflow-app %q: want ID=APP", text)}).of(cmd)
		}
		if c.Appflow == nil {
			c.Appflow = map[string]string{}
		}
		c.Appflow[id] = app
	}
	switch {
	case s.tlsKey == "":
	case isFile(s.tlsKey):
		c.KeyFile = s.tlsKey // it is reloaded when it changes
	default:
		key, err := sh.readSecret("tls-key", s.tlsKey, maxTLSKey)
		if err != nil {
			return c, err
		}
		c.Key = key.raw
	}
	if err := s.fleet.apply(sh, cmd, &c); err != nil {
		return c, err
	}
	refuse := func(flag, want string) (node.Config, error) {
		return c, (&usageError{message: fmt.Sprintf("--%s: want %s", flag, want)}).of(cmd)
	}
	switch {
	case s.quota == 0:
		return refuse("quota", "more than 0B")
	case s.keepReleases < 1:
		return refuse("keep-releases", "1 or more")
	case s.uploads < 1:
		return refuse("uploads", "1 or more")
	case s.patchReleases < 0 || s.prepare < 0 || s.drain < 0:
		return refuse("patch-releases, --prepare-wait and --drain-wait", "0 or more")
	case s.finish <= 0:
		return refuse("finish-wait", "more than 0s")
	case (s.tlsCert == "") != (s.tlsKey == ""):
		return refuse("tls-cert and --tls-key", "both or none")
	case s.accessLog < 0 || s.accessLog > 1:
		return refuse("access-log-sample", "a share between 0 and 1")
	}
	for flag, address := range map[string]string{"listen": s.listen, "admin": s.admin} {
		if _, _, err := net.SplitHostPort(address); err != nil && (flag == "listen" || address != "") {
			return refuse(flag, "an address like 127.0.0.1:8080 or :8080")
		}
	}
	return c, nil
}

// orNone converts 0, which means none in flags, to -1, which means none in [node.Config].
func orNone[N int | int64 | time.Duration](n N) N {
	if n == 0 {
		return -1
	}
	return n
}

// logger returns the logger, which writes to stderr.
func (sh *shell) logger(cmd *cobra.Command, s *serveFlags) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.logLevel)); err != nil || strings.ContainsAny(s.logLevel, "+-") {
		message := fmt.Sprintf("--log-level: %q: want debug, info, warn or error", s.logLevel)
		return nil, (&usageError{message: message}).of(cmd)
	}
	options := &slog.HandlerOptions{Level: level}
	switch s.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(sh.stderr, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(sh.stderr, options)), nil
	}
	return nil, (&usageError{message: fmt.Sprintf("--log-format: %q: want text or json", s.logFormat)}).of(cmd)
}
