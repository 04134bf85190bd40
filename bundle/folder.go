package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"

	"brink/digest"
)

// ErrEmpty is returned for a folder without files, from which no bundle can be made.
var ErrEmpty = errors.New("no files")

// Folder is a folder of regular files that make up a bundle.
//
// FS should come from [os.Root.FS], which does not follow symbolic links out of the folder. A link to a file inside is
// followed; a link to a folder is refused, because following it could loop.
type Folder struct {
	FS fs.FS
	// Exclude lists patterns. A file or folder that matches one is left out, with everything below it. A pattern without a
	// slash, such as *.map or node_modules, is matched against base names at any depth, one with a slash against paths:
	// /.git and ./.git are at the root, assets/**/*.map at any depth below assets. A slash at the end matches folders
	// only. The asterisk and ? match no slash, [a-z] matches one character of a class, {a,b} one of several texts, and a
	// backslash quotes the next character.
	Exclude []string
	// Unused, if set, is called with the patterns of Exclude that match nothing, if there are any.
	Unused func(patterns []string)
	// Progress, if set, is called after each file with its path and size in bytes.
	Progress func(path string, size int64)
}

// Index walks the folder and returns the index of the bundle that its files make up. It returns [ErrEmpty] if there are
// none, a [*PathError] for a name or a kind of file that a bundle cannot have, and an error if the size of a file
// changes while it is read.
func (f Folder) Index(ctx context.Context) (*Index, error) {
	x := newIndexer()
	if err := f.list(ctx, x.add); err != nil {
		return nil, err
	}
	return x.finish(), nil
}

// WriteArchive writes the archive of the folder's files. Errors are those of [Folder.Index], and those of w.
func (f Folder) WriteArchive(ctx context.Context, w io.Writer) error {
	err := f.list(ctx, func(path string, size int64, content io.Reader) error {
		if _, err := w.Write(header(path, size)); err != nil {
			return err
		}
		n, err := io.Copy(w, content)
		if err == nil && n < size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("file %q: %w", path, err)
		}
		_, err = w.Write(zeros[:padded(size)-size])
		return err
	})
	if err != nil {
		return err
	}
	_, err = w.Write(zeros)
	return err
}

// list calls do for each file in the order of the archive, with a reader of exactly its bytes.
func (f Folder) list(ctx context.Context, do func(path string, size int64, content io.Reader) error) error {
	paths, err := f.walk(ctx)
	if err != nil {
		return err
	}
	for _, p := range paths {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.read(p, do); err != nil {
			return err
		}
	}
	return nil
}

func (f Folder) read(path string, do func(path string, size int64, content io.Reader) error) error {
	file, err := f.FS.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &PathError{Path: path, Reason: "is not a regular file"}
	}
	size := info.Size()
	if err := do(path, size, io.LimitReader(file, size)); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("file %q shrank while it was read", path)
		}
		return err
	}
	var one [1]byte
	if n, _ := file.Read(one[:]); n > 0 {
		return fmt.Errorf("file %q grew while it was read", path)
	}
	if f.Progress != nil {
		f.Progress(path, size)
	}
	return nil
}

// walk returns the paths of all files, sorted and checked.
func (f Folder) walk(ctx context.Context) ([]string, error) {
	var paths []string
	exclude, err := ParsePatterns(f.Exclude...)
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(f.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		excluded := name != "." && exclude.match(name, entry.IsDir())
		switch {
		case excluded && entry.IsDir():
			return fs.SkipDir
		case excluded || entry.IsDir():
			return nil
		}
		if err := CheckPath(name); err != nil {
			return err
		}
		if entry.Type()&fs.ModeSymlink != 0 {
			if err := f.checkLink(name); err != nil {
				return err
			}
		} else if !entry.Type().IsRegular() {
			return &PathError{Path: name, Reason: "is not a regular file"}
		}
		if len(paths) == MaxFiles {
			return fmt.Errorf("more than %d files", MaxFiles)
		}
		paths = append(paths, name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if unused := exclude.unused(); f.Unused != nil && len(unused) > 0 {
		f.Unused(unused)
	}
	if len(paths) == 0 {
		return nil, ErrEmpty
	}
	sort.Strings(paths)
	return paths, CheckPaths(paths)
}

func (f Folder) checkLink(name string) error {
	info, err := fs.Stat(f.FS, name)
	switch {
	case err != nil:
		return &PathError{Path: name, Reason: "is a symbolic link that leads out of the folder or nowhere"}
	case !info.Mode().IsRegular():
		return &PathError{Path: name, Reason: "is a symbolic link to something other than a regular file"}
	}
	return nil
}

// FolderChunks reads the chunks of an index from the folder that was indexed. Use [NewFolderChunks].
type FolderChunks struct {
	fs     fs.FS
	places map[digest.Digest]place
	buffer []byte
}

// place is where a chunk is in the folder.
type place struct {
	path   string
	offset int64
}

var _ Chunks = (*FolderChunks)(nil)

// NewFolderChunks returns the chunks of ix, read from files. The result is not safe for concurrent use.
func NewFolderChunks(files fs.FS, ix *Index) *FolderChunks {
	places := make(map[digest.Digest]place, len(ix.Files))
	for i := range ix.Files {
		f := &ix.Files[i]
		var offset int64
		for _, c := range f.ChunkList() {
			if _, found := places[c.Digest]; !found {
				places[c.Digest] = place{path: f.Path, offset: offset}
			}
			offset += c.Size
		}
	}
	return &FolderChunks{fs: files, places: places, buffer: make([]byte, MaxChunk)}
}

// Chunk implements [Chunks]. It returns [digest.ErrMismatch] if the file has changed since it was indexed, and
// [fs.ErrNotExist] for a chunk that is not in the index.
func (f *FolderChunks) Chunk(_ context.Context, c Chunk) ([]byte, error) {
	place, found := f.places[c.Digest]
	if !found || c.Size > MaxChunk {
		return nil, fmt.Errorf("chunk %s: %w", c.Digest, fs.ErrNotExist)
	}
	file, err := f.fs.Open(place.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	seeker, ok := file.(io.Seeker)
	if !ok {
		return nil, fmt.Errorf("file %q: %w: cannot seek", place.path, errors.ErrUnsupported)
	}
	if _, err := seeker.Seek(place.offset, io.SeekStart); err != nil {
		return nil, err
	}
	data := f.buffer[:c.Size]
	if _, err := io.ReadFull(file, data); err != nil || digest.Sum(data) != c.Digest {
		return nil, fmt.Errorf("file %q changed since it was indexed: %w", place.path, digest.ErrMismatch)
	}
	return data, nil
}
