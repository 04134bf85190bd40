package capgo

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/andybalholm/brotli"

	"brink/bundle"
	"brink/protocol"
	format "brink/protocol/capgo"
	"brink/publish"
)

// encryptedFiles is the folder for encrypted files in the attachment. Their names are the SHA-256 of their bytes.
const encryptedFiles = "files"

// minBrotli is the minimum size of files that are compressed, in bytes, the same as on nodes. Unencrypted files are
// sent to the plugin as brotli only from [format.MinBrotli] on, as by Capgo's own service.
const minBrotli = 1 << 10

// brotliLevel is the level that nodes use too: the next ones take twenty times as long for a tenth less.
const brotliLevel = 9

// emptyBrotli is the brotli encoding of no bytes that Capgo's plugin accepts. It refuses empty encrypted content.
const emptyBrotli = "\x1b\x00\x06"

// encrypter makes one attachment with a key.
type encrypter struct {
	key     *Key
	form    format.Form
	session *session
	packer  *brotli.Writer // reused for all files, because it is large
	src     *publish.Source
	dir     *os.Root // of the attachment
}

// encrypt makes the attachment: the encrypted zip, and each file encrypted separately.
func (a Attacher) encrypt(ctx context.Context, src *publish.Source, dir *os.Root) error {
	ix := src.Release.Index
	session, err := a.Key.session(src.App, ix.Bundle())
	if err != nil {
		return err
	}
	e := &encrypter{
		key: a.Key, form: cmp.Or(a.Form, format.Hex), session: session,
		packer: brotli.NewWriterLevel(nil, brotliLevel), src: src, dir: dir,
	}
	d := &format.Description{SessionKey: session.text, KeyID: a.Key.ID(), Form: e.form}
	if d.Checksum, err = a.Key.checksum(src.From.Index.File(protocol.ZipPath).SHA256, e.form); err != nil {
		return err
	}
	if err := e.zip(); err != nil {
		return err
	}
	// A release with more files than fit into an answer for the plugin is served as a zip only.
	for i := 0; i < len(ix.Files) && len(ix.Files) <= format.MaxFiles; i++ {
		one, err := e.file(ctx, &ix.Files[i])
		if err != nil {
			return err
		}
		d.Files = append(d.Files, one)
		src.Done(ix.Files[i].Size)
	}
	return describe(dir, d)
}

// zip encrypts the zip of the release.
func (e *encrypter) zip() error {
	in, err := e.src.From.Files.Open(protocol.ZipPath)
	if err != nil {
		return err
	}
	defer in.Close()
	return create(e.dir, protocol.ZipPath, func(w io.Writer) error {
		_, err := e.session.encrypt(w, in)
		return err
	})
}

// file encrypts one file of the release, compressed with brotli if that pays.
func (e *encrypter) file(ctx context.Context, f *bundle.File) (format.File, error) {
	one := format.File{FileName: f.Path}
	var err error
	if one.FileHash, err = e.key.checksum(f.SHA256, e.form); err != nil {
		return one, err
	}
	// The plugin decompresses every file whose name ends with .br, so a file with such a name must be compressed.
	must := strings.HasSuffix(f.Path, format.Brotli) || f.Size == 0
	var packed *io.SectionReader
	if f.Size > 0 && (must || f.Size >= minBrotli) {
		packed, err = e.src.Compress(ctx, f, func(w io.Writer) io.WriteCloser {
			e.packer.Reset(w)
			return e.packer
		})
		if err != nil {
			return one, err
		}
	}
	const part = encryptedFiles + "/part"
	if err := e.dir.MkdirAll(encryptedFiles, 0o700); err != nil {
		return one, err
	}
	sum := sha256.New()
	err = create(e.dir, part, func(w io.Writer) error {
		var err error
		w = io.MultiWriter(w, sum)
		if must || packed != nil && packed.Size() <= f.Size-f.Size/16 {
			one.FileName += format.Brotli
			var source io.Reader = packed
			if f.Size == 0 {
				source = strings.NewReader(emptyBrotli)
			}
			one.Size, err = e.session.encrypt(w, source)
			return err
		}
		return e.src.Read(ctx, f, func(r io.Reader) error {
			one.Size, err = e.session.encrypt(w, r)
			return err
		})
	})
	if err != nil {
		return one, err
	}
	one.Path = encryptedFiles + "/" + hex.EncodeToString(sum.Sum(nil))
	return one, e.dir.Rename(part, one.Path)
}

// describe writes the description that a device needs to decrypt the attachment.
func describe(dir *os.Root, d *format.Description) error {
	raw, err := d.Encode()
	if err != nil {
		return err
	}
	return create(dir, format.Path, func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	})
}

// create creates a file in the folder of the attachment, and calls fill to write it.
func create(dir *os.Root, name string, fill func(w io.Writer) error) error {
	f, err := dir.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}
