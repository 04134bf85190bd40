package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// file is a file, or a folder, of an archive.
type file struct {
	name string // a folder's ends with a slash
	path string // where its content is; empty: data is
	data []byte
	mode int64
	uid  int // and gid
}

func (f file) isFolder() bool { return strings.HasSuffix(f.name, "/") }

func (f file) open() (io.ReadCloser, int64, error) {
	if f.path == "" {
		return io.NopCloser(bytes.NewReader(f.data)), int64(len(f.data)), nil
	}
	opened, err := os.Open(f.path)
	if err != nil {
		return nil, 0, err
	}
	info, err := opened.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, opened.Close())
	}
	return opened, info.Size(), nil
}

// create writes a new file by a function.
func create(path string, write func(io.Writer) error) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(write(out), out.Close())
}

// writeTarGzip makes an archive whose bytes depend on its arguments only.
func writeTarGzip(path string, files []file, at time.Time) error {
	return create(path, func(w io.Writer) error {
		zipped, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		return errors.Join(writeTar(zipped, files, at), zipped.Close())
	})
}

// writeTar writes files in the order given.
func writeTar(w io.Writer, files []file, at time.Time) error {
	out := tar.NewWriter(w)
	for _, f := range files {
		if err := writeTarFile(out, f, at); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return out.Close()
}

func writeTarFile(out *tar.Writer, f file, at time.Time) error {
	header := &tar.Header{
		Name: f.name, Mode: f.mode, Uid: f.uid, Gid: f.uid, ModTime: at, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
	}
	if f.isFolder() {
		header.Typeflag = tar.TypeDir
		return out.WriteHeader(header)
	}
	content, size, err := f.open()
	if err != nil {
		return err
	}
	defer content.Close()
	header.Size = size
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	return err
}

// writeZip is writeTarGzip for Windows.
func writeZip(path string, files []file, at time.Time) error {
	return create(path, func(w io.Writer) error {
		out := zip.NewWriter(w)
		for _, f := range files {
			if err := writeZipFile(out, f, at); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
		return out.Close()
	})
}

func writeZipFile(out *zip.Writer, f file, at time.Time) error {
	header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: at}
	header.SetMode(fs.FileMode(f.mode))
	w, err := out.CreateHeader(header)
	if err != nil {
		return err
	}
	content, _, err := f.open()
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(w, content)
	return err
}

// sumsFile is what sha256sum -c reads.
const sumsFile = "SHA256SUMS"

// writeSums writes the digests of all files of a folder, by name.
func writeSums(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, entry := range entries {
		sum, err := sumFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", sum, entry.Name())
	}
	return os.WriteFile(filepath.Join(folder, sumsFile), []byte(b.String()), 0o644)
}

func sumFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	return h.Sum(nil), errors.Join(err, f.Close())
}
