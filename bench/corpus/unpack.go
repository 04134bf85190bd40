package corpus

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// maxUnpacked bounds what one tarball may unpack to, in bytes. The largest of the corpus has 12 MB.
const maxUnpacked = 64 << 20

// errTarball is returned, wrapped, for a tarball that is damaged or holds what a package never needs.
var errTarball = errors.New("bad tarball")

func unpackFile(tarball, dst, built string) error {
	file, err := os.Open(tarball)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // opened for reading: there is nothing to lose
	return unpack(file, dst, built, maxUnpacked)
}

// unpack writes the files below the folder built of an npm tarball into the new folder dst, without source maps. An
// npm tarball is a gzip'd tar of regular files below one top folder, whatever that is called. On an error dst may hold
// a part of the files; nothing outside dst is ever written: every path is checked, and [os.Root] holds should the
// check not. A tar of more than limit bytes is refused.
func unpack(r io.Reader, dst, built string, limit int64) error {
	if err := os.Mkdir(dst, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dst)
	if err != nil {
		return err
	}
	defer root.Close()
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("%w: %w", errTarball, err)
	}
	// One byte more than the bound tells "at the bound" from "beyond it".
	bounded := &io.LimitedReader{R: unzipped, N: limit + 1}
	files, err := unpackTar(tar.NewReader(bounded), root, built)
	if err == nil {
		// The rest of the stream is read for the sake of gzip's checksum, which comes last.
		_, err = io.Copy(io.Discard, bounded)
	}
	switch {
	case bounded.N == 0:
		return fmt.Errorf("%w: more than %d bytes", errTarball, limit)
	case err != nil:
		return fmt.Errorf("%w: %w", errTarball, err)
	case files == 0:
		return fmt.Errorf("%w: no file below %q", errTarball, built)
	}
	return nil
}

func unpackTar(archive *tar.Reader, root *os.Root, built string) (files int, err error) {
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return files, err
		}
		name, err := member(header, built)
		if err != nil {
			return files, err
		}
		if name == "" {
			continue
		}
		if err := write(root, name, archive); err != nil {
			return files, err
		}
		files++
	}
}

// member returns the path below built that the entry is to be written to, or "" for one that is left out.
func member(header *tar.Header, built string) (string, error) {
	name := header.Name
	switch header.Typeflag {
	case tar.TypeReg:
	case tar.TypeDir:
		name = strings.TrimSuffix(name, "/")
	default:
		return "", fmt.Errorf("entry %q is of type %q, not a regular file", header.Name, header.Typeflag)
	}
	if !fs.ValidPath(name) || strings.ContainsAny(name, "\\:\x00") {
		return "", fmt.Errorf("entry %q has an unsafe path", header.Name)
	}
	_, name, _ = strings.Cut(name, "/")
	if built != "." {
		var below bool
		if name, below = strings.CutPrefix(name, built+"/"); !below {
			return "", nil
		}
	}
	if header.Typeflag == tar.TypeDir || strings.HasSuffix(name, ".map") {
		return "", nil
	}
	return name, nil
}

func write(root *os.Root, name string, from io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	// O_EXCL: two entries of one path would make the folder depend on their order.
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	return errors.Join(err, file.Close())
}
