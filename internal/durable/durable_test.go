package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// Whenever the power goes, the file is whole: the old one until Replace has returned, or the new one; after that it is
// the new one.
func TestReplace_OutlivesPowerLossAtEveryStep(t *testing.T) {
	for steps := 0; ; steps++ {
		d := newMemory(map[string]string{"f": "old"}, steps)
		err := replace(d, "f", "f.new", []byte("new content"), 0o600)
		got, after := d.durable()["f"], fmt.Sprintf("power was lost after %d steps", steps)
		if err == nil {
			if got != "new content" {
				t.Errorf("replace returned and the file is %q", got)
			}
			return
		}
		if !errors.Is(err, errPower) {
			t.Fatalf("%s: %v", after, err)
		}
		if got != "old" && got != "new content" {
			t.Errorf("%s: the file is %q", after, got)
		}
	}
}

func TestCreate_IsDurableWhenItReturns(t *testing.T) {
	d := newMemory(nil, 100)
	if err := create(d, "f", []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := d.durable()["f"]; got != "content" {
		t.Errorf("after power loss the file is %q", got)
	}
}

func TestReplace_ThatFailsLeavesTheFileAndNothingBeside(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(name, "full"), 0o700); err != nil { // a folder that no file takes the place of
		t.Fatal(err)
	}
	if err := Replace(name, []byte("x"), 0o600); err == nil {
		t.Error("a file took the place of a folder")
	}
	if got := names(t, dir); !slices.Equal(got, []string{"taken"}) {
		t.Errorf("the folder holds %q", got)
	}
}

func TestReplace_MakesAndReplaces(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for content, put := range map[string]func(data []byte) error{
		"by path":    func(data []byte) error { return Replace(name, data, 0o600) },
		"below root": func(data []byte) error { return ReplaceIn(root, "f", data, 0o600) },
	} {
		for range 2 {
			if err := put([]byte(content)); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(name)
			if err != nil || string(got) != content {
				t.Errorf("%s: the file is %q (%v)", content, got, err)
			}
		}
	}
	if got := names(t, dir); !slices.Equal(got, []string{"f"}) {
		t.Errorf("the folder holds %q", got)
	}
	if info, err := os.Stat(name); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
	}
}

func TestReplaceIn_OverwritesWhatACrashLeft(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.WriteFile("f.new", bytes.Repeat([]byte("half"), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ReplaceIn(root, "f", []byte("whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := root.ReadFile("f"); err != nil || string(got) != "whole" {
		t.Errorf("the file is %q (%v)", got, err)
	}
}

func TestCreate_TakesNoNameThatIsTaken(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := Create(name, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(name, []byte("two"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("err = %v, want ErrExist", err)
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != "one" {
		t.Errorf("the file is %q (%v)", got, err)
	}
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		list = append(list, entry.Name())
	}
	return list
}

// memory is a disk that loses power after some steps. Content is lost unless the file was synced; of names, each change
// is kept or lost as it suits least unless the folder was synced.
type memory struct {
	steps int
	files map[string]*content // by the names that processes see
	kept  map[string]*content // by the names that are on the disk for certain
	loose []map[string]*content
}

type content struct{ written, synced []byte }

var errPower = errors.New("the power is gone")

func newMemory(files map[string]string, steps int) *memory {
	m := &memory{steps: steps, files: map[string]*content{}}
	for name, text := range files {
		m.files[name] = &content{written: []byte(text), synced: []byte(text)}
	}
	m.kept = maps.Clone(m.files)
	return m
}

func (m *memory) step() error {
	if m.steps == 0 {
		return errPower
	}
	m.steps--
	return nil
}

// durable returns what is there after power loss: of the states that the names may be in, the first in which some file
// is not what was written to it, or else the oldest.
func (m *memory) durable() map[string]string {
	var oldest map[string]string
	for _, names := range append([]map[string]*content{m.kept}, m.loose...) {
		found := map[string]string{}
		torn := false
		for name, c := range names {
			found[name] = string(c.synced)
			torn = torn || name == "f" && !bytes.Equal(c.synced, c.written)
		}
		if torn {
			return found
		}
		if oldest == nil {
			oldest = found
		}
	}
	return oldest
}

func (m *memory) open(name string, flags int, _ fs.FileMode) (file, error) {
	if err := m.step(); err != nil {
		return nil, err
	}
	c := m.files[name]
	if c != nil && flags&os.O_EXCL != 0 {
		return nil, fs.ErrExist
	}
	if c == nil {
		c = &content{}
		m.files[name] = c
	}
	c.written = nil
	m.loose = append(m.loose, maps.Clone(m.files))
	return &handle{m, c}, nil
}

func (m *memory) rename(from, to string) error {
	if err := m.step(); err != nil {
		return err
	}
	m.files[to] = m.files[from]
	delete(m.files, from)
	m.loose = append(m.loose, maps.Clone(m.files))
	return nil
}

func (m *memory) remove(name string) error {
	if err := m.step(); err != nil {
		return err
	}
	delete(m.files, name)
	return nil
}

func (m *memory) sync(string) error {
	if err := m.step(); err != nil {
		return err
	}
	m.kept, m.loose = maps.Clone(m.files), nil
	return nil
}

type handle struct {
	disk *memory
	file *content
}

func (h *handle) Write(p []byte) (int, error) {
	if err := h.disk.step(); err != nil {
		return 0, err
	}
	h.file.written = append(h.file.written, p...)
	return len(p), nil
}

func (h *handle) Sync() error {
	if err := h.disk.step(); err != nil {
		return err
	}
	h.file.synced = bytes.Clone(h.file.written)
	return nil
}

func (h *handle) Close() error { return h.disk.step() }
