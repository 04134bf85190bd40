// Package client implements the device's side: check, fetch, verify, apply, roll back. Apps can embed it; it does not
// import the server's packages.
//
// The life of one [Client.Update]: the device sends a description of itself and of what it runs to a node. The answer
// contains the signed channel manifest. The device verifies the signature against the org's trust document, refuses a
// manifest older than the last one it accepted, and decides from the manifest what to do ([channel.Resolve]). If there
// is an update, it requests the archive and offers the archive it has as a dictionary, so that the response contains
// only what changed. The bytes are decoded, hashed and written to a new folder. If the digest is that of the signed
// release, the folder gets its final name and the state is replaced: this is the switch.
//
// Everything is in the folder [Config].Dir:
//
//	bundles/<bundle>/   one folder for each installed bundle: the current one and the previous one
//	state.json          what is installed, and what was seen of each channel, replaced atomically: authoritative
//	current             a symbolic link to the current bundle, derived from the state; missing while nothing is
//	                    installed and the app runs its built-in bundle, on Windows, and where links are not permitted
//	partial/            an interrupted download, to be resumed
//	trust.json          the newest successor of the trust document that is built into the app
//	nodes.json          how long each of several nodes took to answer, and which failed; an optimization only
//	lock                locked while a Client is open
//
// Apps open their files below [Client.Path], which does not need the link and does not change while the app runs.
//
// The invariant: an update never leaves a device worse off. Until the last step of an update nothing that the app runs
// is changed; if the process is killed, either the old or the new version is complete; and if a patch fails, the device
// fetches the full archive.
package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/gofrs/flock"

	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// Errors that callers can distinguish. The error for a refused manifest is a [*channel.RefusedError], and that for an
// error response of a node is a [*protocol.Problem].
var (
	// ErrLocked is returned by New if another process uses the folder.
	ErrLocked = errors.New("the folder is in use by another process")
	// ErrNotInstalled is returned by methods that need an installed version if there is none.
	ErrNotInstalled = errors.New("nothing is installed")
	// ErrNoNode is returned by Update if the Config has no nodes.
	ErrNoNode = errors.New("no node configured")
	// ErrNoPrevious is returned by Rollback if there is no previous version.
	ErrNoPrevious = errors.New("there is no previous version to go back to")
	// ErrDamaged is returned if bytes from a node do not match the signed release, after all retries and fallbacks.
	ErrDamaged = errors.New("the bytes from the node do not match the signed release")
)

// DefaultConnections is the default number of parallel connections for an archive. Their first round trip is enough for
// most patches (docs/performance.md).
const DefaultConnections = 10

// DefaultSignedEvery is the default time for which a device accepts unsigned answers. A manifest is a few kilobytes, so
// the cost of fetching it once a week is negligible.
const DefaultSignedEvery = 7 * 24 * time.Hour

// maxConnections limits Config.Connections, to protect nodes.
const maxConnections = 16

// Config is the configuration of a [Client].
type Config struct {
	Dir     string         // created if missing
	Nodes   []string       // base URLs; the nearest is used first, the others when it fails; Rollback needs none
	App     string         // the app that the device runs
	Channel string         // the channel that it follows
	Trust   []byte         // the org's trust document, as signed; its successors are fetched from nodes
	Device  channel.Device // the properties of the device; the Client fills in what it runs
	Confirm bool           // confirm each update as soon as it is applied; otherwise call Confirm
	// Connections is the maximum number of parallel connections to a node for one archive, 1 to 16; default:
	// DefaultConnections. Eager opens them during the check for an update: this saves a round trip if there is one, and
	// costs the node unused connections if there is none. While nothing is installed, they are always opened early.
	// Eager has no effect if HTTP is set.
	Connections int
	Eager       bool
	// SignedEvery is the maximum time between signed manifests: until then the node may answer that nothing has changed
	// without sending the manifest again. Default: DefaultSignedEvery.
	SignedEvery time.Duration
	// HTTP sends the requests. Its CheckRedirect is ignored: redirects to other hosts are never followed.
	HTTP   *http.Client     // default: a client with its own connections
	Logger *slog.Logger     // default: discards
	Now    func() time.Time // default: time.Now
	// Progress, if set, is called while an archive is received, with the number of body bytes so far and in total; total
	// is -1 if unknown.
	Progress func(received, total int64)

	// Operations that some systems refuse, replaceable by tests.
	symlink   func(root *os.Root, target, name string) error // default: symlink
	removeAll func(root *os.Root, name string) error         // of an old bundle; default: os.Root.RemoveAll
}

// Validate returns an error with everything that is wrong with the Config.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("no folder configured"))
	}
	for _, node := range c.Nodes {
		if _, err := protocol.NodeURL(node); err != nil {
			errs = append(errs, fmt.Errorf("node %w", err))
		}
	}
	if c.App == "" || c.Channel == "" {
		errs = append(errs, errors.New("app and channel are required"))
	}
	if c.Connections < 1 || c.Connections > maxConnections {
		errs = append(errs, fmt.Errorf("%d connections: want 1 to %d", c.Connections, maxConnections))
	}
	if c.SignedEvery < 0 {
		errs = append(errs, fmt.Errorf("a signed manifest every %v: want a positive time", c.SignedEvery))
	}
	return errors.Join(errs...)
}

// withDefaults returns the Config with defaults, and with nodes in the form to which paths are appended.
func (c Config) withDefaults() Config {
	c.Nodes = slices.Clone(c.Nodes) // do not change the caller's slice
	for i, node := range c.Nodes {
		if base, err := protocol.NodeURL(node); err == nil {
			c.Nodes[i] = base
		}
	}
	c.Connections = cmp.Or(c.Connections, DefaultConnections)
	c.SignedEvery = cmp.Or(c.SignedEvery, DefaultSignedEvery)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.symlink == nil {
		c.symlink = symlink
	}
	if c.removeAll == nil {
		c.removeAll = (*os.Root).RemoveAll
	}
	return c
}

// Client is a device. It is not safe for concurrent use; one folder can have one Client at a time.
type Client struct {
	config Config
	http   *http.Client
	dialer *dialer // nil: the HTTP client of the caller is used
	trust  *channel.Trust
	root   *os.Root
	lock   *flock.Flock
	state  state
}

// New opens the folder, completes an update that was interrupted, and returns the device. It returns [ErrLocked] if
// another process has the folder open. The caller has to close the Client.
func New(config Config) (*Client, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	config = config.withDefaults()
	c := &Client{config: config, http: &http.Client{}}
	if config.HTTP != nil {
		*c.http = *config.HTTP
	} else {
		c.dialer = newDialer()
		c.http.Transport = c.dialer.transport(config.Connections)
	}
	c.http.CheckRedirect = protocol.CheckRedirect
	if err := c.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", config.Dir, err), c.Close())
	}
	return c, nil
}

// Close unlocks the folder and closes connections.
func (c *Client) Close() error {
	var errs []error
	if c.root != nil {
		errs = append(errs, c.root.Close())
	}
	if c.lock != nil {
		errs = append(errs, c.lock.Close())
	}
	c.http.CloseIdleConnections()
	return errors.Join(errs...)
}

// Result is the result of an Update or a Rollback.
type Result struct {
	App           string         `json:"app"`
	Channel       string         `json:"channel"`
	Version       string         `json:"version"` // installed now; empty: the app runs its built-in bundle
	Bundle        *digest.Digest `json:"bundle,omitempty"`
	Path          string         `json:"path"`     // of the folder with the files of Version, as from Client.Path
	Sequence      uint64         `json:"sequence"` // of the channel manifest
	Previous      string         `json:"previous,omitempty"`
	Decision      channel.Kind   `json:"decision"`
	Reason        string         `json:"reason,omitempty"` // why there is no update, if that is not obvious
	UpToDate      bool           `json:"up_to_date"`
	Patched       bool           `json:"patched"`        // the archive was received as a patch
	Encoding      string         `json:"encoding"`       // of the archive as received; empty if none was
	Resumed       bool           `json:"resumed"`        // an earlier download of the archive was resumed
	BytesReceived int64          `json:"bytes_received"` // of all response bodies, as sent
	Requests      int            `json:"requests"`
	Parts         int            `json:"parts"` // parallel requests for parts of the archive; 0: a single request
	// SignedAge is how long ago, by the device's clock, a signed manifest was last received and verified; since then the
	// device has relied on unsigned answers. It is negative if none ever was.
	SignedAge     time.Duration `json:"-"`
	SignedAgeSecs float64       `json:"signed_age_seconds"`
	Duration      time.Duration `json:"-"`
	DurationMS    float64       `json:"duration_ms"`
}

// Update updates the folder to the release that the channel serves: it checks for an update, and fetches, verifies and
// applies it if there is one. It tries one node after the other, the nearest first, until one succeeds. If Update
// fails, the installed version is unchanged.
func (c *Client) Update(ctx context.Context) (Result, error) {
	start := c.config.Now()
	var failures []error
	counted := new(traffic)
	if len(c.config.Nodes) == 0 {
		return Result{}, ErrNoNode
	}
	known := c.loadContacts()
	nodes := known.order(c.config.Nodes, start)
	for i, node := range nodes {
		t := &transfer{client: c, node: node, last: i == len(nodes)-1, traffic: counted}
		result, err := t.run(ctx)
		if err == nil {
			if len(nodes) > 1 {
				c.saveContacts(known.record(c.config.Nodes, node, t.wait, nodes[:i], c.config.Now()))
			}
			return c.finish(result, counted, start), nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", node, err))
		if ctx.Err() != nil {
			break
		}
		c.config.Logger.Warn("node failed", "node", node, "error", err)
	}
	return c.finish(Result{}, counted, start), errors.Join(failures...)
}

// run performs an Update from one node.
func (t *transfer) run(ctx context.Context) (Result, error) {
	c := t.client
	if c.dialer != nil && c.config.Connections > 1 && (c.config.Eager || c.state.Current == nil) {
		c.dialer.openAhead(ctx, t.node, c.config.Connections)
		defer c.dialer.closeUnused()
	}
	return t.update(ctx)
}

// Confirm records that the installed version works. Until then Rollback returns to the version that was confirmed last,
// even after further updates.
func (c *Client) Confirm() error {
	if c.state.Current == nil {
		return ErrNotInstalled
	}
	next := c.state
	next.Confirmed = true
	return c.save(next)
}

// Rollback returns to the previous version, without a network, and records the current one as failed: it is not applied
// again until the channel serves another one. It returns [ErrNoPrevious] if there is no previous version, or if the
// root keys have reset the channel since it was installed: that version may have been signed with a stolen key, and no
// manifest would update the device from it.
func (c *Client) Rollback() (Result, error) {
	start := c.config.Now()
	if c.state.Current == nil || c.state.Previous == nil || c.state.revoked(c.state.Previous) {
		return Result{}, ErrNoPrevious
	}
	next := c.state
	next.Failed = c.state.Current
	next.Current, next.Previous = c.state.Previous, nil
	next.Confirmed = true
	if err := c.switchTo(next.withVersion(next.Current.Version)); err != nil {
		return Result{}, err
	}
	sequence := c.state.channel().Seen.Sequence
	return c.finish(Result{Decision: channel.Rollback, Sequence: sequence}, new(traffic), start), nil
}

// Installed returns the version and bundle that are installed, or [ErrNotInstalled].
func (c *Client) Installed() (version string, bundle digest.Digest, err error) {
	if c.state.Current == nil {
		return "", digest.Digest{}, ErrNotInstalled
	}
	return c.state.Current.Version, c.state.Current.Bundle, nil
}

// Path returns the folder with the installed files, below [Config].Dir, or [ErrNotInstalled]. Each bundle has its own
// folder: an app that calls Path once, when it starts, reads files of one version only, even during an Update. The
// folder exists as long as its bundle is the current or the previous one.
func (c *Client) Path() (string, error) {
	if c.state.Current == nil {
		return "", ErrNotInstalled
	}
	return c.path(c.state.Current), nil
}

func (c *Client) finish(r Result, counted *traffic, start time.Time) Result {
	r.App, r.Channel = c.config.App, c.config.Channel
	if current := c.state.Current; current != nil {
		r.Version, r.Bundle, r.Path = current.Version, &current.Bundle, c.path(current)
		if c.state.Previous != nil && !c.state.revoked(c.state.Previous) {
			r.Previous = c.state.Previous.Version
		}
	}
	r.SignedAge = -time.Second
	if age, ok := c.state.channel().signedAge(c.config.Now()); ok {
		r.SignedAge = age
	}
	r.SignedAgeSecs = r.SignedAge.Seconds()
	r.BytesReceived, r.Requests = counted.received.Load(), int(counted.requests.Load())
	r.Duration = c.config.Now().Sub(start)
	r.DurationMS = float64(r.Duration.Microseconds()) / 1000
	return r
}
