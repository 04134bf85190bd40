// Package publish implements the publisher's side: index a folder, sign, send the missing chunks, move the channel. It
// does not import the server's packages.
//
// The life of one [Publisher.Publish]: the folder is read once to build an index. The publisher signs a bundle intent
// (which bundle, which index, for which app) and posts both; the node answers which chunks are missing, and only those
// are sent, in one stream. Then the current channel manifest is fetched from the node, verified, extended by the
// release, signed and put back, on the condition that nobody else has moved the channel in the meantime.
//
// A release can have attachments, each made by an [Attacher]: a [Zip] of its files, or the format of another service,
// such as package publish/capgo. They are made in a temporary folder, from files that are verified against the index
// again, and each is a bundle that is uploaded in the same way before the channel moves. They are deterministic, so
// that a repeated Publish finds or repairs them.
//
// The invariant: the node trusts only signatures, and the publisher signs data from the node only after verifying it
// against its own copy of the org's trust document ([Config].Trust), or a successor that its roots have signed.
package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// ErrConflict is returned if somebody else has moved the channel at the same time. Their change is in force; publishing
// again applies this one after it.
var ErrConflict = errors.New("the channel was moved by someone else at the same time")

// ErrLapsed is returned for a channel whose manifest was signed by keys that the trust document does not allow,
// together with the [*channel.RefusedError] that says which.
var ErrLapsed = errors.New("if its key was removed from the trust document, start the channel over")

// ErrForeignTrust is returned if a node or an origin has a trust document that does not follow from [Config].Trust,
// together with the [*channel.RefusedError] that says why: it belongs to another org of the same name, or it replaced
// the publisher's document without a signature of its roots.
var ErrForeignTrust = errors.New("the trust document there does not follow from yours")

// ErrSequence is returned if a channel is not at [Config].ExpectSequence. Nothing was signed.
var ErrSequence = errors.New("the channel is not at the expected sequence")

// ErrUnpublished is returned for a channel to which nothing has been published yet.
var ErrUnpublished = errors.New("nothing was published to it yet")

// Config is the configuration of a [Publisher].
type Config struct {
	Node     string               // base URL
	Origin   Origin               // instead of a node
	Trust    []byte               // the org's trust document, as signed; required
	Keys     []channel.PrivateKey // as many as the threshold of the role requires
	HTTP     *http.Client         // default: a client with a timeout for the head of a response, but not for the body
	Now      func() time.Time     // default: time.Now
	Progress func(Event)          // if set, called by one goroutine at a time; must not block

	// Advanced, if set, is called with a successor of Trust that the node or origin has and Trust's roots have signed,
	// before anything else is signed. The caller should save it and use it as Trust from then on.
	Advanced func(*channel.Trust)

	// Life is how long a manifest is valid. 0: as long as the previous one; the first of a channel is valid for
	// DefaultLife, or Forever in the org for development. Forever: it never expires.
	Life time.Duration

	// ExpectSequence, if set, is the sequence at which the channel must be before it moves, 0 if nothing has been
	// published to it yet; otherwise the error is ErrSequence.
	ExpectSequence *uint64
	// HalfSigned, if set, is called with a channel manifest that needs more signatures than those of Keys, instead of
	// returning the error [channel.CodeNotEnoughSignatures]. The channel does not move. After other keys have signed with
	// [channel.Cosign], [Publisher.Push] moves it. The bundle is uploaded first, for which Keys must satisfy a role.
	HalfSigned func(manifest []byte) error

	// Replicas and Regions are the numbers of nodes of a fleet, and of regions, in which a release must be durable before
	// a method that moves a channel returns; less than 2: only on the node that answers. If they are not reached, the
	// channel moves nevertheless, and the error is a [*ReplicasError].
	Replicas, Regions int
}

// DefaultLife is the default validity of the first manifest of a channel.
const DefaultLife = 90 * 24 * time.Hour

// Forever is the life of manifests that never expire.
const Forever time.Duration = -1

// Event reports the progress of a Publish.
type Event struct {
	Stage Stage
	Done  int64 // bytes
	Total int64 // bytes; -1 if unknown
}

// Stage is what a Publish is doing.
type Stage string

// The stages of a Publish, in order.
const (
	Reading   Stage = "reading"
	Attaching Stage = "making attachments"
	Sending   Stage = "sending"
	Moving    Stage = "moving the channel"
)

// Validate returns an error with everything that is wrong with the Config.
func (c Config) Validate() error {
	var errs []error
	if c.Origin != nil && c.Node != "" {
		errs = append(errs, errTwoPlaces)
	}
	if c.Origin == nil {
		if _, err := protocol.NodeURL(c.Node); err != nil {
			errs = append(errs, fmt.Errorf("node %w", err))
		}
	}
	if len(c.Trust) == 0 {
		errs = append(errs, errors.New("no trust document configured: it is needed to verify what a node sends"))
	}
	if c.Replicas < 0 || c.Replicas > protocol.MaxReplicas || c.Regions < 0 || c.Regions > protocol.MaxReplicas {
		errs = append(errs, fmt.Errorf("replicas and regions: want at most %d", protocol.MaxReplicas))
	}
	if c.Origin != nil && c.replicated() {
		errs = append(errs, errors.New("replicas and regions cannot be set for an origin, only for a node"))
	}
	return errors.Join(errs...)
}

// withDefaults returns the Config with defaults, and with the node in the form to which paths are appended.
func (c Config) withDefaults() Config {
	if base, err := protocol.NodeURL(c.Node); err == nil {
		c.Node = base
	}
	if c.HTTP == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.ResponseHeaderTimeout = 5 * time.Minute // a node verifies a whole bundle before it answers
		c.HTTP = &http.Client{Transport: transport}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Progress == nil {
		c.Progress = func(Event) {}
	}
	return c
}

// Publisher publishes to one node. It is safe for concurrent use if Config.Progress is.
type Publisher struct {
	config Config
	trust  *channel.Trust // the configured one
}

// New returns a Publisher.
func New(config Config) (*Publisher, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	config = config.withDefaults()
	trust, err := channel.LoadTrust(config.Trust)
	if err != nil {
		return nil, fmt.Errorf("trust document: %w", err)
	}
	return &Publisher{config: config, trust: trust}, nil
}

// Request is what to publish, and where.
type Request struct {
	Dir     string   // the folder whose files are the bundle
	Exclude []string // patterns of files to leave out; see bundle.Folder
	// ExcludeWarned leaves out the files that [Inspect] warns of by their names.
	ExcludeWarned bool
	// AllowPrivateKeys publishes a folder with private keys, instead of returning a [*PrivateKeyError].
	AllowPrivateKeys bool
	// Warn, if set, is called with each warning about the folder before anything is sent.
	Warn func(Warning)

	App       string
	Version   string // semantic version
	Channel   string
	Link      string // URL of a page about the release
	Comment   string
	Mandatory bool
	Native    map[channel.Platform]channel.Limit // native apps that can run it; a platform without an entry: all
	// Attachments make the attachments of the release, each of a different kind. Without a [Zip] among them the release
	// has a zip if the previous release has one. For any other kind that the previous release has, there must be an
	// Attacher here, which makes the next attachment or drops it; otherwise the release is refused.
	Attachments []Attacher
	// Rollout, if set, starts a rollout, see [channel.Manifest.Roll]; Publish fills in its From. It cannot be combined
	// with Restart, which has no previous release for the other devices.
	Rollout *channel.Rollout
	// Restart starts over a channel whose manifest was lost, or was signed by a key that the trust document no longer
	// allows: only its sequence and version are used, see [channel.Manifest.Restart].
	Restart bool
	// Above is the last sequence of a lost channel that devices have seen. The sequence of the new manifest is higher.
	Above  uint64
	DryRun bool // do everything except uploading and moving the channel
}

// Result is the result of a Publish, a Promote or a Rollback, or what it would be.
type Result struct {
	App        string        `json:"app"`
	Channel    string        `json:"channel"`
	Version    string        `json:"version"`
	Bundle     digest.Digest `json:"bundle"`
	Sequence   uint64        `json:"sequence"` // of the channel manifest in force now
	Files      int           `json:"files"`
	Bytes      int64         `json:"bytes"`             // of the archive
	Chunks     int           `json:"chunks"`            // distinct ones in the bundle
	ChunksSent int           `json:"chunks_sent"`       // that the node lacked
	BytesSent  int64         `json:"bytes_sent"`        // of all request bodies
	Unchanged  bool          `json:"unchanged"`         // the channel served this release already
	Expires    *time.Time    `json:"expires,omitempty"` // when the manifest expires; nil: never
	Serves     []Serving     `json:"serves,omitempty"`  // what the signed manifest serves to which devices

	Attachments []Attached `json:"attachments,omitempty"` // of the release; above, only BytesSent includes them

	Rollout *channel.Rollout `json:"rollout,omitempty"`  // nil: the release is for all devices
	BuiltIn bool             `json:"built_in,omitempty"` // devices outside of Rollout go back to their built-in bundle

	Warnings []Warning `json:"warnings,omitempty"` // about the folder; see Inspect

	// Replicas are the nodes on which it is durable, if several were requested.
	Replicas []protocol.Replica `json:"replicas,omitempty"`

	HalfSigned bool    `json:"half_signed,omitempty"` // nothing moved: more keys must sign, see Config.HalfSigned
	DryRun     bool    `json:"dry_run"`
	DurationMS float64 `json:"duration_ms"`
}

// Publish publishes the folder as a release of the app, which the channel serves from then on. It is idempotent: chunks
// that the node has are not sent again, and a channel that serves the release already is not changed. It returns
// [ErrConflict] if somebody else moved the channel at the same time, a [*channel.RefusedError] if signatures or rules
// forbid it, an [*AttachmentError] if an attachment cannot be made, and a [*protocol.Problem] for other errors of the
// node. If it returns nil, the release and its attachments are durable on the node.
func (p *Publisher) Publish(ctx context.Context, r Request) (Result, error) {
	return p.run(Result{App: r.App, Channel: r.Channel, Version: r.Version, DryRun: r.DryRun}, func(s *session) error {
		return s.publish(ctx, r)
	})
}

// run calls work with a new session and adds the duration to its result.
func (p *Publisher) run(result Result, work func(*session) error) (Result, error) {
	start := p.config.Now()
	err := work(&session{Publisher: p, result: &result})
	result.DurationMS = float64(p.config.Now().Sub(start).Microseconds()) / 1000
	return result, err
}

// session is one Publish, Promote or Rollback.
type session struct {
	*Publisher
	result *Result
	trust  *channel.Trust // the configured one, or its newest successor; set by advanceTrust
	shared bool           // the node or origin has the same document
}

func (s *session) publish(ctx context.Context, r Request) error {
	if r.Restart && r.Rollout != nil {
		return errors.New("a channel that starts over cannot have a rollout: there is no previous release for other devices")
	}
	if err := r.checkAttachments(); err != nil {
		return err
	}
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	ix, err := s.read(ctx, root, &r)
	if err != nil {
		return fmt.Errorf("read %s: %w", r.Dir, err)
	}
	if err := s.inspect(root.FS(), ix, &r); err != nil {
		return fmt.Errorf("folder %s: %w", r.Dir, err)
	}
	if err := s.resolveTrust(ctx, r.App); err != nil {
		return err
	}
	release := s.release(r, ix)
	// The next manifest is made before attachments are made and anything is uploaded, to find errors early.
	current, err := s.current(ctx, r)
	if err != nil {
		return err
	}
	if _, err := s.next(r, current, release); err != nil {
		return err
	}
	made, err := s.attach(ctx, r, root.FS(), ix, current, &release)
	if err != nil {
		return err
	}
	return errors.Join(s.put(ctx, r, root.FS(), ix, current, release, made), made.Close())
}

// put signs the manifest that serves the release, uploads the release and its attachments, and moves the channel.
func (s *session) put(
	ctx context.Context,
	r Request,
	files fs.FS,
	ix *bundle.Index,
	current served,
	release channel.Release,
	made *maker,
) error {
	next, err := s.next(r, current, release)
	if err != nil {
		return err
	}
	raw, err := s.sign(current, next)
	if err != nil {
		return err
	}
	if err := s.putTrust(ctx); err != nil {
		return err
	}
	if err := s.upload(ctx, r, ix, files); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	if err := s.sendAttachments(ctx, r, made); err != nil {
		return err
	}
	if err := s.move(ctx, current, raw); !errors.Is(err, ErrConflict) {
		return err
	} else if !s.serves(ctx, release) {
		return err
	}
	return nil
}

// serves reports whether the channel serves the release already, because of an earlier attempt whose answer was lost,
// or because somebody else has published the same files. Then the conflict is not an error.
func (s *session) serves(ctx context.Context, release channel.Release) bool {
	now, err := s.manifest(ctx, s.result.App, s.result.Channel)
	if err != nil || now.manifest.Release.Version != release.Version || now.manifest.Release.Bundle != release.Bundle ||
		!sameAttachments(&now.manifest.Release, &release) {
		return false
	}
	s.result.Sequence, s.result.Unchanged = now.manifest.Sequence, true
	return true
}

func (s *session) release(r Request, ix *bundle.Index) channel.Release {
	raw := ix.Encode()
	return channel.Release{
		Version:   r.Version,
		Bundle:    ix.Bundle(),
		SHA256:    ix.Archive.SHA256,
		Size:      ix.Archive.Size,
		Index:     digest.Sum(raw),
		IndexSize: int64(len(raw)),
		Files:     len(ix.Files),
		Created:   s.config.Now().UTC().Truncate(time.Second),
		Link:      r.Link,
		Comment:   r.Comment,
		Mandatory: r.Mandatory,
		Native:    r.Native,
	}
}
