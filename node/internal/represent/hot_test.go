package represent

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"

	"brink/digest"
	"brink/node/internal/bundles"
	"brink/node/internal/serve"
)

func TestHot_BoundsDescriptors(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: only Linux sends without copying")
	}
	h, err := NewHot(HotConfig{Size: 8 << 20, Direct: true})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	h.files.Store(h.maxFiles - 2)
	for i := range byte(5) {
		data := noise(i, directFrom)
		one, err := h.Load(digest.Sum(data), directFrom, func() (*serve.Whole, error) {
			return h.read(serve.NopCloser{Reader: bytes.NewReader(data)}, directFrom)
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := one.Bytes(); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
		if (one.Held != nil) != (i < 2) {
			t.Errorf("representation %d: held by a descriptor: %t", i, one.Held != nil)
		}
		one.Release()
	}
	h.cache.Wait()
	h.cache.Clear() // evicts all of them
	if got := h.files.Load(); got != h.maxFiles-2 {
		t.Errorf("%d descriptors are counted after both files were evicted", got-(h.maxFiles-2))
	}
}

// noFile is content that cannot be written to a file, and can be read.
type noFile struct{ bundles.Reader }

func (n noFile) WriteTo(w io.Writer) (int64, error) {
	written, err := io.CopyN(w, n.Reader, 100)
	return written, errors.Join(err, errors.New("no room for a file"))
}

func TestHot_HoldsBytesWhenNoFileCanBeWritten(t *testing.T) {
	h, err := NewHot(HotConfig{Size: 8 << 20, Direct: true})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	data := noise(1, directFrom)
	one, err := h.read(noFile{serve.NopCloser{Reader: bytes.NewReader(data)}}, directFrom)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := one.Bytes(); err != nil || one.Held != nil || !bytes.Equal(got, data) || h.files.Load() != 0 {
		t.Errorf("%d bytes, %v, by a descriptor: %t", len(got), err, one.Held != nil)
	}
	if _, err := h.read(serve.NopCloser{Reader: bytes.NewReader(data[1:])}, directFrom); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("content that ends too early: %v", err)
	}
}

// Two names with the same first bytes, which are the key of the cache, can be constructed on purpose.
func TestHot_DistinguishesNamesWithTheSameKey(t *testing.T) {
	h, err := NewHot(HotConfig{Size: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	one := digest.Sum([]byte("one"))
	other := one
	other[digest.Size-1] ^= 1
	if _, err := h.Load(one, 3, func() (*serve.Whole, error) { return &serve.Whole{Data: []byte("one")}, nil }); err != nil {
		t.Fatal(err)
	}
	h.cache.Wait()
	if h.Find(one) == nil {
		t.Error("the loaded representation is not found")
	}
	if found := h.Find(other); found != nil {
		t.Errorf("another name finds %q", found.Data)
	}
	refused := errors.New("refused")
	if _, err := h.Load(other, 3, func() (*serve.Whole, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("a failed load returns %v", err)
	}
}
