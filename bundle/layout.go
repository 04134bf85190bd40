package bundle

import (
	"archive/tar"
	"bytes"
	"fmt"
	"sort"
	"time"
)

const (
	blockSize   = 512           // a tar archive is a sequence of blocks of this many bytes
	trailerSize = 2 * blockSize // two blocks of zeros end it (POSIX.1-2017, pax, "ustar Interchange Format")
	maxUSTAR    = 8<<30 - 1     // the largest size that fits in a ustar header
)

// layout is the offset of each file in the archive.
type layout struct {
	files  []File
	starts []int64 // of the header of each file
	size   int64   // of the archive
}

func newLayout(files []File) layout {
	l := layout{files: files, starts: make([]int64, len(files))}
	for i := range files {
		l.starts[i] = l.size
		l.size += headerSize(files[i].Path, files[i].Size) + padded(files[i].Size)
	}
	l.size += trailerSize
	return l
}

// find returns the index of the file whose header, content or padding contains the byte at offset, or len(files) for
// the archive's trailer.
func (l *layout) find(offset int64) int {
	if offset >= l.size-trailerSize {
		return len(l.files)
	}
	return sort.Search(len(l.starts), func(i int) bool { return l.starts[i] > offset }) - 1
}

func padded(size int64) int64 { return (size + blockSize - 1) / blockSize * blockSize }

func headerSize(path string, size int64) int64 {
	if len(path) <= 100 && isASCII(path) && size <= maxUSTAR {
		return blockSize
	}
	return int64(len(header(path, size)))
}

// header returns the tar header of a file: ustar where it fits, otherwise pax, which is longer: for long or non-ASCII
// paths and files over 8 GiB. All that could differ between machines is fixed: mode 0644, time zero, no owner.
func header(path string, size int64) []byte {
	return headerIn(make([]byte, 0, blockSize), path, size)
}

// headerIn is header, but uses the memory of buffer if that is large enough.
func headerIn(buffer []byte, path string, size int64) []byte {
	b := bytes.NewBuffer(buffer[:0])
	h := tar.Header{
		Typeflag: tar.TypeReg,
		Name:     path,
		Size:     size,
		Mode:     0o644,
		ModTime:  time.Unix(0, 0),
		Format:   tar.FormatUSTAR,
	}
	if err := tar.NewWriter(b).WriteHeader(&h); err == nil {
		return b.Bytes()
	}
	b.Reset()
	h.Format = tar.FormatPAX
	if err := tar.NewWriter(b).WriteHeader(&h); err != nil {
		panic(fmt.Sprintf("bundle: header of %q: %v", path, err)) // CheckPath refuses what pax cannot encode
	}
	return b.Bytes()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
