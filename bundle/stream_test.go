package bundle

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"brink/digest"
)

func stream(t testing.TB, frames ...Frame) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewStreamWriter(&b)
	for _, f := range frames {
		if err := w.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readStream(raw []byte) (frames []Frame, err error) {
	r := NewStreamReader(bytes.NewReader(raw))
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		f.Data = bytes.Clone(f.Data)
		frames = append(frames, f)
	}
}

func TestStream_RoundTrip(t *testing.T) {
	codec := NewCodec()
	plains := [][]byte{noise(1, 5000), bytes.Repeat([]byte("brink "), 10_000), {}, noise(2, MaxChunk)}
	frames := []Frame{{Digest: digest.Sum([]byte("not here")), Encoding: Absent}}
	for _, p := range plains {
		frames = append(frames, codec.Frame(p))
	}
	got, err := readStream(stream(t, frames...))
	if err != nil || len(got) != len(frames) {
		t.Fatalf("%d frames, %v; want %d", len(got), err, len(frames))
	}
	if got[0].Encoding != Absent || got[0].Digest != frames[0].Digest {
		t.Errorf("absent frame came back as %+v", got[0])
	}
	for i, want := range plains {
		plain, err := codec.Plain(got[i+1])
		if err != nil || !bytes.Equal(plain, want) {
			t.Errorf("chunk %d of %d bytes came back as %d bytes, %v", i, len(want), len(plain), err)
		}
	}
	if got[2].Encoding != Zstd || got[1].Encoding != Raw {
		t.Errorf("text was sent as %d, noise as %d", got[2].Encoding, got[1].Encoding)
	}
}

func TestStreamReader_DetectsEveryTruncation(t *testing.T) {
	codec := NewCodec()
	whole := stream(t, codec.Frame(noise(1, 300)), codec.Frame(noise(2, 200)))
	for n := range whole {
		if _, err := readStream(whole[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("stream cut at %d of %d: %v, want ErrUnexpectedEOF", n, len(whole), err)
		}
	}
	if _, err := readStream(append(whole, 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("bytes after the end: %v, want ErrMalformed", err)
	}
}

func TestCodec_RefusesAFrameThatLies(t *testing.T) {
	codec := NewCodec()
	text := bytes.Repeat([]byte("brink "), 10_000)
	good := codec.Frame(text)
	bomb := codec.Frame(make([]byte, MaxChunk))
	for name, f := range map[string]Frame{
		"other digest":  {Digest: digest.Sum(nil), Encoding: good.Encoding, Size: good.Size, Data: good.Data},
		"smaller size":  {Digest: good.Digest, Encoding: good.Encoding, Size: good.Size - 1, Data: good.Data},
		"larger size":   {Digest: good.Digest, Encoding: good.Encoding, Size: good.Size + 1, Data: good.Data},
		"bomb":          {Digest: bomb.Digest, Encoding: Zstd, Size: 10, Data: bomb.Data},
		"beyond bounds": {Digest: good.Digest, Encoding: Raw, Size: MaxChunk + 1, Data: make([]byte, MaxChunk+1)},
		"encoding":      {Digest: good.Digest, Encoding: 7, Size: good.Size, Data: good.Data},
		"absent":        {Digest: good.Digest, Encoding: Absent},
		"garbage":       {Digest: good.Digest, Encoding: Zstd, Size: good.Size, Data: []byte("garbage")},
	} {
		if _, err := codec.Plain(f); !errors.Is(err, ErrMalformed) && !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%s: %v, want ErrMalformed or ErrMismatch", name, err)
		}
	}
}

func TestCodec_RefusesEveryFlippedBit(t *testing.T) {
	codec := NewCodec()
	for _, f := range []Frame{codec.Frame(noise(1, 200)), codec.Frame(bytes.Repeat([]byte("brink "), 100))} {
		for bit := range len(f.Data) * 8 {
			f.Data[bit/8] ^= 1 << (bit % 8)
			plain, err := codec.Plain(f)
			if err == nil && digest.Sum(plain) != f.Digest {
				t.Fatalf("bit %d flipped: accepted", bit)
			}
			if err == nil && f.Encoding == Raw {
				t.Fatalf("bit %d of a raw frame flipped: accepted", bit)
			}
			f.Data[bit/8] ^= 1 << (bit % 8)
		}
	}
}
