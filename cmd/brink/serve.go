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

// defaultScrub reads a full store of the default quota once in about 45 minutes, which no disk notices.
const defaultScrub = 4 << 20

func (s *serveFlags) add(cmd *cobra.Command) {
	s.quota, s.hot, s.scrubRate = store.DefaultQuota, node.DefaultHot, defaultScrub
	flags := cmd.Flags()
	flags.StringVar(&s.data, "data", "", "`FOLDER` of the store; made if it is missing")
	flags.StringVar(&s.listen, "listen", node.DefaultListen,
		"`ADDRESS` for devices and publishers; port 0 takes a free one")
	flags.StringVar(&s.admin, "admin", "",
		"private `ADDRESS` for operators: health, metrics, profiles (none unless given)")
	flags.StringArrayVar(&s.adminHosts, "admin-host", nil,
		"`NAME` by which operators' tools call --admin, besides its address and localhost (repeatable)")
	flags.StringArrayVar(&s.trust, "trust", nil, "an org's trust document, a `FILE` or the document itself (repeatable)")
	flags.StringVar(&s.tlsCert, "tls-cert", "", "`FILE` of the certificate chain, PEM; read again when it changes")
	flags.StringVar(&s.tlsKey, "tls-key", "", "`KEY` of the certificate, PEM: "+secretSources)
	markSecret(cmd, "tls-key")
	flags.Var(&s.quota, "quota", "how much the store may hold")
	flags.Var(&s.hot, "hot", "how much memory may keep what is asked for most (0B: none)")
	flags.Var(&s.scrubRate, "scrub-rate", "how much is read per second to find damage on the disk (0B: nothing)")
	flags.IntVar(&s.keepReleases, "keep-releases", store.DefaultKeepReleases,
		"how many earlier releases of a channel are never evicted, a `NUMBER`")
	flags.IntVar(&s.patchReleases, "patch-releases", node.DefaultPatchReleases,
		"from how many earlier releases patches are made at once, a `NUMBER` (0: none)")
	flags.IntVar(&s.uploads, "uploads", node.DefaultUploads, "`NUMBER` of uploads that each org may have open")
	flags.StringArrayVar(&s.sites, "site", nil,
		"`HOST=APP/CHANNEL`: serve the channel as a web site at the root of that host (repeatable)")
	flags.BoolVar(&s.fallback, "spa-fallback", false,
		"serve index.html for paths of web sites that have no file and no extension")
	flags.StringVar(&s.publicURL, "public-url", "",
		"`URL` by which devices reach this node, where a proxy does not pass on host and scheme")
	flags.StringVar(&s.capgo, "capgo-path", node.DefaultCapgo, "`PATH` below which Capgo's plugin is answered")
	flags.StringArrayVar(&s.appflow, "appflow-app", nil,
		"`ID=APP`: the app for devices that ask by its ID in Ionic Appflow (repeatable)")
	flags.DurationVar(&s.prepare, "prepare-wait", node.DefaultPrepare,
		"how long a channel waits for its patches before it moves (0s: not at all)")
	flags.DurationVar(&s.drain, "drain-wait", node.DefaultDrain,
		"how long the node says that it is not ready before it stops to accept (0s: not at all)")
	flags.DurationVar(&s.finish, "finish-wait", node.DefaultFinish,
		"how long running requests may take after that")
	flags.StringVar(&s.logLevel, "log-level", "info", "`LEVEL` of the log: debug, info, warn or error")
	flags.StringVar(&s.logFormat, "log-format", "text", "`FORMAT` of the log: text or json")
	flags.Float64Var(&s.accessLog, "access-log-sample", 0,
		"`SHARE` of requests that are logged, 0 to 1; what the node failed always is")
	s.fleet.add(cmd)
	completes(cmd, "log-level", "debug", "info", "warn", "error")
	completes(cmd, "log-format", "text", "json")
	required(cmd, "data")
}

// completes lets a shell complete the values of a flag.
func completes(cmd *cobra.Command, flag string, values ...string) {
	fixed := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, fixed); err != nil {
		panic(err) // a flag that the verb does not have
	}
}

func serveCommand(sh *shell) *cobra.Command {
	var s serveFlags
	cmd := verb("serve", "Run a node",
		`The node keeps bundles in --data and answers devices and publishers on --listen. It believes what the orgs' trust
documents allow (--trust), and nothing else. On an empty folder without --trust it makes an org and keys for
development there, and listens on loopback only.

It stops in good order on Ctrl-C or SIGTERM: it says that it is not ready, waits --drain-wait, stops to accept, lets
running requests finish for --finish-wait, and closes the store. A second Ctrl-C ends it at once; no harm is done.

"brink config check" tells what all settings are and where each comes from.`,
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
		if err := dev.settle(store.Config{Dir: config.Data, Quota: config.Quota}); err != nil {
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

// maxTLSKey bounds, in bytes, the PEM of a certificate's key.
const maxTLSKey = 64 << 10

// config makes a node's configuration of the flags. Without a trust document it is not complete yet.
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
		c.KeyFile = s.tlsKey // it is read again when it changes
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

// orNone makes the 0 that means none to a user the negative number that means none to a node.
func orNone[N int | int64 | time.Duration](n N) N {
	if n == 0 {
		return -1
	}
	return n
}

// logger returns the log that goes to stderr.
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
