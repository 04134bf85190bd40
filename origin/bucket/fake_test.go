package bucket

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"brink/bundle"
	"brink/digest"
	"brink/origin/bucket/buckettest"
	"brink/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newFakeS3 starts a store, with the environment to use it.
func newFakeS3(t *testing.T) *buckettest.S3 {
	t.Helper()
	for name, value := range buckettest.Environment() {
		t.Setenv(name, value)
	}
	return buckettest.New(t.Cleanup)
}

// byS3 opens a bucket, and byHTTP the same to be read only.
func byS3(t *testing.T, s *buckettest.S3) *Bucket {
	t.Helper()
	return open(t, s.Address())
}

func byHTTP(t *testing.T, s *buckettest.S3) *Bucket {
	t.Helper()
	return open(t, s.Web())
}

func open(t testing.TB, address string) *Bucket {
	t.Helper()
	b, err := Open(t.Context(), address, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// upload returns what puts a test's bundle in.
func upload(b *storetest.Bundle, near ...digest.Digest) Upload {
	return Upload{
		Index: b.Index, Intent: []byte(`"intent"`), Near: near,
		Frame: func(_ context.Context, c bundle.Chunk) (bundle.Frame, error) { return b.Frames[c.Digest], nil },
	}
}

func mustPut(t testing.TB, b *Bucket, up Upload) Sent {
	t.Helper()
	sent, err := b.PutBundle(t.Context(), up)
	if err != nil {
		t.Fatal(err)
	}
	return sent
}

// fetch gets all chunks of a bundle, checked, and returns how many came.
func fetch(t testing.TB, b *Bucket, want *storetest.Bundle) (int, error) {
	t.Helper()
	raw, intent, err := b.Bundle(t.Context(), want.ID(), int64(len(want.Index.Encode())))
	if err != nil {
		return 0, err
	}
	ix := want.Index
	if string(raw) != string(ix.Encode()) || string(intent) != `"intent"` {
		t.Errorf("index or intent are not what was put: %q", intent)
	}
	codec, came := bundle.NewCodec(), map[digest.Digest]bool{}
	var all []bundle.Chunk
	for c := range ix.Chunks() {
		all = append(all, c)
	}
	err = b.Chunks(t.Context(), ix, all, func(f bundle.Frame) error {
		if came[f.Digest] {
			t.Errorf("chunk %s came twice", f.Digest.Short())
		}
		came[f.Digest] = true
		_, err := codec.Plain(f)
		return err
	})
	return len(came), err
}
