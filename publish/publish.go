// Package publish is the publisher's side: index a folder, sign, send what the node lacks, move the channel. It knows
// nothing of the server's packages.
//
// The life of one [Publisher.Publish]: the folder is read once and becomes an index. The publisher signs the bundle
// intent (which bundle, which index, for which app) and posts both; the node answers which chunks it lacks, and only
// those are sent, in one stream. Then the channel manifest that the node has is fetched, checked, extended by the
// release, signed and put back, on the condition that nobody else has moved the channel meanwhile.
//
// A release can have attachments, which an [Attacher] of each kind makes: a [Zip] of its files, or what one service
// wants, such as package publish/capgo. They are made in a temporary folder, from files that are checked against the
// index again, and each is a bundle that goes the same way before the channel moves. All of them come out the same when
// they are made again, which is what lets a repeated Publish find them, or heal them.
//
// The invariant: nothing here is trusted by the node but the signatures, and nothing that the node says is signed
// without having been checked against the org's trust document that the publisher holds itself ([Config].Trust), or a
// successor that its roots signed.
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

// ErrConflict is returned when somebody else has moved the channel at the same time. What they published stands; doing
// it again puts this release on top of theirs.
var ErrConflict = errors.New("the channel was moved by someone else at the same time")

// ErrLapsed is returned for a channel whose manifest was signed by keys that the trust document does not allow, beside
// the [*channel.RefusedError] that says which.
var ErrLapsed = errors.New("if its key was taken out of the trust document, publish anew")

// ErrForeignTrust is returned when a node or an origin has a trust document that does not follow from [Config].Trust,
// beside the [*channel.RefusedError] that says why: it is of somebody else who calls himself by the org's name, or the
// publisher's own was replaced in a way that its roots did not sign.
var ErrForeignTrust = errors.New("the trust document there does not follow from yours")

// ErrSequence is returned when a channel is not at [Config].ExpectSequence. Nothing was signed.
var ErrSequence = errors.New("the channel is not at the sequence that was expected")

// ErrUnpublished is returned for a channel to which nothing was published yet.
var ErrUnpublished = errors.New("nothing was published to it yet")

// Config says which node to publish to and by whose keys.
type Config struct {
	Node     string               // base URL
	Origin   Origin               // instead of a node
	Trust    []byte               // the org's trust document, as signed; required
	Keys     []channel.PrivateKey // as many as the role's threshold asks for
	HTTP     *http.Client         // default: one with a time limit for the first byte of an answer, none for the whole
	Now      func() time.Time     // default: time.Now
	Progress func(Event)          // if set, called by one goroutine at a time, and must not block

	// Advanced, if set, is called with a successor of Trust that the other side has and Trust's roots agree to, before
	// anything is signed: keep it in the place of Trust.
	Advanced func(*channel.Trust)

	// Life is how long a manifest is good for. 0: as long as the one before, or DefaultLife for the first of a channel,
	// but for ever in the org that is for development. Forever: it never expires.
	Life time.Duration

	// ExpectSequence, if set, is the sequence that the channel has to be at before it moves, 0 if nothing was published
	// to it yet; otherwise ErrSequence.
	ExpectSequence *uint64
	// HalfSigned, if set, is given a channel manifest that needs more signatures than Keys give, in the place of the
	// error [channel.CodeNotEnoughSignatures]. Nothing moves. Once others have added theirs with [channel.Cosign],
	// [Publisher.Push] moves the channel. A bundle is uploaded before that only where a role of Keys alone may.
	HalfSigned func(manifest []byte) error

	// Replicas and Regions are on how many nodes of a fleet, and in how many regions, a release is to be durable before
	// what moves a channel returns; less than 2: the node that answers is enough. With fewer the error is a
	// [*ReplicasError], and the channel has moved all the same.
	Replicas, Regions int
}

// DefaultLife is how long the manifest of a channel is good for unless the publisher says otherwise.
const DefaultLife = 90 * 24 * time.Hour

// Forever is a life that does not end.
const Forever time.Duration = -1

// Event tells how far a Publish has come.
type Event struct {
	Stage Stage
	Done  int64 // bytes
	Total int64 // bytes; -1 when not known yet
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

// Validate reports everything that is wrong with the Config.
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
		errs = append(errs, errors.New("no trust document given: what a node says is believed by it alone"))
	}
	if c.Replicas < 0 || c.Replicas > protocol.MaxReplicas || c.Regions < 0 || c.Regions > protocol.MaxReplicas {
		errs = append(errs, fmt.Errorf("replicas and regions: want at most %d", protocol.MaxReplicas))
	}
	if c.Origin != nil && c.replicated() {
		errs = append(errs, errors.New("an origin has no replicas: give a node, or leave them out"))
	}
	return errors.Join(errs...)
}

// withDefaults has the node in the form that paths are appended to.
func (c Config) withDefaults() Config {
	if base, err := protocol.NodeURL(c.Node); err == nil {
		c.Node = base
	}
	if c.HTTP == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.ResponseHeaderTimeout = 5 * time.Minute // a node checks a large bundle as a whole before it answers
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
	trust  *channel.Trust // the publisher's own
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
	Dir       string   // the folder whose files are the bundle
	Exclude   []string // patterns of files to leave out; see bundle.Folder
	App       string
	Version   string // semantic version
	Channel   string
	Link      string // where people read about the release
	Comment   string
	Mandatory bool
	Native    map[channel.Platform]channel.Limit // native apps that can run it; a platform that is not in it: all
	// Attachments make the attachments of the release, each of another kind. Without a [Zip] among them the release gets
	// one if the release before has one. Of any other kind that the release before has, one must be here: it makes the
	// next, or says that there is none; otherwise the release is refused.
	Attachments []Attacher
	// Rollout, if set, gives the release to some devices first, see [channel.Manifest.Roll]; its From is filled in. It
	// does not go with Anew, which knows of nothing that the others could get.
	Rollout *channel.Rollout
	// Anew publishes to a channel whose manifest was signed by a key that the trust document does not allow any more, or
	// was lost: nothing of it is believed but its sequence and version, see [channel.Manifest.Anew].
	Anew bool
	// Above is a sequence that the new manifest has to be above: what devices have seen of a channel that was lost.
	Above  uint64
	DryRun bool // do all but upload and move the channel
}

// Result tells what a Publish, a Promote or a Rollback did, or would have done.
type Result struct {
	App        string        `json:"app"`
	Channel    string        `json:"channel"`
	Version    string        `json:"version"`
	Bundle     digest.Digest `json:"bundle"`
	Sequence   uint64        `json:"sequence"` // of the channel manifest that is in force now
	Files      int           `json:"files"`
	Bytes      int64         `json:"bytes"`             // of the archive
	Chunks     int           `json:"chunks"`            // distinct ones in the bundle
	ChunksSent int           `json:"chunks_sent"`       // that the node lacked
	BytesSent  int64         `json:"bytes_sent"`        // of all request bodies
	Unchanged  bool          `json:"unchanged"`         // the channel served this release already
	Expires    *time.Time    `json:"expires,omitempty"` // when the manifest ends; nil: never
	Serves     []Serving     `json:"serves,omitempty"`  // what the manifest that was signed gives to whom

	Attachments []Attached `json:"attachments,omitempty"` // of the release: not counted above but in BytesSent

	Rollout *channel.Rollout `json:"rollout,omitempty"`  // nil: the release is for all devices
	BuiltIn bool             `json:"built_in,omitempty"` // devices outside of Rollout go back to the built-in

	// Replicas are the nodes that hold it durably, when several were asked for.
	Replicas []protocol.Replica `json:"replicas,omitempty"`

	HalfSigned bool    `json:"half_signed,omitempty"` // nothing moved: more keys have to sign, see Config.HalfSigned
	DryRun     bool    `json:"dry_run"`
	DurationMS float64 `json:"duration_ms"`
}

// Publish makes the folder a release of the app and lets the channel serve it. It is safe to repeat: what is there
// already is not sent again, and a channel that serves the release already is left as it is. It returns [ErrConflict]
// when somebody else moved the channel meanwhile, a [*channel.RefusedError] for what signatures and rules forbid, an
// [*AttachmentError] for attachments that cannot be, and a [*protocol.Problem] for all else that the node refuses.
// When it returns nil the release and its attachments are durable on the node.
func (p *Publisher) Publish(ctx context.Context, r Request) (Result, error) {
	return p.run(Result{App: r.App, Channel: r.Channel, Version: r.Version, DryRun: r.DryRun}, func(s *session) error {
		return s.publish(ctx, r)
	})
}

// run does one piece of work and adds to its result how long it took.
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
	trust  *channel.Trust // the publisher's own, or its newest successor; set by advanceTrust
	shared bool           // the other side has that very document
}

func (s *session) publish(ctx context.Context, r Request) error {
	if r.Anew && r.Rollout != nil {
		return errors.New("a channel that is published anew cannot be rolled out: there is nothing for the other devices")
	}
	if err := r.checkAttachments(); err != nil {
		return err
	}
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	ix, err := s.read(ctx, root, r.Exclude)
	if err != nil {
		return fmt.Errorf("read %s: %w", r.Dir, err)
	}
	if err := s.resolveTrust(ctx, r.App); err != nil {
		return err
	}
	release := s.release(r, ix)
	// The channel is looked at, and its next manifest signed, first: what cannot be should not cost an upload, nor the
	// making of attachments.
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

// put signs the manifest that serves the release, makes the release and its attachments complete on the node, and moves
// the channel.
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

// serves reports whether the channel serves the release by now: an earlier try, whose answer was lost, or somebody
// with the same files in their hands was faster. That is what was wanted.
func (s *session) serves(ctx context.Context, release channel.Release) bool {
	now, err := s.manifest(ctx, s.result.App, s.result.Channel)
	if err != nil || now.manifest.Release.Version != release.Version || now.manifest.Release.Bundle != release.Bundle ||
		!sameAttachments(&now.manifest.Release, &release) {
		return false
	}
	s.result.Sequence, s.result.Unchanged = now.manifest.Sequence, true
	return true
}

// read makes the index of the folder.
func (s *session) read(ctx context.Context, root *os.Root, exclude []string) (*bundle.Index, error) {
	var done int64
	ix, err := bundle.Folder{
		FS:      root.FS(),
		Exclude: exclude,
		Progress: func(_ string, size int64) {
			done += size
			s.config.Progress(Event{Stage: Reading, Done: done, Total: -1})
		},
	}.Index(ctx)
	if err != nil {
		return nil, err
	}
	s.result.Bundle, s.result.Files, s.result.Bytes = ix.Bundle(), len(ix.Files), ix.Archive.Size
	for range ix.Chunks() {
		s.result.Chunks++
	}
	return ix, nil
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
