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

// maxState limits the size of a state file, in bytes.
const maxState = 1 << 20

// state is what the device remembers. The file is replaced atomically, never written in place. Values are immutable.
type state struct {
	Schema    int        `json:"schema"`
	App       string     `json:"app"`
	Channels  []followed `json:"channels"` // the current one, then earlier ones; at most maxChannels
	Current   *installed `json:"current,omitempty"`
	Previous  *installed `json:"previous,omitempty"` // for Rollback; without Current only because an app may still run it
	Confirmed bool       `json:"confirmed"`          // Current is confirmed to work
	Failed    *installed `json:"failed,omitempty"`   // the one that Rollback left; not to be applied again
}

// builtIn returns the state of a device that goes back to its built-in bundle. The files of the current bundle remain
// until the next update, because the app may be running, but Rollback does not return to it: the channel has withdrawn
// it.
func (s state) builtIn() state {
	if s.Current != nil {
		s.Previous = s.Current
	}
	s.Current, s.Confirmed = nil, true
	return s.completed("")
}

// installed is a bundle below bundles/.
type installed struct {
	Version string        `json:"version"`
	Bundle  digest.Digest `json:"bundle"`
	SHA256  digest.SHA256 `json:"sha256"` // of the archive: its name as a dictionary
	Size    int64         `json:"size"`   // of the archive, in bytes
	// Channel is the channel that served it, and Epoch is the epoch of the manifest (channel.Epoch).
	Channel string `json:"channel,omitempty"`
	Epoch   uint64 `json:"epoch,omitempty"`
}

// revoked reports whether a release was served in an epoch of its channel that the root keys have ended since: it may
// have been signed with a stolen key.
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

// path returns the folder of an installed bundle as a path that starts with Config.Dir.
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
	if c.state, err = c.loadState(); err != nil {
		return err
	}
	// An earlier process may have been killed before it updated the link or removed old bundles.
	return c.applyState()
}

// loadState loads the state. Nothing is installed if there is none. A state that cannot be read is an error, because it
// records which manifests were seen.
func (c *Client) loadState() (state, error) {
	raw, err := c.root.ReadFile(stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return state{Schema: stateSchema, App: c.config.App}.withChannel(c.config.Channel), nil
	}
	if err != nil {
		return state{}, err
	}
	s, err := decodeState(raw)
	if err != nil {
		return state{}, err
	}
	if s.App != c.config.App {
		return state{}, fmt.Errorf("the folder belongs to app %s, not %s", s.App, c.config.App)
	}
	return s.withChannel(c.config.Channel), nil
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
		return state{}, fmt.Errorf("%s has schema %d, this program supports only %d", stateFile, s.Schema, stateSchema)
	}
	return s, nil
}

// save sets the state and writes it durably. If writing fails, the new state is still safe to use: it never accepts
// manifests that the one on disk refuses.
func (c *Client) save(next state) error {
	c.state = next
	return c.writeState(next)
}

// startSave is save without waiting for the disk. The caller must call wait before it acts on the state, writes another
// one or returns.
func (c *Client) startSave(next state) (wait func() error) {
	c.state = next
	done := make(chan error, 1)
	go func() { done <- c.writeState(next) }()
	return func() error { return <-done }
}

// writeState replaces the state file durably.
func (c *Client) writeState(next state) error {
	raw, err := encodeState(next)
	if err == nil {
		err = durable.ReplaceIn(c.root, stateFile, raw, 0o644)
	}
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

// freshState is the temporary file of switchTo. It has the same name as that of [durable.ReplaceIn], so that each of
// them overwrites what the other leaves behind in a crash.
const freshState = stateFile + ".new"

func encodeState(s state) ([]byte, error) {
	raw, err := json.MarshalIndent(s, "", "  ")
	return append(raw, '\n'), err
}

// switchTo replaces the state by next, which is the switch, and then updates the link. The folders that next refers to
// must be complete and their contents durable. After the state is replaced, New completes the rest if the process is
// killed.
func (c *Client) switchTo(next state) error {
	raw, err := encodeState(next)
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	// The names of the folders must be durable before the state that refers to them. The content of the new state file
	// is not in use until it is renamed, so both are synced in parallel.
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
	return c.applyState()
}

// applyState updates the link according to the state, makes both durable, and then removes what neither refers to. If
// power is lost before that, the folders that the old link or state refers to still exist.
func (c *Client) applyState() error {
	if err := c.updateLink(); err != nil {
		return fmt.Errorf("update the link to the current bundle: %w", err)
	}
	if err := durable.SyncFolder(c.root, "."); err != nil {
		return fmt.Errorf("sync the folder: %w", err)
	}
	return c.sweep()
}

// sweep removes bundles that are no longer needed. One that cannot be removed is left to the next sweep: on Windows, an
// app may have its files open, and the switch is already complete.
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
			c.config.Logger.Warn("cannot remove old bundle, will try again", "bundle", entry.Name(), "error", err)
		}
	}
	return nil
}
