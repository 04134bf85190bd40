package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// Attacher makes the attachments of one kind. A Publish calls its methods sequentially, and only one Publish may use it
// at a time.
type Attacher interface {
	// Kind is the name of the attachment in the channel manifest.
	Kind() string
	// Check returns an error if the Attacher is invalid. It is called before anything is read or sent.
	Check() error
	// Plan decides whether to make the attachment for a release. An error, such as an [*AttachmentError], refuses the
	// release. It is called before anything is made or sent.
	Plan(before Before) (Plan, error)
	// Attach writes the files of the attachment to dir, which is empty. It must be deterministic, so that a repeated
	// Publish finds what was sent before. It may block. It must not retain src or dir.
	Attach(ctx context.Context, src *Source, dir *os.Root) error
}

// Before is what the channel serves when a release is published.
type Before struct {
	Version  string // of the release that it serves; empty: none
	Attached bool   // that release has an attachment of the kind
	Same     bool   // it is the release that is published, and remains as it is
}

// Plan is the decision of an [Attacher] for one release.
type Plan struct {
	Action Action
	// From is the kind of an attachment that this one is made from, empty for none. That one is made first, even if it is
	// not published itself. Its Attacher must precede this one in [Request].Attachments.
	From string
	// Reads says that Attach reads all files of the release once and reports progress with [Source.Done].
	Reads bool
}

// Action is what a Publish does with an attachment.
type Action int

// The actions.
const (
	Keep Action = iota // if the channel already serves the release, its attachment is unchanged; otherwise it has none
	Make
	Drop // the release has none, even if it had one
)

// Choice says whether a release has an attachment.
type Choice int

// The choices.
const (
	AsBefore Choice = iota // if the release that the channel serves now has one
	Wanted
	Unwanted
)

// AttachmentError is the reason why a release cannot be published with an attachment.
type AttachmentError struct {
	Kind   string // of the attachment
	Reason string // for people
	Hint   string // for people: what to do about it; may be empty
}

// Error returns the kind and the reason, without the hint.
func (e *AttachmentError) Error() string { return fmt.Sprintf("attachment %s: %s", e.Kind, e.Reason) }

// Attached is an attachment of a release that was published.
type Attached struct {
	Kind       string        `json:"kind"`
	Bundle     digest.Digest `json:"bundle"`
	Bytes      int64         `json:"bytes"`       // of its archive
	Chunks     int           `json:"chunks"`      // distinct ones; 0 if it was published before and not made again
	ChunksSent int           `json:"chunks_sent"` // that the node lacked
}

// Content is the files of a bundle.
type Content struct {
	Files fs.FS
	Index *bundle.Index // of Files
}

// Source is what an attachment is made from.
type Source struct {
	App     string
	Release Content
	From    Content // of the attachment that [Plan].From names

	spool    *os.File    // one file of the release, compressed
	progress func(int64) // may be nil
}

// Done reports as progress that size bytes of the release are processed.
func (s *Source) Done(size int64) {
	if s.progress != nil {
		s.progress(size)
	}
}

// Read calls do with the content of a file of the release, and verifies it against the index.
func (s *Source) Read(ctx context.Context, f *bundle.File, do func(io.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	file, err := s.Release.Files.Open(f.Path)
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

// Compress returns a file of the release compressed with the writer that through returns. The result is in a temporary
// file and is valid until the next call.
func (s *Source) Compress(
	ctx context.Context, f *bundle.File, through func(w io.Writer) io.WriteCloser,
) (*io.SectionReader, error) {
	if _, err := s.spool.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	w := through(s.spool)
	err := s.Read(ctx, f, func(r io.Reader) error {
		_, err := io.Copy(w, r)
		return err
	})
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	size, err := s.spool.Seek(0, io.SeekCurrent)
	return io.NewSectionReader(s.spool, 0, size), err
}

// attachers returns the attachers of the request. If none is for zips, it adds a default Zip in front.
func (r *Request) attachers() []Attacher {
	if slices.ContainsFunc(r.Attachments, func(a Attacher) bool { return a.Kind() == protocol.AttachmentZip }) {
		return r.Attachments
	}
	return append([]Attacher{Zip{}}, r.Attachments...)
}

// checkAttachments returns an error if an attacher is invalid.
func (r *Request) checkAttachments() error {
	kinds := map[string]bool{}
	for _, a := range r.Attachments {
		if kinds[a.Kind()] {
			return fmt.Errorf("two attachments have the kind %s", a.Kind())
		}
		kinds[a.Kind()] = true
		if err := a.Check(); err != nil {
			return err
		}
	}
	return nil
}

// step is one Attacher with its plan.
type step struct {
	Attacher
	Plan

	needed bool // it is made, possibly only for another one
}

// plan returns the plans of all attachers for a release that follows now.
func (r *Request) plan(now *channel.Release, again, lapsed bool) ([]step, error) {
	var steps []step
	answered := map[string]bool{}
	for _, a := range r.attachers() {
		kind := a.Kind()
		answered[kind] = true
		p, err := a.Plan(Before{Version: now.Version, Attached: now.Attachment(kind) != nil, Same: again})
		if err != nil {
			return nil, err
		}
		steps = append(steps, step{Attacher: a, Plan: p, needed: p.Action == Make})
	}
	for i := len(steps) - 1; i >= 0; i-- {
		if s := &steps[i]; s.needed && s.From != "" {
			from := slices.IndexFunc(steps[:i], func(other step) bool { return other.Kind() == s.From })
			if from < 0 {
				return nil, fmt.Errorf("attachment %s is made from %s, which no attacher before it makes", s.Kind(), s.From)
			}
			steps[from].needed = true
		}
	}
	for _, old := range now.Attachments {
		// Devices that need it would get no more updates. A lapsed manifest is not trusted, so it is ignored.
		if !again && !lapsed && !answered[old.Kind] {
			return nil, &AttachmentError{
				Kind:   old.Kind,
				Reason: fmt.Sprintf("version %s has it, and the new release would not", now.Version),
				Hint:   "publish with the same options as version " + now.Version,
			}
		}
	}
	return steps, nil
}
