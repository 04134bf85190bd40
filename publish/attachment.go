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

// Attacher makes the attachments of one kind. Its methods are called one after the other, by one Publish at a time.
type Attacher interface {
	// Kind is the name of the attachment in the channel manifest.
	Kind() string
	// Check reports what is wrong with the Attacher itself. It is called before anything is read or sent.
	Check() error
	// Plan says what becomes of the attachment of a release. An error, such as an [*AttachmentError], refuses the
	// release. It is called before anything is made or sent.
	Plan(before Before) (Plan, error)
	// Attach writes the files of the attachment to dir, which is empty. The same release must give the same files: that
	// is how a repeated Publish finds what is there. It may block. It keeps neither src nor dir.
	Attach(ctx context.Context, src *Source, dir *os.Root) error
}

// Before is what the channel serves when a release is published.
type Before struct {
	Version  string // of the release that it serves; empty: none
	Attached bool   // that release has an attachment of the kind
	Same     bool   // it is the release that is published, so it is taken over as it is
}

// Plan is what becomes of the attachment of one kind.
type Plan struct {
	Action Action
	// From is the kind of an attachment that this one is made from, empty for none. That one is made first, even if it is
	// not published itself. Its Attacher has to come before in [Request].Attachments.
	From string
	// Reads says that Attach reads all files of the release once and tells it by [Source.Done].
	Reads bool
}

// Action is what a Publish does about an attachment.
type Action int

// The actions.
const (
	Keep Action = iota // a release that is served already keeps the one that it has; any other has none
	Make
	Drop // the release has none, even if it had one
)

// Choice says whether a release gets something.
type Choice int

// The choices.
const (
	AsBefore Choice = iota // if the release that the channel serves now has it
	Wanted
	Unwanted
)

// AttachmentError tells why a release cannot be published with an attachment.
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
	progress func(int64) // nil: nobody wants to know
}

// Done tells that size bytes of the release were read for good.
func (s *Source) Done(size int64) {
	if s.progress != nil {
		s.progress(size)
	}
}

// Read gives do the content of a file of the release, and makes sure that it is what was indexed.
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

// Compress returns what through makes of a file of the release. It is kept in a temporary file until the next call.
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

// attachers are those of the request, after one that makes zips as before if none of them is for zips.
func (r *Request) attachers() []Attacher {
	if slices.ContainsFunc(r.Attachments, func(a Attacher) bool { return a.Kind() == protocol.AttachmentZip }) {
		return r.Attachments
	}
	return append([]Attacher{Zip{}}, r.Attachments...)
}

// checkAttachments reports what is wrong with the attachers.
func (r *Request) checkAttachments() error {
	kinds := map[string]bool{}
	for _, a := range r.Attachments {
		if kinds[a.Kind()] {
			return fmt.Errorf("two attachments of the kind %s are given", a.Kind())
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

	needed bool // it is made, be it for another only
}

// plan asks all attachers what they are going to do about a release that comes after now.
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
				return nil, fmt.Errorf("attachment %s is made from %s, and nothing before it makes that", s.Kind(), s.From)
			}
			steps[from].needed = true
		}
	}
	for _, old := range now.Attachments {
		// Whoever needs it would be left behind. What a lapsed manifest says is no reason to refuse anything.
		if !again && !lapsed && !answered[old.Kind] {
			return nil, &AttachmentError{
				Kind:   old.Kind,
				Reason: fmt.Sprintf("version %s has it, and nothing is given that makes it for the next", now.Version),
				Hint:   "publish with what made it",
			}
		}
	}
	return steps, nil
}
