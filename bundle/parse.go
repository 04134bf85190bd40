package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"brink/digest"
)

// maxPax bounds the extended header of one file in bytes: enough for a path of MaxPath and a size.
const maxPax = 4 * blockSize

// ReadArchive reads an archive from r and calls file for each of its files, in order, with the path, the size in bytes
// and a reader of the content, which is valid until file returns. Content that file does not read is skipped.
//
// It accepts only archives that this package writes: it returns [ErrMalformed] for any other tar, and for paths that
// [CheckPaths] refuses. It stops at the first error of file and returns it. Otherwise it reads r to its end.
func ReadArchive(ctx context.Context, r io.Reader, file func(path string, size int64, content io.Reader) error) error {
	return ReadArchiveOf(ctx, r, MaxFiles, file)
}

// ReadArchiveOf is [ReadArchive] for an archive of at most files files. It fails before it calls file for one more, or
// for one that would need more folders than [MaxFolders] allows for that number, so a hostile archive cannot make file
// create more than that.
func ReadArchiveOf(
	ctx context.Context, r io.Reader, files int, file func(path string, size int64, content io.Reader) error,
) error {
	p := archiveParser{r: r, paths: newPathSet(0), maxFiles: min(files, MaxFiles)}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		path, size, err := p.header()
		if errors.Is(err, io.EOF) {
			return p.end()
		}
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		content := io.LimitedReader{R: r, N: size}
		if err := file(path, size, &content); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, &content); err != nil {
			return fmt.Errorf("archive: file %q: %w", path, err)
		}
		if content.N > 0 {
			return fmt.Errorf("archive: file %q: %w", path, io.ErrUnexpectedEOF)
		}
		if err := p.zeros(padded(size) - size); err != nil {
			return fmt.Errorf("archive: file %q: %w", path, err)
		}
	}
}

type archiveParser struct {
	r        io.Reader
	raw      []byte // of a header, as read; reused, as is want
	want     []byte // the canonical header of the same file
	paths    *pathSet
	maxFiles int
	last     string // path of the previous file
	folders  int    // of the files so far
	total    int64  // bytes of headers and contents so far
}

// header reads the header of the next file; it returns io.EOF at the first block of the trailer.
func (p *archiveParser) header() (path string, size int64, err error) {
	if p.raw == nil {
		p.raw = make([]byte, blockSize+maxPax)
	}
	raw := p.raw[:blockSize]
	if err := p.fill(raw); err != nil {
		return "", 0, err
	}
	if bytes.Equal(raw, zeros[:blockSize]) {
		return "", 0, io.EOF
	}
	if raw[156] == tar.TypeXHeader {
		// A pax header is a file of its own: its records, then the header that they extend.
		n, err := strconv.ParseInt(string(bytes.Trim(raw[124:136], " \x00")), 8, 64)
		if err != nil || n <= 0 || padded(n) > maxPax-blockSize {
			return "", 0, fmt.Errorf("%w: extended header", ErrMalformed)
		}
		raw = raw[:blockSize+padded(n)+blockSize]
		if err := p.fill(raw[blockSize:]); err != nil {
			return "", 0, err
		}
	}
	h, err := tar.NewReader(bytes.NewReader(raw)).Next()
	if err != nil {
		return "", 0, fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	if err := p.paths.add(h.Name); err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	switch {
	case h.Name <= p.last:
		return "", 0, fmt.Errorf("%w: file %q is out of order", ErrMalformed, h.Name)
	case len(p.paths.files) > p.maxFiles:
		return "", 0, fmt.Errorf("%w: more than %d files", ErrMalformed, p.maxFiles)
	case h.Size < 0 || h.Size > MaxArchive-p.total:
		return "", 0, fmt.Errorf("%w: more than %d bytes", ErrMalformed, int64(MaxArchive))
	}
	if p.want = headerIn(p.want, h.Name, h.Size); !bytes.Equal(raw, p.want) {
		return "", 0, fmt.Errorf("%w: the header of %q is not canonical", ErrMalformed, h.Name)
	}
	if p.folders += newFolders(p.last, h.Name); p.folders > MaxFolders(p.maxFiles) {
		return "", 0, fmt.Errorf("%w: more than %d folders", ErrMalformed, MaxFolders(p.maxFiles))
	}
	p.last = h.Name
	p.total += int64(len(raw)) + padded(h.Size)
	return h.Name, h.Size, nil
}

// end reads the second block of the trailer and checks that nothing follows it.
func (p *archiveParser) end() error {
	if p.last == "" {
		return fmt.Errorf("archive: %w: no files", ErrMalformed)
	}
	if files := len(p.paths.files); p.folders > MaxFolders(files) {
		return fmt.Errorf("archive: %w: %d files in %d folders", ErrMalformed, files, p.folders)
	}
	if err := p.zeros(blockSize); err != nil {
		return fmt.Errorf("archive: trailer: %w", err)
	}
	var one [1]byte
	switch n, err := io.ReadFull(p.r, one[:]); {
	case n > 0:
		return fmt.Errorf("archive: %w: bytes after its end", ErrMalformed)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}

// zeros reads n bytes, at most a block, that must all be zero.
func (p *archiveParser) zeros(n int64) error {
	block := make([]byte, n)
	if err := p.fill(block); err != nil {
		return err
	}
	if !bytes.Equal(block, zeros[:n]) {
		return fmt.Errorf("%w: padding is not zero", ErrMalformed)
	}
	return nil
}

// fill reads len(b) bytes. An archive that ends before them is truncated: io.ErrUnexpectedEOF.
func (p *archiveParser) fill(b []byte) error {
	_, err := io.ReadFull(p.r, b)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// IndexArchive derives the index from an archive. It needs one buffer of a few chunks, whatever the size of the
// archive. Errors are those of [ReadArchive].
func IndexArchive(ctx context.Context, r io.Reader) (*Index, error) {
	x := newIndexer()
	if err := ReadArchive(ctx, r, x.add); err != nil {
		return nil, err
	}
	return x.finish(), nil
}

// indexer builds an index from files that are added in order.
type indexer struct {
	archive *digest.Hasher
	content *digest.Hasher // of the current file
	header  []byte         // of the current file
	buffer  []byte         // bytes of the current file that are not in a chunk yet
	files   []File
}

func newIndexer() *indexer {
	return &indexer{
		archive: digest.NewHasher(),
		content: digest.NewHasher(),
	}
}

// add adds a file of exactly size bytes.
func (x *indexer) add(path string, size int64, content io.Reader) error {
	x.header = headerIn(x.header, path, size)
	x.archive.Write(x.header)
	x.content.Reset()
	x.buffer = slices.Grow(x.buffer[:0], int(min(size, 4*MaxChunk)))
	var chunks []Chunk
	for left := size; left > 0 || len(x.buffer) > 0; {
		// Fill the buffer before cutting: cut must see MaxChunk bytes or the file's end.
		for left > 0 && len(x.buffer) < cap(x.buffer) {
			room := x.buffer[len(x.buffer):cap(x.buffer)]
			n, err := content.Read(room[:min(left, int64(len(room)))])
			x.archive.Write(room[:n])
			x.content.Write(room[:n])
			x.buffer = x.buffer[:len(x.buffer)+n]
			left -= int64(n)
			if errors.Is(err, io.EOF) && left > 0 {
				err = io.ErrUnexpectedEOF
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("file %q: %w", path, err)
			}
		}
		rest := x.buffer
		for len(rest) >= MaxChunk || (left == 0 && len(rest) > 0) {
			n := cut(rest)
			c := Chunk{Size: int64(n)}
			if c.Size < size { // a single chunk is not listed: its digest is the file's
				c.Digest = digest.Sum(rest[:n])
				chunks = append(chunks, c)
			}
			rest = rest[n:]
		}
		x.buffer = x.buffer[:copy(x.buffer, rest)]
	}
	x.archive.Write(zeros[:padded(size)-size])
	x.files = append(x.files, File{
		Path:   path,
		Size:   size,
		Digest: x.content.Digest(),
		SHA256: x.content.SHA256(),
		Chunks: chunks,
	})
	return nil
}

func (x *indexer) finish() *Index {
	x.archive.Write(zeros)
	return &Index{
		Schema:  Schema,
		Archive: Archive{Digest: x.archive.Digest(), SHA256: x.archive.SHA256(), Size: x.archive.Size()},
		Files:   x.files,
	}
}
