package capgo

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/andybalholm/brotli"

	"brink/bundle"
	"brink/protocol"
	format "brink/protocol/capgo"
	"brink/publish"
)

// device is what the plugin does with a public key, written from the standards: it shares no code with what
// encrypts.
type device struct{ n, e *big.Int }

func newDevice(key *rsa.PublicKey) device { return device{key.N, big.NewInt(int64(key.E))} }

// unseal undoes PKCS #1 v1.5 of type 1: 00 01 FF … FF 00 and what was sealed (RFC 2313, section 8.1).
func (d device) unseal(sealed []byte) ([]byte, error) {
	plain := new(big.Int).Exp(new(big.Int).SetBytes(sealed), d.e, d.n).FillBytes(make([]byte, 256))
	rest, ok := bytes.CutPrefix(plain, []byte{0, 1})
	padding := len(rest) - len(bytes.TrimLeft(rest, "\xff"))
	if !ok || len(sealed) != 256 || padding < 8 || rest[padding] != 0 {
		return nil, fmt.Errorf("not sealed by this key: %x", plain)
	}
	return rest[padding+1:], nil
}

// checksum returns the SHA-256 that was sealed, as the plugin that takes the form understands it.
func (d device) checksum(text string, form format.Form) (string, error) {
	decode, encode := hex.DecodeString, hex.EncodeToString
	if form == format.Base64 {
		decode, encode = base64.StdEncoding.DecodeString, base64.StdEncoding.EncodeToString
	}
	sealed, err := decode(text)
	if err != nil {
		return "", err
	}
	plain, err := d.unseal(sealed)
	return encode(plain), err
}

func (d device) decrypt(session string, data []byte) ([]byte, error) {
	first, second, _ := strings.Cut(session, ":")
	vector, err := base64.StdEncoding.DecodeString(first)
	if err != nil {
		return nil, err
	}
	sealed, err := base64.StdEncoding.DecodeString(second)
	if err != nil {
		return nil, err
	}
	key, err := d.unseal(sealed)
	if err != nil {
		return nil, err
	}
	if len(key) != 16 || len(vector) != 16 || len(data)%16 != 0 || len(data) == 0 {
		return nil, fmt.Errorf("key of %d, vector of %d, data of %d bytes", len(key), len(vector), len(data))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, vector).CryptBlocks(plain, data)
	n := int(plain[len(plain)-1])
	if n < 1 || n > 16 || !bytes.Equal(plain[len(plain)-n:], bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, errors.New("padding")
	}
	if n == len(plain) {
		return nil, errors.New("the plugin takes no file that decrypts to nothing")
	}
	return plain[:len(plain)-n], nil
}

// install does what the plugin does with a manifest, and returns the files that came of it.
func (d device) install(c *format.Description, attachment fstest.MapFS) (fstest.MapFS, error) {
	files := fstest.MapFS{}
	for _, f := range c.Files {
		data := attachment[f.Path].Data
		if int64(len(data)) != f.Size {
			return nil, fmt.Errorf("%s: %d bytes, want %d", f.Path, len(data), f.Size)
		}
		plain, err := d.decrypt(c.SessionKey, data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.FileName, err)
		}
		name, packed := strings.CutSuffix(f.FileName, ".br")
		if packed {
			if plain, err = unpack(plain); err != nil {
				return nil, fmt.Errorf("%s: %w", f.FileName, err)
			}
		}
		if err := d.check(plain, f.FileHash, c.Form); err != nil {
			return nil, fmt.Errorf("%s: %w", f.FileName, err)
		}
		files[name] = &fstest.MapFile{Data: plain}
	}
	return files, nil
}

// unpack does what the plugin does with the bytes of a file whose name ends with .br.
func unpack(data []byte) ([]byte, error) {
	if bytes.Equal(data, []byte{0x1b, 0, 6}) {
		return nil, nil
	}
	return io.ReadAll(brotli.NewReader(bytes.NewReader(data)))
}

func (d device) check(plain []byte, checksum string, form format.Form) error {
	sum := sha256.Sum256(plain)
	got, err := d.checksum(checksum, form)
	if want := hex.EncodeToString(sum[:]); err == nil && got != want {
		err = fmt.Errorf("checksum %s of a file with %s", got, want)
	}
	return err
}

// encrypted publishes files by a key, and returns the attachment.
func encrypted(
	t *testing.T, n *place, files fstest.MapFS, change ...func(*request),
) (*format.Description, fstest.MapFS) {
	t.Helper()
	dir := writeFiles(t, files)
	change = append([]func(*request){func(r *request) {
		r.Dir, r.capgo.Key = dir, testKey(t)
	}}, change...)
	if _, err := n.publish(change...); err != nil {
		t.Fatal(err)
	}
	ix, attachment := n.files(n.inForce(), format.Kind)
	c, err := format.Parse(attachment[format.Path].Data)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckIndex(ix); err != nil {
		t.Error(err)
	}
	return c, attachment
}

func TestAttacher_EncryptsForThePlugin(t *testing.T) {
	for _, form := range []format.Form{format.Hex, format.Base64} {
		t.Run(string(form), func(t *testing.T) {
			files := someFiles()
			c, attachment := encrypted(t, newPlace(t), files, func(r *request) { r.capgo.Form = form })
			d := newDevice(&testRSA().PublicKey)
			if c.Form != form || c.KeyID != testKey(t).ID() {
				t.Errorf("form %s, key %s", c.Form, c.KeyID)
			}
			got, err := d.install(c, attachment)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(files) {
				t.Errorf("%d files of %d", len(got), len(files))
			}
			for name, f := range files {
				if there := got[name]; there == nil || !bytes.Equal(there.Data, f.Data) {
					t.Errorf("%s is not what was published: %v", name, there)
				}
			}
			plain, err := d.decrypt(c.SessionKey, attachment[protocol.ZipPath].Data)
			if err != nil || !bytes.Equal(plain, makeZip(t, files)) {
				t.Errorf("the zip is another: %v", err)
			}
			if err := d.check(plain, c.Checksum, form); err != nil {
				t.Error(err)
			}
			other := testRSA().PublicKey
			other.N = new(big.Int).Sub(other.N, big.NewInt(2))
			if _, err := newDevice(&other).install(c, attachment); err == nil {
				t.Error("another key decrypts it")
			}
		})
	}
}

func TestAttacher_CompressesBeforeItEncryptsWhereThatPays(t *testing.T) {
	c, _ := encrypted(t, newPlace(t), someFiles())
	var names []string
	for _, f := range c.Files {
		names = append(names, f.FileName)
	}
	slices.Sort(names)
	want := []string{
		"data/noise.webp", "data/packed.br.br", "empty.txt.br", "größe/π.json", "index.html", "js/app.js.br", "with space.css",
	}
	if !slices.Equal(names, want) {
		t.Errorf("names %q", names)
	}
}

func TestAttacher_EncryptsTheSameToTheSameAndNothingElse(t *testing.T) {
	n := newPlace(t)
	first, before := encrypted(t, n, someFiles())
	r, err := n.publish(func(r *request) { r.Dir, r.capgo.Key = writeFiles(t, someFiles()), testKey(t) })
	if err != nil || !r.Unchanged || n.moved != nil {
		t.Errorf("the same again: %+v, %v", r, err)
	}
	next := someFiles()
	next["new.js"] = &fstest.MapFile{Data: []byte("new")}
	second, after := encrypted(t, n, next, func(r *request) { r.Version = "1.1.0" })
	if first.SessionKey == second.SessionKey {
		t.Error("two releases share their keys")
	}
	for _, f := range second.Files {
		if before[f.Path] != nil {
			t.Errorf("%s is encrypted as in the release before", f.FileName)
		}
	}
	if bytes.Contains(after[protocol.ZipPath].Data, []byte("index.html")) {
		t.Error("the zip can be read")
	}
}

func TestAttacher_DoesNotStopToEncryptUnasked(t *testing.T) {
	n := newPlace(t)
	encrypted(t, n, someFiles(), withZip)
	next := func(r *request) { r.Dir, r.Version = writeFiles(t, someFiles()), "2.0.0" }
	_, err := n.publish(next)
	if refused, ok := errors.AsType[*publish.AttachmentError](err); !ok || refused.Kind != "capgo" || refused.Hint == "" {
		t.Fatalf("a release without encryption after one with: %v", err)
	}
	// The same release again needs no key, and keeps what it has.
	r, err := n.publish(next, func(r *request) { r.Version = "1.0.0" })
	if err != nil || !r.Unchanged || len(r.Attachments) != 2 || r.Attachments[1].Kind != "capgo" {
		t.Errorf("the same again: %+v, %v", r, err)
	}
	if _, err := n.publish(next, func(r *request) { r.capgo.None = true }); err != nil {
		t.Fatal(err)
	}
	if m := n.inForce(); m.Release.Attachment("capgo") != nil || m.Release.Attachment("zip") == nil {
		t.Errorf("attachments %+v", m.Release.Attachments)
	}
	if _, err := n.publish(next, func(r *request) { r.capgo.None, r.capgo.Key = true, testKey(t) }); err == nil {
		t.Error("both encrypted and not")
	}
}

func TestAttacher_ManyFilesGoAsAZipOnly(t *testing.T) {
	files := fstest.MapFS{"a": {Data: []byte("a")}, protocol.ZipPath: {Data: []byte("zip")}}
	ix, err := bundle.Folder{FS: files}.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	many := *ix
	many.Files = slices.Repeat(ix.Files[:1], format.MaxFiles+1)
	src := &publish.Source{
		App: testApp, Release: publish.Content{Files: files, Index: &many}, From: publish.Content{Files: files, Index: ix},
	}
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := (Attacher{Key: testKey(t)}).Attach(t.Context(), src, dir); err != nil {
		t.Fatal(err)
	}
	raw, err := dir.ReadFile(format.Path)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := format.Parse(raw); err != nil || len(d.Files) != 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestSession_PadsWhateverTheLength(t *testing.T) {
	s, err := testKey(t).session("com.acme.shop", [32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(&testRSA().PublicKey)
	for _, n := range []int{1, 15, 16, 17, 64<<10 - 1, 64 << 10, 64<<10 + 1, 200_000} {
		var out bytes.Buffer
		size, err := s.encrypt(&out, inPieces{bytes.NewReader(noise(n))})
		if err != nil || size != int64(out.Len()) || out.Len() != n/16*16+16 {
			t.Errorf("%d bytes became %d, said to be %d: %v", n, out.Len(), size, err)
		}
		if plain, err := d.decrypt(s.text, out.Bytes()); err != nil || !bytes.Equal(plain, noise(n)) {
			t.Errorf("%d bytes do not come back: %v", n, err)
		}
	}
}

// A source that was cut is not padded as if it had ended.
func TestSession_SaysThatItsSourceWasCut(t *testing.T) {
	s, err := testKey(t).session("com.acme.shop", [32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	cut := io.MultiReader(bytes.NewReader(noise(1000)), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := s.encrypt(io.Discard, cut); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("encrypt = %v, want ErrUnexpectedEOF", err)
	}
}

// inPieces reads no more than a thousand bytes at a time.
type inPieces struct{ io.Reader }

func (r inPieces) Read(b []byte) (int, error) { return r.Reader.Read(b[:min(len(b), 1000)]) }
