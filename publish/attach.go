package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"brink/bundle"
	"brink/channel"
)

// attach makes the attachments of a release, and adds them to it together with those that it retains. The caller must
// close the maker after they are sent.
func (s *session) attach(
	ctx context.Context, r Request, files fs.FS, ix *bundle.Index, current served, release *channel.Release,
) (*maker, error) {
	now := &current.manifest.Release
	again := !current.lapsed && now.Version == release.Version && now.Bundle == release.Bundle
	steps, err := r.plan(now, again, current.lapsed)
	if err != nil {
		return nil, err
	}
	m := &maker{source: Source{App: r.App, Release: Content{Files: files, Index: ix}}}
	if slices.ContainsFunc(steps, func(s step) bool { return s.needed }) {
		if err := m.open(); err != nil {
			return nil, err
		}
		if err := m.make(ctx, steps, s.config.Progress); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	for _, a := range m.made {
		release.Attachments = append(release.Attachments,
			channel.Attachment{Kind: a.kind, Bundle: a.Index.Bundle(), Size: a.Index.Archive.Size})
	}
	for _, old := range now.Attachments {
		dropped := slices.ContainsFunc(steps, func(s step) bool { return s.Kind() == old.Kind && s.Action == Drop })
		if again && !dropped && release.Attachment(old.Kind) == nil {
			release.Attachments = append(release.Attachments, old)
		}
	}
	for _, a := range release.Attachments {
		s.result.Attachments = append(s.result.Attachments, Attached{Kind: a.Kind, Bundle: a.Bundle, Bytes: a.Size})
	}
	return m, nil
}

// sendAttachments uploads the attachments, in the same way as the release.
func (s *session) sendAttachments(ctx context.Context, r Request, m *maker) error {
	for i, a := range m.made { // they are the first in the result, in the same order
		one := &session{Publisher: s.Publisher, trust: s.trust, result: &Result{}}
		for range a.Index.Chunks() {
			one.result.Chunks++
		}
		err := one.upload(ctx, r, a.Index, a.Files)
		s.result.BytesSent += one.result.BytesSent
		s.result.Attachments[i].Chunks = one.result.Chunks
		s.result.Attachments[i].ChunksSent = one.result.ChunksSent
		if err != nil {
			return fmt.Errorf("upload attachment %s: %w", a.kind, err)
		}
	}
	return nil
}

// sameAttachments reports whether two releases have the same attachments, in any order.
func sameAttachments(a, b *channel.Release) bool {
	differs := func(x channel.Attachment) bool {
		y := b.Attachment(x.Kind)
		return y == nil || y.Bundle != x.Bundle || y.Size != x.Size
	}
	return len(a.Attachments) == len(b.Attachments) && !slices.ContainsFunc(a.Attachments, differs)
}

// attached is an attachment that is ready to be sent.
type attached struct {
	Content

	kind string
}

// maker makes the attachments of one release in a temporary folder that only this user can read. Its memory does not
// depend on the size of the files.
type maker struct {
	source Source

	dir     string     // the temporary folder; empty if nothing has to be made
	root    *os.Root   // of it
	made    []attached // to be published
	folders []*os.Root // one for each step
}

func (m *maker) open() error {
	var err error
	if m.dir, err = os.MkdirTemp("", "brink-publish-"); err != nil {
		return err
	}
	if m.root, err = os.OpenRoot(m.dir); err == nil {
		m.source.spool, err = m.root.Create("spool")
	}
	if err != nil {
		return errors.Join(err, m.Close())
	}
	return nil
}

// Close removes the temporary folder.
func (m *maker) Close() error {
	if m.dir == "" {
		return nil
	}
	var errs []error
	if m.source.spool != nil {
		errs = append(errs, m.source.spool.Close())
	}
	for _, folder := range append(m.folders, m.root) {
		if folder != nil {
			errs = append(errs, folder.Close())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(m.dir))...)
}

// make performs the steps that are needed.
func (m *maker) make(ctx context.Context, steps []step, progress func(Event)) error {
	var content, total, done int64
	for i := range m.source.Release.Index.Files {
		content += m.source.Release.Index.Files[i].Size
	}
	for _, s := range steps {
		if s.needed && s.Reads {
			total += content
		}
	}
	m.source.progress = func(n int64) {
		done += n
		progress(Event{Stage: Attaching, Done: done, Total: total})
	}
	contents := map[string]Content{}
	for i, s := range steps {
		if !s.needed {
			continue
		}
		m.source.From = contents[s.From]
		c, err := m.step(ctx, s, strconv.Itoa(i))
		if err != nil {
			return err
		}
		contents[s.Kind()] = c
		if s.Action == Make {
			m.made = append(m.made, attached{c, s.Kind()})
		}
	}
	return nil
}

// step performs one step in its own folder.
func (m *maker) step(ctx context.Context, s step, name string) (Content, error) {
	if err := m.root.Mkdir(name, 0o700); err != nil {
		return Content{}, err
	}
	folder, err := m.root.OpenRoot(name)
	if err != nil {
		return Content{}, err
	}
	m.folders = append(m.folders, folder)
	if err := s.Attach(ctx, &m.source, folder); err != nil {
		return Content{}, err
	}
	ix, err := bundle.Folder{FS: folder.FS()}.Index(ctx)
	return Content{Files: folder.FS(), Index: ix}, err
}
