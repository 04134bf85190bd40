package publish

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"strings"

	"github.com/klauspost/compress/flate"

	"brink/bundle"
	"brink/digest"
	"brink/protocol"
)

// Header fields that all entries have in common: PKWARE's APPNOTE.TXT 6.3.10, sections 4.4.2 to 4.4.6. The date is
// required; it is the earliest one that the format supports, 1 January 1980.
const (
	zipVersion = 20      // deflate
	zipUTF8    = 1 << 11 // names are UTF-8
	zipDate    = 1<<5 | 1
)

// maxZipEntries and maxZip are the limits of zips without Zip64, which not all unpackers on devices support.
const (
	maxZipEntries = math.MaxUint16 - 1
	maxZip        = math.MaxUint32 - 1 // bytes
)

// Zip attaches the release's files as a zip, see [protocol.AttachmentZip]. The zero value does so if the previous
// release has one, and is the default of a [Request] without a Zip.
type Zip struct {
	Choice Choice
	Given  *GivenZip // if set, it is attached instead of making a zip, and Choice may not be Unwanted
}

// GivenZip is a zip made by another program. It must contain the published files, and nothing else.
type GivenZip struct {
	File   string
	SHA256 digest.SHA256 // of the file
}

// Kind implements [Attacher].
func (Zip) Kind() string { return protocol.AttachmentZip }

// Check implements [Attacher].
func (z Zip) Check() error {
	if z.Given != nil && z.Choice == Unwanted {
		return errors.New("a zip is given, but zips are unwanted")
	}
	return nil
}

// Plan implements [Attacher].
func (z Zip) Plan(before Before) (Plan, error) {
	p := Plan{Action: Keep, Reads: true}
	switch {
	case z.Choice == Unwanted:
		p.Action = Drop
	case z.Choice == Wanted || z.Given != nil || before.Attached:
		p.Action = Make
	}
	return p, nil
}

// Attach implements [Attacher].
func (z Zip) Attach(ctx context.Context, src *Source, dir *os.Root) error {
	if z.Given != nil {
		return z.Given.attach(ctx, src, dir)
	}
	return writeZip(ctx, src, dir)
}

// writeZip writes the release's files as a zip. It is deterministic: entries are in the order of the index. The size
// and CRC of each entry precede its content, because streaming unpackers may need them there.
func writeZip(ctx context.Context, src *Source, dir *os.Root) error {
	ix := src.Release.Index
	if err := checkZip(ix); err != nil {
		return err
	}
	deflater, err := flate.NewWriter(nil, flate.BestCompression)
	if err != nil {
		return err
	}
	f, err := dir.Create(protocol.ZipPath)
	if err != nil {
		return err
	}
	var written countedSize
	out := zip.NewWriter(io.MultiWriter(f, &written))
	for i := 0; i < len(ix.Files) && err == nil; i++ {
		err = zipEntry(ctx, src, out, deflater, &ix.Files[i])
	}
	if err == nil {
		err = out.Close()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if written > maxZip {
		return zipTooLarge(fmt.Sprintf("a zip of %d bytes", written))
	}
	return nil
}

func zipEntry(ctx context.Context, src *Source, out *zip.Writer, deflater *flate.Writer, f *bundle.File) error {
	h := &zip.FileHeader{
		Name: f.Path, CreatorVersion: zipVersion, ReaderVersion: zipVersion, Flags: zipUTF8,
		ModifiedDate:       zipDate, //nolint:staticcheck // CreateRaw writes this one, and not Modified
		UncompressedSize64: uint64(f.Size),
	}
	if f.Size == 0 {
		h.Method = zip.Store // no content to deflate
		_, err := out.CreateRaw(h)
		return err
	}
	sum := crc32.NewIEEE()
	deflated, err := src.Compress(ctx, f, func(w io.Writer) io.WriteCloser {
		deflater.Reset(w)
		return &tee{WriteCloser: deflater, also: sum}
	})
	if err != nil {
		return err
	}
	h.Method, h.CRC32, h.CompressedSize64 = zip.Deflate, sum.Sum32(), uint64(deflated.Size())
	entry, err := out.CreateRaw(h)
	if err != nil {
		return err
	}
	if _, err := io.Copy(entry, deflated); err != nil {
		return err
	}
	src.Done(f.Size)
	return nil
}

// tee writes to two writers.
type tee struct {
	io.WriteCloser

	also io.Writer
}

func (t *tee) Write(b []byte) (int, error) {
	_, _ = t.also.Write(b) // a hash never returns an error
	return t.WriteCloser.Write(b)
}

// countedSize counts what is written to it.
type countedSize int64

func (n *countedSize) Write(b []byte) (int, error) {
	*n += countedSize(len(b))
	return len(b), nil
}

func zipTooLarge(what string) error {
	return &AttachmentError{
		Kind: protocol.AttachmentZip, Reason: what + " is too large for unpackers on devices",
		Hint: "publish without a zip: --zip=false",
	}
}

// checkZip returns an error if the release's files cannot be a zip that every device can unpack.
func checkZip(ix *bundle.Index) error {
	if len(ix.Files) > maxZipEntries {
		return zipTooLarge(fmt.Sprintf("a zip of %d files", len(ix.Files)))
	}
	for i := range ix.Files {
		f := &ix.Files[i]
		if f.Size > maxZip {
			return zipTooLarge(fmt.Sprintf("%q, with %d bytes,", f.Path, f.Size))
		}
		if reason := zipNameReason(f.Path); reason != "" {
			return &AttachmentError{
				Kind: protocol.AttachmentZip, Reason: fmt.Sprintf("path %q %s", f.Path, reason),
				Hint: "rename the file, exclude it with --exclude, or publish without a zip: --zip=false",
			}
		}
	}
	return nil
}

// zipNameReason returns why a path cannot be unpacked on all systems on which apps run, empty if it can: Windows
// refuses these names ("Naming Files, Paths, and Namespaces"), and Android refuses the characters on shared storage.
// They are valid in a bundle, because most apps run on other systems.
func zipNameReason(path string) string {
	if strings.ContainsAny(path, `<>:"|?*`) {
		return `has one of the characters < > : " | ? *, which Windows and Android do not allow in names`
	}
	for segment := range strings.SplitSeq(path, "/") {
		if strings.HasSuffix(segment, ".") || strings.HasSuffix(segment, " ") {
			return "has a segment that ends with a dot or a space, which Windows removes"
		}
		base, _, _ := strings.Cut(segment, ".")
		if isDevice(strings.ToUpper(base)) {
			return fmt.Sprintf("has the segment %q, which is a device on Windows", segment)
		}
	}
	return ""
}

// isDevice reports whether a name, in upper case and without extension, is reserved by Windows.
func isDevice(name string) bool {
	switch name {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	number, found := strings.CutPrefix(name, "COM")
	if !found {
		number, found = strings.CutPrefix(name, "LPT")
	}
	return found && len(number) == 1 && number >= "1" && number <= "9"
}

// sameContent returns an error unless an entry unpacks to the bytes of a file of the release. It reads no more bytes
// than those.
func sameContent(entry *zip.File, f *bundle.File) error {
	if entry.UncompressedSize64 != uint64(f.Size) {
		return fmt.Errorf("it has %d bytes, the published file has %d", entry.UncompressedSize64, f.Size)
	}
	r, err := entry.Open()
	if err != nil {
		return err
	}
	sum := digest.NewHasher()
	_, err = io.Copy(sum, io.LimitReader(r, f.Size+1))
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if sum.Digest() != f.Digest {
		return errors.New("its content differs from the published file")
	}
	return nil
}

// attach copies the zip, and verifies that it contains the release's files and nothing else.
func (g *GivenZip) attach(ctx context.Context, src *Source, dir *os.Root) error {
	in, err := os.Open(g.File)
	if err != nil {
		return err
	}
	out, err := dir.Create(protocol.ZipPath)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	return errors.Join(g.copy(ctx, src, out, in), out.Close(), in.Close())
}

func (g *GivenZip) copy(ctx context.Context, src *Source, out *os.File, in io.Reader) error {
	sum := digest.NewHasher()
	if _, err := io.Copy(io.MultiWriter(out, sum), in); err != nil {
		return err
	}
	if sum.SHA256() != g.SHA256 {
		return &AttachmentError{
			Kind:   protocol.AttachmentZip,
			Reason: fmt.Sprintf("%s has the SHA-256 %s, but the checksum is %s", g.File, sum.SHA256(), g.SHA256),
			Hint:   "the zip must be unchanged since its checksum was made; an encrypted one needs its session key",
		}
	}
	if err := compareZip(ctx, src, out, sum.Size()); err != nil {
		return &AttachmentError{
			Kind: protocol.AttachmentZip, Reason: fmt.Sprintf("%s: %v", g.File, err),
			Hint: "it must be a zip of the published files",
		}
	}
	return nil
}

// compareZip returns an error if a zip differs from the release.
func compareZip(ctx context.Context, src *Source, r io.ReaderAt, size int64) error {
	ix := src.Release.Index
	in, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // paths are checked below, with a better error
		return err
	}
	seen := make(map[string]bool, len(in.File))
	for _, entry := range in.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		folder := strings.HasSuffix(entry.Name, "/")
		if err := bundle.CheckPath(strings.TrimSuffix(entry.Name, "/")); err != nil {
			return err
		}
		switch mode := entry.Mode(); {
		case seen[entry.Name]:
			return fmt.Errorf("entry %q occurs twice", entry.Name)
		case folder:
			continue
		case !mode.IsRegular():
			return fmt.Errorf("entry %q is not a regular file", entry.Name)
		}
		seen[entry.Name] = true
		f := ix.File(entry.Name)
		if f == nil {
			return fmt.Errorf("entry %q is not among the published files", entry.Name)
		}
		if err := sameContent(entry, f); err != nil {
			return fmt.Errorf("entry %q: %w", entry.Name, err)
		}
		src.Done(f.Size)
	}
	for i := range ix.Files {
		if path := ix.Files[i].Path; !seen[path] {
			return fmt.Errorf("file %q is missing", path)
		}
	}
	return nil
}
