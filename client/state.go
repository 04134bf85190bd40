package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"

	"brink/channel"
	"brink/digest"
	"brink/internal/durable"
)

const stateSchema = 2

// maxState bounds, in bytes, what is read of a state file.
const maxState = 1 << 20

// state is what the device remembers. The file is replaced as a whole, never written in place. Values are not changed:
// whoever wants another state makes one.
type state struct {
	Schema    int        `json:"schema"`
	App       string     `json:"app"`
	Channels  []followed `json:"channels"` // that is followed first, then those before; at most maxChannels
	Current   *installed `json:"current,omitempty"`
	Previous  *installed `json:"previous,omitempty"` // kept for Rollback; without Current only for who still runs it
	Confirmed bool       `json:"confirmed"`          // Current was reported to be well
	Failed    *installed `json:"failed,omitempty"`   // what Rollback left; not to be applied again
}

// builtIn returns the state of a device that goes back to what its native app came with. What it ran is kept until the
// next update, for the app may be running, but Rollback does not bring it back: the channel has withdrawn it.
func (s state) builtIn() state {
	if s.Current != nil {
		s.Previous = s.Current
	}
	s.Current, s.Confirmed = nil, true
	return s.settled("")
}

// installed is a bundle below bundles/.
type installed struct {
	Version string        `json:"version"`
	Bundle  digest.Digest `json:"bundle"`
	SHA256  digest.SHA256 `json:"sha256"` // of the archive: its name as a dictionary
	Size    int64         `json:"size"`   // of the archive, in bytes
	// Channel is the one that served it, and Epoch that of the manifest (channel.Epoch).
	Channel string `json:"channel,omitempty"`
	Epoch   uint64 `json:"epoch,omitempty"`
}

// revoked reports whether a release was served in an epoch of its channel that the root keys have ended since: whoever
// held a stolen key may have signed it.
func (s state) revoked(i *installed) bool {
	return slices.ContainsFunc(s.Channels, func(f followed) bool {
		return f.Seen.Channel == i.Channel && channel.EpochOf(f.Seen.Sequence) > i.Epoch
	})
}

const (
	stateFile  = "state.json"
	bundlesDir = "bundles"
	partialDir = "partial"
	lockFile   = "lock"
)

func bundleDir(id digest.Digest) string { return bundlesDir + "/" + id.String() }

// path is where an installed bundle is for those who have no root: below Config.Dir.
func (c *Client) path(one *installed) string {
	return filepath.Join(c.config.Dir, filepath.FromSlash(bundleDir(one.Bundle)))
}

func (c *Client) open() error {
	for _, dir := range []string{".", bundlesDir, partialDir} {
		if err := os.MkdirAll(filepath.Join(c.config.Dir, dir), 0o755); err != nil {
			return err
		}
	}
	lock := flock.New(filepath.Join(c.config.Dir, lockFile))
	switch held, err := lock.TryLock(); {
	case err != nil:
		return err
	case !held:
		return ErrLocked
	}
	c.lock = lock
	var err error
	if c.root, err = os.OpenRoot(c.config.Dir); err != nil {
		return err
	}
	if c.trust, err = c.loadTrust(); err != nil {
		return err
	}
	if c.state, err = c.load(); err != nil {
		return err
	}
	// A kill may have come between writing the state and switching the link, or left folders that nobody needs.
	return c.follow()
}

// load reads the state. A folder without one is empty; one that cannot be read is an error, and never taken for empty:
// it says which manifests were seen.
func (c *Client) load() (state, error) {
	raw, err := c.root.ReadFile(stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return state{Schema: stateSchema, App: c.config.App}.turnTo(c.config.Channel), nil
	}
	if err != nil {
		return state{}, err
	}
	s, err := decodeState(raw)
	if err != nil {
		return state{}, err
	}
	if s.App != c.config.App {
		return state{}, fmt.Errorf("it holds app %s, not %s", s.App, c.config.App)
	}
	return s.turnTo(c.config.Channel), nil
}

func decodeState(raw []byte) (state, error) {
	var s state
	if len(raw) > maxState {
		return s, fmt.Errorf("%s is longer than %d bytes", stateFile, maxState)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return state{}, fmt.Errorf("%s: %w", stateFile, err)
	}
	if s.Schema != stateSchema {
		return state{}, fmt.Errorf("%s has schema %d, this program knows %d", stateFile, s.Schema, stateSchema)
	}
	return s, nil
}

// save believes the state and writes it durably. What is believed of a state that could not be written is still right:
// it only ever refuses more than the one on disk.
func (c *Client) save(next state) error {
	c.state = next
	return c.store(next)
}

// saveAside is save that does not wait for the disk: wait does, and has to be called before the device acts on the
// state, writes another one or returns.
func (c *Client) saveAside(next state) (wait func() error) {
	c.state = next
	done := make(chan error, 1)
	go func() { done <- c.store(next) }()
	return func() error { return <-done }
}

// store makes a state the one that counts, durably.
func (c *Client) store(next state) error {
	raw, err := encodeState(next)
	if err == nil {
		err = durable.ReplaceIn(c.root, stateFile, raw, 0o644)
	}
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

// freshState is where switchTo writes a state before it replaces the one before. Its name is that of
// [durable.ReplaceIn], so that what a crash leaves is overwritten by either.
const freshState = stateFile + ".new"

func encodeState(s state) ([]byte, error) {
	raw, err := json.MarshalIndent(s, "", "  ")
	return append(raw, '\n'), err
}

// switchTo makes next the state, which is the switch, and has the link follow it. The folders that next names are
// whole, and what is in them is on disk. The state comes first: from its last byte on, opening the folder finishes
// what is left.
func (c *Client) switchTo(next state) error {
	raw, err := encodeState(next)
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	// The names of the folders have to be durable before the state is that speaks of them. Nothing says in which order
	// its two writes become so: they go together.
	var group errgroup.Group
	group.Go(func() error { return durable.SyncFolder(c.root, bundlesDir) })
	group.Go(func() error { return durable.Write(c.root, freshState, raw, 0o644) })
	if err := group.Wait(); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	if err := c.root.Rename(freshState, stateFile); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	c.state = next
	return c.follow()
}

// follow makes the link say what the state says, both durably, and then removes what neither names any more. Whichever
// of the two a power loss spares, what it names is still there.
func (c *Client) follow() error {
	if err := c.link(); err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	if err := durable.SyncFolder(c.root, "."); err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	return c.sweep()
}

// sweep removes the bundles and downloads that nothing needs any more. One that cannot be removed is left to the next
// sweep: Windows lets nobody remove what an app has open, and the switch is done already.
func (c *Client) sweep() error {
	keep := map[string]bool{}
	for _, one := range []*installed{c.state.Current, c.state.Previous} {
		if one != nil {
			keep[one.Bundle.String()] = true
		}
	}
	entries, err := fs.ReadDir(c.root.FS(), bundlesDir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if keep[entry.Name()] {
			continue
		}
		if err := c.config.removeAll(c.root, bundlesDir+"/"+entry.Name()); err != nil {
			c.config.Logger.Warn("an old bundle stays until later", "bundle", entry.Name(), "error", err)
		}
	}
	return nil
}
