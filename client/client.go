// Package client is the device's side: check, fetch, verify, apply, roll back. An app can embed it; it knows nothing of
// the server's packages.
//
// The life of one [Client.Update]: the device tells a node what it is and runs. The node's answer carries the signed
// channel manifest; the device checks the signature against the org's trust document, refuses what is older than what
// it has seen, and decides for itself from the manifest ([channel.Resolve]). When there is something new it asks for
// the archive, offering the archive it has as a dictionary, so that one response carries only what changed. The bytes
// go through decoder and digest into a folder beside the running one; only when the digest is that of the signed
// release is the folder given its name and the state replaced, which is the switch.
//
// The folder, all below [Config].Dir:
//
//	bundles/<bundle>/   one installed bundle each: the current one, the previous one
//	state.json          what is installed, and what was seen of each channel, replaced atomically: the truth
//	current             a symbolic link to the current bundle, which follows the state; none while nothing is installed
//	                    and the app runs what it came with, and none on Windows and where links are refused
//	partial/            a download that was cut, to be resumed
//	trust.json          the newest trust document that followed from the one that the app came with
//	nodes.json          how long each of several nodes took to answer, and which failed; only saves time
//	lock                held while a Client is open
//
// An app opens its files below [Client.Path], which needs no link and does not change under it while it runs.
//
// The invariant: a device is never worse off. Until the last step of an update nothing that the app runs is touched; a
// kill at any point leaves either the old version or the new one, whole; and every failure of a patch falls back to the
// full archive.
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

// Errors that callers can tell apart. A manifest that is refused is a [*channel.RefusedError], an answer of a node
// that says no a [*protocol.Problem].
var (
	// ErrLocked is returned when another process works in the same folder.
	ErrLocked = errors.New("the folder is in use by another process")
	// ErrNotInstalled is returned when something is asked of an installed version and there is none.
	ErrNotInstalled = errors.New("nothing is installed")
	// ErrNoNode is returned by Update when no node was given.
	ErrNoNode = errors.New("no node given")
	// ErrNoPrevious is returned by Rollback when no earlier version is kept.
	ErrNoPrevious = errors.New("no previous version is kept")
	// ErrDamaged is returned when a node's bytes are not those of the signed release, after all ways were tried.
	ErrDamaged = errors.New("the node's bytes are not those of the signed release")
)

// DefaultConnections is how many connections an archive comes over at once unless the Config says otherwise: the first
// round trip of so many carries most patches whole (docs/performance.md).
const DefaultConnections = 10

// DefaultSignedEvery is how long a device goes by unsigned answers unless the Config says otherwise. A manifest is a
// few kilobytes, so asking for it once a week costs nothing that counts.
const DefaultSignedEvery = 7 * 24 * time.Hour

// maxConnections bounds what a Config may say, for a node has others to serve.
const maxConnections = 16

// Config says where the device keeps its bundles and whom it asks.
type Config struct {
	Dir     string         // created if missing
	Nodes   []string       // base URLs, of which the nearest is asked first, the others when it fails; Rollback needs none
	App     string         // the app that the device runs
	Channel string         // the channel that it follows
	Trust   []byte         // the org's trust document, as signed; later ones that follow from it come over the network
	Device  channel.Device // what the device is; what it runs is filled in by the Client
	Confirm bool           // take an update for well as soon as it is applied; otherwise call Confirm
	// Connections bounds how many connections to a node an archive comes over at once, 1 to 16; default:
	// DefaultConnections. Eager opens them while the node is still asked whether there is something new: it saves a round
	// trip when there is, and costs the node connections when there is not. While nothing is installed they are always
	// opened so. It is for the default of HTTP only.
	Connections int
	Eager       bool
	// SignedEvery is after how long without a signed manifest the device asks for it even if it has seen it: until then an
	// answer that nothing is new need not be signed. Default: DefaultSignedEvery.
	SignedEvery time.Duration
	// HTTP sends the requests; its CheckRedirect is not used, for redirects to other hosts are never followed.
	HTTP   *http.Client     // default: one with connections of its own
	Logger *slog.Logger     // default: discards
	Now    func() time.Time // default: time.Now
	// Progress, if set, is called while an archive comes in, with the body bytes of it so far and in all; total is -1
	// when the node does not say.
	Progress func(received, total int64)

	// What systems refuse: tests refuse it anywhere.
	symlink   func(root *os.Root, target, name string) error // default: symlink
	removeAll func(root *os.Root, name string) error         // of an old bundle; default: os.Root.RemoveAll
}

// Validate reports everything that is wrong with the Config.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("no folder given"))
	}
	for _, node := range c.Nodes {
		if _, err := protocol.NodeURL(node); err != nil {
			errs = append(errs, fmt.Errorf("node %w", err))
		}
	}
	if c.App == "" || c.Channel == "" {
		errs = append(errs, errors.New("app and channel must be given"))
	}
	if c.Connections < 1 || c.Connections > maxConnections {
		errs = append(errs, fmt.Errorf("%d connections: want 1 to %d", c.Connections, maxConnections))
	}
	if c.SignedEvery < 0 {
		errs = append(errs, fmt.Errorf("a signed manifest every %v: want a positive time", c.SignedEvery))
	}
	return errors.Join(errs...)
}

// withDefaults has the nodes in the form that paths are appended to.
func (c Config) withDefaults() Config {
	c.Nodes = slices.Clone(c.Nodes) // the caller's own stay as they are
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
	dialer *dialer // nil: the caller's http client has its own
	trust  *channel.Trust
	root   *os.Root
	lock   *flock.Flock
	state  state
}

// New opens the folder, makes good what a kill may have left half done, and returns the device. It returns [ErrLocked]
// when another process has the folder open. Close it when done.
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

// Close gives the folder free for others.
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

// Result tells what an Update or a Rollback did.
type Result struct {
	App           string         `json:"app"`
	Channel       string         `json:"channel"`
	Version       string         `json:"version"` // installed now; empty: the app runs what it came with
	Bundle        *digest.Digest `json:"bundle,omitempty"`
	Path          string         `json:"path"`     // of the folder with the files of Version, as Client.Path has it
	Sequence      uint64         `json:"sequence"` // of the channel manifest that decided
	Previous      string         `json:"previous,omitempty"`
	Decision      channel.Kind   `json:"decision"`
	Reason        string         `json:"reason,omitempty"` // why there is no update, if that is not obvious
	UpToDate      bool           `json:"up_to_date"`
	Patched       bool           `json:"patched"`        // the archive came as a patch
	Encoding      string         `json:"encoding"`       // of the archive as it came; empty when none came
	Resumed       bool           `json:"resumed"`        // part of the archive was there from before
	BytesReceived int64          `json:"bytes_received"` // of all response bodies, as sent
	Requests      int            `json:"requests"`
	Parts         int            `json:"parts"` // in which the archive came at once, a request each; 0: it came whole
	// SignedAge is how long ago, by the device's clock, a node last sent the manifest and its signature was checked: for
	// so long the device has gone by the word of nodes alone. It is negative if that never was.
	SignedAge     time.Duration `json:"-"`
	SignedAgeSecs float64       `json:"signed_age_seconds"`
	Duration      time.Duration `json:"-"`
	DurationMS    float64       `json:"duration_ms"`
}

// Update brings the folder to what the channel serves: it checks, and if there is something new fetches, verifies and
// applies it. It asks the nodes in turn until one serves, the nearest first. When it fails, what was installed stays as
// it was.
func (c *Client) Update(ctx context.Context) (Result, error) {
	start := c.config.Now()
	var failures []error
	counted := new(traffic)
	if len(c.config.Nodes) == 0 {
		return Result{}, ErrNoNode
	}
	known := c.contacts()
	nodes := known.order(c.config.Nodes, start)
	for i, node := range nodes {
		t := &transfer{client: c, node: node, last: i == len(nodes)-1, traffic: counted}
		result, err := t.run(ctx)
		if err == nil {
			if len(nodes) > 1 {
				c.keep(known.learn(c.config.Nodes, node, t.wait, nodes[:i], c.config.Now()))
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

// run is Update from one node.
func (t *transfer) run(ctx context.Context) (Result, error) {
	c := t.client
	if c.dialer != nil && c.config.Connections > 1 && (c.config.Eager || c.state.Current == nil) {
		c.dialer.open(ctx, t.node, c.config.Connections)
		defer c.dialer.drop()
	}
	return t.update(ctx)
}

// Confirm tells that the installed version is well. Until then the version that was confirmed before is kept for
// Rollback, whatever comes between.
func (c *Client) Confirm() error {
	if c.state.Current == nil {
		return ErrNotInstalled
	}
	next := c.state
	next.Confirmed = true
	return c.save(next)
}

// Rollback returns to the previous version, without a network, and remembers the one it leaves as failed: it is not
// applied again until the channel serves something else. It returns [ErrNoPrevious] when none is kept, or when the root
// keys have reset the channel since it was installed: a thief may have signed it, and no manifest would bring the
// device up from there.
func (c *Client) Rollback() (Result, error) {
	start := c.config.Now()
	if c.state.Current == nil || c.state.Previous == nil || c.state.revoked(c.state.Previous) {
		return Result{}, ErrNoPrevious
	}
	next := c.state
	next.Failed = c.state.Current
	next.Current, next.Previous = c.state.Previous, nil
	next.Confirmed = true
	if err := c.switchTo(next.runs(next.Current.Version)); err != nil {
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

// Path returns the folder with the files that are installed, below [Config].Dir, or [ErrNotInstalled]. Each bundle has
// a folder of its own: an app that keeps to the path it began with reads files of one version only, whatever Update
// does meanwhile. The folder stays as long as its bundle is the current or the previous one.
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
