package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"brink/digest"
)

// ErrMalformed is returned for bytes in the wrong form: an index that is not canonical, an archive that this package
// would not have written, a truncated or corrupt chunk stream, a patch that does not decode.
var ErrMalformed = errors.New("malformed")

// Index lists the contents of an archive. It must not be changed once made, and so can be shared freely.
type Index struct {
	Schema  int     `json:"schema"`
	Archive Archive `json:"archive"`
	Files   []File  `json:"files"` // sorted by path, bytewise; at least one
}

// Archive names the archive as a whole.
type Archive struct {
	Digest digest.Digest `json:"digest"` // the bundle's identity
	SHA256 digest.SHA256 `json:"sha256"` // identifies it as a dictionary
	Size   int64         `json:"size"`   // bytes
}

// File is one regular file of a bundle.
type File struct {
	Path   string        `json:"path"`
	Size   int64         `json:"size"` // bytes
	Digest digest.Digest `json:"digest"`
	SHA256 digest.SHA256 `json:"sha256"`
	// Chunks is empty for a file of one chunk, which has the file's own digest and size, and for an empty file, which
	// has none. Use [File.ChunkList].
	Chunks []Chunk `json:"chunks,omitempty"`
}

// Chunk is one content-defined piece of a file.
type Chunk struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // bytes, 1 to MaxChunk
}

// Bundle returns the identity of the bundle: the digest of its archive.
func (ix *Index) Bundle() digest.Digest { return ix.Archive.Digest }

// ChunkList returns the chunks of the file in order: none for an empty file.
func (f *File) ChunkList() []Chunk {
	if len(f.Chunks) == 0 && f.Size > 0 {
		return []Chunk{{Digest: f.Digest, Size: f.Size}}
	}
	return f.Chunks
}

// Chunks yields each distinct chunk once, in the order of first use.
func (ix *Index) Chunks() iter.Seq[Chunk] {
	return func(yield func(Chunk) bool) {
		seen := make(map[digest.Digest]struct{}, len(ix.Files))
		for i := range ix.Files {
			for _, c := range ix.Files[i].ChunkList() {
				if _, again := seen[c.Digest]; again {
					continue
				}
				seen[c.Digest] = struct{}{}
				if !yield(c) {
					return
				}
			}
		}
	}
}

// File returns the file at path, or nil.
func (ix *Index) File(path string) *File {
	low, high := 0, len(ix.Files)
	for low < high {
		if mid := (low + high) / 2; ix.Files[mid].Path < path {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < len(ix.Files) && ix.Files[low].Path == path {
		return &ix.Files[low]
	}
	return nil
}

// Encode returns the canonical JSON of the index. Its digest is the index digest that a publisher signs.
func (ix *Index) Encode() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(ix); err != nil {
		panic(fmt.Sprintf("bundle: encode index: %v", err)) // structs of strings and numbers always encode
	}
	return b.Bytes()
}

func (ix *Index) check() error {
	if ix.Schema != Schema {
		return fmt.Errorf("schema %d is not supported, want %d", ix.Schema, Schema)
	}
	if len(ix.Files) == 0 {
		return errors.New("no files")
	}
	if len(ix.Files) > MaxFiles {
		return fmt.Errorf("more than %d files", MaxFiles)
	}
	if ix.Archive.Size > MaxArchive {
		return fmt.Errorf("the archive is larger than %d bytes", int64(MaxArchive))
	}
	paths := make([]string, len(ix.Files))
	sizes := make(map[digest.Digest]int64, len(ix.Files)) // one digest can have only one size
	for i := range ix.Files {
		f := &ix.Files[i]
		paths[i] = f.Path
		if i > 0 && ix.Files[i-1].Path >= f.Path {
			return fmt.Errorf("file %q is out of order", f.Path)
		}
		if err := f.check(sizes); err != nil {
			return fmt.Errorf("file %q: %w", f.Path, err)
		}
	}
	if err := CheckPaths(paths); err != nil {
		return err
	}
	if size := newLayout(ix.Files).size; size != ix.Archive.Size {
		return fmt.Errorf("the files add up to an archive of %d bytes, not %d", size, ix.Archive.Size)
	}
	return nil
}

func (f *File) check(sizes map[digest.Digest]int64) error {
	if f.Size < 0 || f.Size > MaxArchive {
		return fmt.Errorf("size is %d bytes, want 0 to %d", f.Size, int64(MaxArchive))
	}
	if len(f.Chunks) == 1 {
		return errors.New("a single chunk must not be listed")
	}
	var sum int64
	for _, c := range f.ChunkList() {
		if c.Size <= 0 || c.Size > MaxChunk {
			return fmt.Errorf("a chunk of %d bytes", c.Size)
		}
		if size, known := sizes[c.Digest]; known && size != c.Size {
			return fmt.Errorf("chunk %s has two sizes", c.Digest.Short())
		}
		sizes[c.Digest] = c.Size
		sum += c.Size
	}
	if sum != f.Size {
		return fmt.Errorf("the chunks add up to %d bytes, not %d", sum, f.Size)
	}
	return nil
}
