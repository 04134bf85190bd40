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

func TestHot_TakesNoMoreDescriptorsThanItMay(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: only Linux sends without copying")
	}
	h, err := NewHot(HotConfig{Size: 8 << 20, Direct: true})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	h.files.Store(h.most - 2)
	for i := range byte(5) {
		data := noise(i, directFrom)
		one, err := h.Load(digest.Sum(data), directFrom, func() (*serve.Whole, error) {
			return h.read(serve.NopCloser{Reader: bytes.NewReader(data)}, directFrom)
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := one.Bytes(); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("what is held reads as %d bytes, %v", len(got), err)
		}
		if (one.Held != nil) != (i < 2) {
			t.Errorf("representation %d: held by a descriptor: %t", i, one.Held != nil)
		}
		one.GiveBack()
	}
	h.cache.Wait()
	h.cache.Clear() // gives all of them up
	if got := h.files.Load(); got != h.most-2 {
		t.Errorf("%d descriptors are counted after the set has given up all of its two", got-(h.most-2))
	}
}

// noFile is content that breaks off on its way to a file, and can be read.
type noFile struct{ bundles.Reader }

func (n noFile) WriteTo(w io.Writer) (int64, error) {
	written, err := io.CopyN(w, n.Reader, 100)
	return written, errors.Join(err, errors.New("no room for a file"))
}

func TestHot_SendsAsBytesWhatNoFileTakes(t *testing.T) {
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

// Two names may be made to share the first bytes, by which the set looks them up: what is found must be the one that
// was asked for.
func TestHot_TellsNamesWithTheSameKeyApart(t *testing.T) {
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
		t.Error("what was loaded is not found")
	}
	if found := h.Find(other); found != nil {
		t.Errorf("asked for another name, it gives %q", found.Data)
	}
	refused := errors.New("refused")
	if _, err := h.Load(other, 3, func() (*serve.Whole, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("a failed load returns %v", err)
	}
}
