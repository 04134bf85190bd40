package channel

import (
	"encoding/json"
	"iter"
	"time"

	"brink/digest"
)

// ManifestSchema is the schema number of manifests that this version reads and writes.
const ManifestSchema = 1

// MaxHistory bounds the releases in a manifest besides the one it serves: enough to roll back to and to make patches
// from, and few enough that a manifest has only a few kilobytes.
const MaxHistory = 20

// Manifest is a channel manifest: what a channel of an app serves. A decoded one is checked and must not be changed:
// the operations ([Manifest.Publish], [Manifest.Roll], [Manifest.RollBack], [Manifest.SetRules] and others) return a
// new one. They preserve members of the JSON that this version does not know.
type Manifest struct {
	Schema   int       `json:"schema"` // ManifestSchema; SignManifest sets it
	Org      string    `json:"org"`
	App      string    `json:"app"`
	Channel  string    `json:"channel"`
	Sequence uint64    `json:"sequence"` // 1 to MaxSequence, higher with every statement
	Issued   time.Time `json:"issued"`
	Expires  time.Time `json:"expires,omitzero"` // zero: never

	// Previous is the statement of the manifest that this one was made from, without renewals; zero: there was none.
	Previous digest.Digest `json:"previous,omitzero"`

	// Critical lists members of the manifest that change its meaning. A reader that does not know one of them must not act
	// on the manifest: its devices stay as they are ([ReasonNeedsUpdate]). See RFC 7515, section 4.1.11.
	Critical []string `json:"critical,omitempty"`

	Release Release   `json:"release"` // served now, or until BuiltIn was set
	History []Release `json:"history,omitempty"`

	// Rollback reports that this statement is a rollback. The next statement does not repeat it, so devices cannot rely on
	// seeing it: see Withdrawn.
	Rollback bool `json:"rollback,omitempty"`

	// Withdrawn is the highest version that a rollback withdrew: a device that runs a version above its release, up to and
	// including Withdrawn, must move down. It stays in every statement until a release at or above it is served to all, so
	// that it reaches devices that were offline while the rollback itself was in force. Empty: none.
	Withdrawn string `json:"withdrawn,omitempty"`

	// BuiltIn means that devices go back to what their native app came with, except those to which a rollout gives Release
	// and those that an override names.
	BuiltIn bool `json:"builtIn,omitempty"`

	Rules     Rules      `json:"rules,omitzero"`
	Rollout   *Rollout   `json:"rollout,omitempty"` // nil: Release is for all devices, or with BuiltIn for none
	Overrides []Override `json:"overrides,omitempty"`

	unknown   unknown
	raw       []byte
	statement digest.Digest
	renewed   *renewed // nil: the manifest was not renewed
}

// NewManifest returns the manifest of a channel that serves nothing yet. It cannot be signed before a
// [Manifest.Publish].
func NewManifest(org, app, channel string) *Manifest {
	return &Manifest{Schema: ManifestSchema, Org: org, App: app, Channel: channel}
}

// SignManifest checks the manifest, signs it with each key and returns the envelope. It does not check that the keys
// suffice: [Trust.VerifyManifest] does, and [Cosign] adds missing signatures.
func SignManifest(m *Manifest, keys ...PrivateKey) ([]byte, error) {
	signed := *m
	signed.Schema = ManifestSchema
	if err := signed.check(); err != nil {
		return nil, err
	}
	if err := signed.CheckKnown(); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(&signed)
	if err != nil {
		return nil, err
	}
	return seal(TypeManifest, payload, keys)
}

// ParseManifest parses a signed manifest, or a renewal of one, WITHOUT verifying signatures, for documents that were
// verified before they were stored, and for tools that show files to people. It also ignores expiry. It checks
// everything else.
func ParseManifest(raw []byte) (*Manifest, error) {
	e, err := openManifest(raw)
	if err != nil {
		return nil, err
	}
	if e.PayloadType == TypeRenewal {
		m, _, err := decodeRenewal(e)
		return m, err
	}
	return decodeManifest(e)
}

// openManifest decodes the envelope of a manifest or of a renewal.
func openManifest(raw []byte) (*envelope, error) {
	if len(raw) > MaxManifest {
		return nil, refuse(CodeTooLarge, "", "document has %d bytes, want at most %d", len(raw), MaxManifest)
	}
	e, err := open(raw, "")
	if err == nil && e.PayloadType != TypeManifest && e.PayloadType != TypeRenewal {
		return nil, refuse(CodeWrongType, "", "document is a %q, want %s", e.PayloadType, TypeManifest)
	}
	return e, err
}

func decodeManifest(e *envelope) (*Manifest, error) {
	m := new(Manifest)
	if err := decodePayload(e.payload, ManifestSchema, m); err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	m.raw, m.statement = e.raw, e.statement()
	return m, nil
}

// Raw returns the signed bytes from which the manifest was decoded, if any. The caller must not change them.
func (m *Manifest) Raw() []byte { return m.raw }

// Digest returns the manifest's identity: the digest of its signed bytes, including the signatures. It is zero for a
// manifest that was not decoded from signed bytes.
func (m *Manifest) Digest() digest.Digest {
	if m.raw == nil {
		return digest.Digest{}
	}
	return digest.Sum(m.raw)
}

// Statement returns the digest of the signed payload, without the signatures. Two manifests of one channel and sequence
// with different statements are an equivocation; with equal statements, they differ only in who has signed. It is zero
// for a manifest that was not decoded from signed bytes.
func (m *Manifest) Statement() digest.Digest { return m.statement }

// Releases yields the release that is served and then those in History, newest first. The caller must not change them.
func (m *Manifest) Releases() iter.Seq[*Release] {
	return func(yield func(*Release) bool) {
		if !yield(&m.Release) {
			return
		}
		for i := range m.History {
			if !yield(&m.History[i]) {
				return
			}
		}
	}
}

// ActiveReleases yields the releases that devices can get now: the one that is served, the one for devices outside a
// rollout, and those of overrides. A release may be yielded more than once. The caller must not change them. If the
// channel is reverted, ActiveReleases still yields the release: web sites have nothing else.
func (m *Manifest) ActiveReleases() iter.Seq[*Release] {
	return func(yield func(*Release) bool) {
		if !yield(&m.Release) {
			return
		}
		if m.Rollout != nil && m.Rollout.From != "" {
			if r := m.release(m.Rollout.From); r != nil && !yield(r) {
				return
			}
		}
		for i := range m.Overrides {
			if r := m.release(m.Overrides[i].Version); r != nil && !yield(r) {
				return
			}
		}
	}
}

// RequiredBundles yields the bundles that a node must have before the manifest comes into force: those of the releases
// that devices can get ([Manifest.ActiveReleases]), and of their attachments, each once.
func (m *Manifest) RequiredBundles() iter.Seq[digest.Digest] {
	return func(yield func(digest.Digest) bool) {
		seen := make(map[digest.Digest]bool)
		yieldOnce := func(id digest.Digest) bool {
			if seen[id] {
				return true
			}
			seen[id] = true
			return yield(id)
		}
		for r := range m.ActiveReleases() {
			for id := range r.Bundles() {
				if !yieldOnce(id) {
					return
				}
			}
		}
	}
}

// release returns the release with the version, or nil.
func (m *Manifest) release(version string) *Release {
	if m.Release.Version == version {
		return &m.Release
	}
	for i := range m.History {
		if m.History[i].Version == version {
			return &m.History[i]
		}
	}
	return nil
}

// CheckFor returns nil if m is the manifest of the app's channel. Verifying signatures does not suffice: a request for
// one channel could be answered with the valid manifest of another. The error is a [*RefusedError] with [CodeWrongApp]
// or [CodeWrongChannel].
func (m *Manifest) CheckFor(app, channel string) error {
	if m.App != app {
		return refuse(CodeWrongApp, "", "manifest is of app %s, want %s", m.App, app)
	}
	if m.Channel != channel {
		return refuse(CodeWrongChannel, "", "manifest is of channel %s, want %s", m.Channel, channel)
	}
	return nil
}

// Newer returns nil if next may replace current: same org, app and channel, a higher order ([Manifest.Order]; by at
// most [MaxJump] sequences, since a node may have missed some), and a version to which devices that follow current can
// move. In a higher epoch any sequence and version is allowed. Both must have been verified. The error is a
// [*RefusedError].
func Newer(current, next *Manifest) error {
	if next.Org != current.Org {
		return refuse(CodeWrongOrg, "", "manifest is of org %s, want %s", next.Org, current.Org)
	}
	if err := next.CheckFor(current.App, current.Channel); err != nil {
		return err
	}
	const again = "fetch the manifest in force and make the next one from it"
	if next.Order() == current.Order() && next.statement != current.statement {
		return refuse(CodeEquivocation, again, "another manifest of %s %s already has sequence %d",
			current.App, current.Channel, current.Sequence)
	}
	if next.Order() <= current.Order() {
		return refuse(CodeSequenceNotHigher, again, "manifest of %s %s has sequence %s, and %s is in force",
			current.App, current.Channel, numberOf(next.Sequence, next.Renewal()), numberOf(current.Sequence, current.Renewal()))
	}
	if EpochOf(next.Sequence) > EpochOf(current.Sequence) {
		return nil
	}
	if next.Sequence-current.Sequence > MaxJump {
		return refuse(CodeSequenceJump, again, "manifest of %s %s has sequence %d, more than %d above %d, which is in force",
			current.App, current.Channel, next.Sequence, MaxJump, current.Sequence)
	}
	return next.checkMove(current.Release.Version)
}

// move is the step from the version that a device runs to what m serves.
type move int

const (
	moveUp   move = iota // the release is at or above the version
	moveDown             // the release is below the version, and a signed rollback withdrew the version
	moveNone             // the release is below the version, and the device must not move
)

func (m *Manifest) move(version string) move {
	switch {
	case CompareVersions(m.Release.Version, version) >= 0:
		return moveUp
	case m.Withdrawn != "" && CompareVersions(version, m.Withdrawn) <= 0:
		return moveDown
	default:
		return moveNone
	}
}

func (m *Manifest) checkMove(version string) error {
	if m.move(version) == moveNone {
		return refuse(CodeDowngrade, "roll back, or publish a higher version",
			"manifest serves %s, below %s, and no rollback withdrew %s", m.Release.Version, version, version)
	}
	return nil
}

// MarshalJSON encodes the fields, and the unknown members that UnmarshalJSON found.
func (m Manifest) MarshalJSON() ([]byte, error) {
	type fields Manifest
	return encodeObject(fields(m), m.unknown)
}

// UnmarshalJSON decodes a manifest, with the members that this version does not know. It does not check the values.
func (m *Manifest) UnmarshalJSON(raw []byte) error {
	type fields Manifest
	var f fields
	rest, err := decodeObject(raw, &f)
	*m = Manifest(f)
	m.unknown = rest
	return err
}

func (m *Manifest) check() error {
	if err := CheckOrg(m.Org); err != nil {
		return err
	}
	if err := CheckApp(m.App); err != nil {
		return err
	}
	if err := CheckChannel(m.Channel); err != nil {
		return err
	}
	if m.Sequence < 1 || m.Sequence > MaxSequence {
		return malformed("sequence is %d, want 1 to %d", m.Sequence, uint64(MaxSequence))
	}
	if err := checkSpan(m.Issued, m.Expires); err != nil {
		return err
	}
	if err := checkCritical(m); err != nil {
		return err
	}
	if len(m.History) > MaxHistory {
		return malformed("history has %d releases, want at most %d", len(m.History), MaxHistory)
	}
	var before []string
	for r := range m.Releases() {
		if err := r.check(); err != nil {
			return err
		}
		for _, version := range before {
			if CompareVersions(version, r.Version) == 0 {
				return malformed("versions %s and %s have the same precedence", version, r.Version)
			}
		}
		before = append(before, r.Version)
	}
	if err := checkRollout(m); err != nil {
		return err
	}
	if m.Withdrawn != "" {
		if err := CheckVersion(m.Withdrawn); err != nil {
			return err
		}
		lowest := m.Release.Version
		if m.Rollout != nil && m.Rollout.From != "" {
			lowest = m.Rollout.From
		}
		if CompareVersions(m.Withdrawn, lowest) <= 0 {
			return malformed("withdrawn %s is not above the version that is served, %s", m.Withdrawn, lowest)
		}
	}
	if m.Rollback && m.Withdrawn == "" {
		return malformed("rollback withdraws nothing")
	}
	if err := m.Rules.check(); err != nil {
		return err
	}
	return checkOverrides(m)
}
