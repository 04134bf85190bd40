package represent

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"

	"brink/bundle"
	"brink/digest"
	"brink/node/internal/semantics"
)

func TestCheck_RefusesWrongRepresentations(t *testing.T) {
	old := bytes.Repeat(noise(1, 1000), 50)
	plain := append(bytes.Clone(old), "and some more"...)
	encode := func(coding semantics.Coding, data []byte) []byte {
		t.Helper()
		if coding == semantics.DCZ {
			patch, err := bundle.EncodePatch(old, data, digest.SumSHA256(old))
			if err != nil {
				t.Fatal(err)
			}
			return patch
		}
		var out bytes.Buffer
		if err := encodeTo(&out, coding, bytes.NewReader(data), int64(len(data))); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	base := Dictionary{Subject: plainOf(old), Name: digest.SumSHA256(old)}
	for _, coding := range append([]semantics.Coding{semantics.DCZ}, encodings...) {
		d := Derivation{Subject: plainOf(plain), Coding: coding}
		if coding == semantics.DCZ {
			d.Base = base
		}
		right := encode(coding, plain)
		if err := check(d, old, bytes.NewReader(right)); err != nil {
			t.Errorf("%s: the right one is refused: %v", coding, err)
		}
		other := bytes.Clone(plain)
		other[0] ^= 1
		for what, wrong := range map[string][]byte{
			"other bytes of the same length": encode(coding, other),
			"a longer one":                   encode(coding, append(bytes.Clone(plain), '!')),
			"a shorter one":                  encode(coding, plain[1:]),
			"a truncated one":                right[:len(right)-1],
			"one with trailing data":         append(bytes.Clone(right), "more"...),
			"nothing":                        nil,
			"the plain bytes":                plain,
		} {
			if err := check(d, old, bytes.NewReader(wrong)); err == nil {
				t.Errorf("%s: %s is accepted", coding, what)
			}
		}
	}
	var bomb bytes.Buffer
	zeros := gzip.NewWriter(&bomb)
	if _, err := io.CopyN(zeros, endless{}, 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := zeros.Close(); err != nil {
		t.Fatal(err)
	}
	d := Derivation{Subject: plainOf(plain), Coding: semantics.Gzip}
	left := bytes.NewReader(bomb.Bytes())
	if err := check(d, nil, left); err == nil || left.Len() < bomb.Len()/2 {
		t.Errorf("a decompression bomb is accepted, or read to its end: %v, %d bytes left of %d", err, left.Len(), bomb.Len())
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestBuilder_PutCheckedStoresNothingWrongOrTruncated(t *testing.T) {
	f := start(t)
	plain := bytes.Repeat(noise(1, 100_000), 2)
	for _, coding := range encodings {
		d := Derivation{Subject: plainOf(plain), Coding: coding}
		var out bytes.Buffer
		if err := encodeTo(&out, coding, bytes.NewReader(plain), d.Size); err != nil {
			t.Fatal(err)
		}
		right := out.Bytes()
		half := right[:len(right)/2]
		err := f.putChecked(t.Context(), d, nil, io.MultiReader(bytes.NewReader(half), broken{}))
		if err == nil || errors.Is(err, errWrong) {
			t.Errorf("%s: a broken connection returns %v", coding, err)
		}
		if err := f.putChecked(t.Context(), d, nil, bytes.NewReader(half)); !errors.Is(err, errWrong) {
			t.Errorf("%s: half an answer returns %v", coding, err)
		}
		if _, err := f.Store.Derived(d.Key()); err == nil {
			t.Errorf("%s: a truncated representation is stored", coding)
		}
		if err := f.putChecked(t.Context(), d, nil, bytes.NewReader(right)); err != nil {
			t.Errorf("%s: the right one is not stored: %v", coding, err)
		}
		if object, err := f.Store.Derived(d.Key()); err != nil || object.Digest() != digest.Sum(right) {
			t.Errorf("%s: something else was stored: %v", coding, err)
		}
	}
}

// broken reads as a body of net/http whose connection was cut before Content-Length was reached.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
