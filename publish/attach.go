package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
	"brink/protocol/capgo"
)

// Choice says whether a release gets something.
type Choice int

// The choices.
const (
	AsBefore Choice = iota // if the release that the channel serves now has it
	Wanted
	Unwanted
)

// AttachmentError tells why a release can not be published with an attachment.
type AttachmentError struct {
	Kind   string // of the attachment
	Reason string // for people
	Hint   string // for people: what to do about it; may be empty
}

// Error names the kind and the reason. The hint is left to whoever has room to show it.
func (e *AttachmentError) Error() string { return fmt.Sprintf("attachment %s: %s", e.Kind, e.Reason) }

// Attached is an attachment of a release that was published.
type Attached struct {
	Kind       string        `json:"kind"`
	Bundle     digest.Digest `json:"bundle"`
	Bytes      int64         `json:"bytes"`       // of its archive
	Chunks     int           `json:"chunks"`      // distinct ones; 0 when it was published before and not made again
	ChunksSent int           `json:"chunks_sent"` // that the node lacked
}

// checkAttachments reports what does not go together in a Request.
func (r *Request) checkAttachments() error {
	made := r.CapgoMade
	switch {
	case r.NoCapgo && (r.CapgoKey != nil || made != nil && made.SessionKey != ""):
		return errors.New("a release for Capgo's public key is given, and none is wanted")
	case made == nil:
		return nil
	case made.SessionKey != "" && r.CapgoKey != nil:
		return errors.New("a release is encrypted by a key, or was encrypted already: not both")
	case made.SessionKey == "" && r.Zip == Unwanted:
		return errors.New("a zip is given, and none is wanted")
	}
	return made.Check()
}

// wants says which attachments a Publish has to make, after what it was told and what the channel serves.
type wants struct{ zip, capgo bool }

func (r *Request) wants(now *channel.Release, again bool) (wants, error) {
	w := wants{
		zip:   r.Zip == Wanted || r.Zip == AsBefore && now.Attachment(protocol.AttachmentZip) != nil,
		capgo: r.CapgoKey != nil,
	}
	if made := r.CapgoMade; made != nil {
		w.capgo = w.capgo || made.SessionKey != ""
		w.zip = w.zip || made.SessionKey == ""
	}
	if !w.capgo && !r.NoCapgo && !again && now.Attachment(capgo.Kind) != nil {
		return w, &AttachmentError{
			Kind:   capgo.Kind,
			Reason: fmt.Sprintf("version %s has it, and devices that hold Capgo's public key take nothing else", now.Version),
			Hint:   "give --capgo-key, or what Capgo's CLI has encrypted; --capgo=false publishes without",
		}
	}
	return w, nil
}

// attached is an attachment that was made, ready to be sent.
type attached struct {
	kind  string
	files fs.FS
	index *bundle.Index
}

// attach makes the attachments of the release of the files in a folder, and adds to release those and others that it
// keeps. The caller must close the maker when they are sent.
func (s *session) attach(
	ctx context.Context, r Request, files fs.FS, ix *bundle.Index, current served, release *channel.Release,
) (*maker, error) {
	now := &current.manifest.Release
	again := !current.lapsed && now.Version == release.Version && now.Bundle == release.Bundle
	w, err := r.wants(now, again)
	if err != nil {
		return nil, err
	}
	m := &maker{files: files, index: ix}
	if w.zip || w.capgo {
		if err := m.open(); err != nil {
			return nil, err
		}
		if err := m.make(ctx, r, w, s.config.Progress); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	for _, a := range m.made {
		release.Attachments = append(release.Attachments,
			channel.Attachment{Kind: a.kind, Bundle: a.index.Bundle(), Size: a.index.Archive.Size})
	}
	for _, old := range now.Attachments {
		gone := old.Kind == protocol.AttachmentZip && r.Zip == Unwanted || old.Kind == capgo.Kind && r.NoCapgo
		if again && !gone && release.Attachment(old.Kind) == nil {
			release.Attachments = append(release.Attachments, old)
		}
	}
	for _, a := range release.Attachments {
		s.result.Attachments = append(s.result.Attachments, Attached{Kind: a.Kind, Bundle: a.Bundle, Bytes: a.Size})
	}
	return m, nil
}

// sendAttachments makes the attachments complete on the node, each by the same way as the release.
func (s *session) sendAttachments(ctx context.Context, r Request, m *maker) error {
	for i, a := range m.made { // they come first in the result, in the same order
		one := &session{Publisher: s.Publisher, trust: s.trust, result: &Result{}}
		for range a.index.Chunks() {
			one.result.Chunks++
		}
		err := one.upload(ctx, r, a.index, a.files)
		s.result.BytesSent += one.result.BytesSent
		s.result.Attachments[i].Chunks = one.result.Chunks
		s.result.Attachments[i].ChunksSent = one.result.ChunksSent
		if err != nil {
			return fmt.Errorf("upload of attachment %s: %w", a.kind, err)
		}
	}
	return nil
}

// sameAttachments reports whether two releases have the same ones, in whatever order.
func sameAttachments(a, b *channel.Release) bool {
	differs := func(x channel.Attachment) bool {
		y := b.Attachment(x.Kind)
		return y == nil || y.Bundle != x.Bundle || y.Size != x.Size
	}
	return len(a.Attachments) == len(b.Attachments) && !slices.ContainsFunc(a.Attachments, differs)
}

// maker makes the attachments of one release, in a temporary folder that only this user can read. It holds no more than
// a few buffers in memory, whatever the size of the files.
type maker struct {
	files fs.FS // of the release
	index *bundle.Index

	dir      string        // the temporary folder; empty when nothing had to be made
	root     *os.Root      // of it
	spool    *os.File      // in it: one file of the release, compressed
	progress func(n int64) // called with bytes of the release that were read for good
	made     []attached    // what is ready
	folders  []*os.Root    // of what is ready
}

func (m *maker) open() error {
	var err error
	if m.dir, err = os.MkdirTemp("", "brink-publish-"); err != nil {
		return err
	}
	if m.root, err = os.OpenRoot(m.dir); err == nil {
		m.spool, err = m.root.Create("spool")
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
	if m.spool != nil {
		errs = append(errs, m.spool.Close())
	}
	for _, folder := range append(m.folders, m.root) {
		if folder != nil {
			errs = append(errs, folder.Close())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(m.dir))...)
}

// make makes what is wanted.
func (m *maker) make(ctx context.Context, r Request, w wants, progress func(Event)) error {
	var content, done int64
	for i := range m.index.Files {
		content += m.index.Files[i].Size
	}
	total := content
	if r.CapgoKey != nil {
		total *= 2 // the zip and the manifest
	}
	m.progress = func(n int64) {
		done += n
		progress(Event{Stage: Attaching, Done: done, Total: total})
	}
	var zip *bundle.File
	switch given := r.CapgoMade; {
	case given != nil && given.SessionKey == "":
		if err := m.takeZip(ctx, given); err != nil {
			return err
		}
	case w.zip || r.CapgoKey != nil:
		if err := m.zip(ctx); err != nil {
			return err
		}
	}
	if w.zip || r.CapgoKey != nil {
		ix, err := m.ready(ctx, protocol.AttachmentZip, w.zip)
		if err != nil {
			return err
		}
		zip = ix.File(protocol.ZipPath)
	}
	if !w.capgo {
		return nil
	}
	var err error
	if r.CapgoKey != nil {
		err = m.encrypt(ctx, r, zip)
	} else {
		err = m.takeEncrypted(r.CapgoMade)
	}
	if err == nil {
		_, err = m.ready(ctx, capgo.Kind, true)
	}
	return err
}

// ready makes an index of what lies in the folder of the kind, and lets it be sent if it is wanted.
func (m *maker) ready(ctx context.Context, kind string, wanted bool) (*bundle.Index, error) {
	folder, err := m.root.OpenRoot(kind)
	if err != nil {
		return nil, err
	}
	m.folders = append(m.folders, folder)
	ix, err := bundle.Folder{FS: folder.FS()}.Index(ctx)
	if err == nil && wanted {
		m.made = append(m.made, attached{kind: kind, files: folder.FS(), index: ix})
	}
	return ix, err
}

// create makes a file in the folder of the kind, and lets fill write it.
func (m *maker) create(kind, name string, fill func(w io.Writer) error) error {
	if err := m.root.MkdirAll(kind, 0o700); err != nil {
		return err
	}
	f, err := m.root.Create(filepath.Join(kind, name))
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}

// read gives do the content of a file of the release, and makes sure that it is what was indexed.
func (m *maker) read(ctx context.Context, f *bundle.File, do func(io.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	file, err := m.files.Open(f.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	sum := digest.NewHasher()
	if err := do(io.TeeReader(io.LimitReader(file, f.Size), sum)); err != nil {
		return fmt.Errorf("file %q: %w", f.Path, err)
	}
	if sum.Digest() != f.Digest {
		return fmt.Errorf("file %q changed since it was indexed: %w", f.Path, digest.ErrMismatch)
	}
	return nil
}

// compress writes to the spool what through makes of a file of the release, and returns how many bytes that are.
func (m *maker) compress(ctx context.Context, f *bundle.File, through func(w io.Writer) io.WriteCloser) (int64, error) {
	if _, err := m.spool.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	w := through(m.spool)
	err := m.read(ctx, f, func(r io.Reader) error {
		_, err := io.Copy(w, r)
		return err
	})
	if err := errors.Join(err, w.Close()); err != nil {
		return 0, err
	}
	return m.spool.Seek(0, io.SeekCurrent)
}

// spooled returns the first bytes of the spool.
func (m *maker) spooled(size int64) io.Reader { return io.NewSectionReader(m.spool, 0, size) }
