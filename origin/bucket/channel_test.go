package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"brink/channel"
	"brink/origin/bucket/buckettest"
	"brink/store"
	"brink/store/storetest"
)

const testApp = "com.acme.shop"

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{Dir: t.TempDir(), Quota: 256 << 20, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// manifest returns a manifest of the channel; comment makes two of one sequence differ.
func manifest(t testing.TB, name string, sequence uint64, comment string) *channel.Manifest {
	t.Helper()
	b := storetest.New(t, map[string][]byte{"index.html": []byte("hello")})
	m := channel.NewManifest("acme", testApp, name)
	m.Sequence, m.Issued, m.Release = sequence, time.Unix(1795435200, 0).UTC(), storetest.Release(b, "1.0.0")
	m.Release.Comment = comment
	raw, err := channel.SignManifest(m, storetest.Key(t))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := channel.ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func current(t testing.TB, b *Bucket, name string) string {
	t.Helper()
	raw, _, err := b.Manifest(t.Context(), testApp, name, "")
	if err != nil {
		t.Fatal(err)
	}
	m, err := channel.ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", m.Sequence, m.Release.Comment)
}

func TestBucket_ChannelsGoForward(t *testing.T) {
	s := newFakeS3(t)
	b := byS3(t, s)
	ctx := t.Context()
	if _, _, err := b.Manifest(ctx, testApp, "beta", ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("a channel that nobody published to: %v", err)
	}
	steps := []struct {
		sequence uint64
		comment  string
		err      error
		current  string
	}{
		{1, "a", nil, "1 a"},
		{1, "a", nil, "1 a"}, // again
		{1, "b", ErrConflict, "1 a"},
		{2, "c", nil, "2 c"},
		{9, "d", nil, "9 d"},
		{2, "c", ErrSuperseded, "9 d"},
		{5, "e", ErrSuperseded, "9 d"},
		{5, "f", ErrConflict, "9 d"},
		{10, "g", nil, "10 g"},
	}
	for _, step := range steps {
		err := b.PutManifest(ctx, manifest(t, "beta", step.sequence, step.comment))
		if !errors.Is(err, step.err) || (err == nil) != (step.err == nil) {
			t.Errorf("%d %s: %v, want %v", step.sequence, step.comment, err, step.err)
		}
		if got := current(t, b, "beta"); got != step.current {
			t.Errorf("after %d %s the channel is at %s, want %s", step.sequence, step.comment, got, step.current)
		}
	}
	if raw := s.Object("channels/com.acme.shop/beta/00000000000000000009.json"); !bytes.Equal(raw, manifest(t, "beta", 9, "d").Raw()) {
		t.Errorf("of sequence 9 is kept %q", raw)
	}
}

// Of all who put the same sequence at once, one wins, is told so, and is in force.
func TestBucket_OneOfManyWins(t *testing.T) {
	s := newFakeS3(t)
	oneOfManyWins(t, func() *Bucket { return byS3(t, s) })
}

func oneOfManyWins(t *testing.T, open func() *Bucket) {
	t.Helper()
	for sequence := range uint64(3) {
		var all sync.WaitGroup
		var mu sync.Mutex
		var won []string
		for i := range 8 {
			b, m := open(), manifest(t, "race", sequence+1, fmt.Sprint("writer ", i))
			all.Go(func() {
				err := b.PutManifest(t.Context(), m)
				if err == nil {
					mu.Lock()
					won = append(won, fmt.Sprintf("%d %s", m.Sequence, m.Release.Comment))
					mu.Unlock()
				} else if !errors.Is(err, ErrConflict) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := current(t, open(), "race"); len(won) != 1 || won[0] != got {
			t.Errorf("%v were told that they won, and the channel is at %s", won, got)
		}
	}
}

// Different sequences at once: the channel only ever goes up, and ends at the highest.
func TestBucket_ReadersNeverGoBack(t *testing.T) {
	s := newFakeS3(t)
	const writers = 10
	done := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		b, last := byS3(t, s), uint64(0)
		for {
			raw, _, err := b.Manifest(t.Context(), testApp, "beta", "")
			if err == nil {
				m, err := channel.ParseManifest(raw)
				if err != nil || m.Sequence < last {
					t.Errorf("after %d a reader sees %v, %v", last, m, err)
					return
				}
				last = m.Sequence
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	var all sync.WaitGroup
	for _, i := range rand.Perm(writers) {
		b, m := byS3(t, s), manifest(t, "beta", uint64(i+1), "x")
		all.Go(func() {
			if err := b.PutManifest(t.Context(), m); err != nil && !errors.Is(err, ErrSuperseded) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	close(done)
	reading.Wait()
	if got := current(t, byS3(t, s), "beta"); got != "10 x" {
		t.Errorf("at the end the channel is at %s", got)
	}
}

// A publisher that crashes between the two writes leaves a sequence that nobody sees. The next publisher finishes it.
func TestBucket_FinishesWhatAnotherBegan(t *testing.T) {
	s := newFakeS3(t)
	b := byS3(t, s)
	if err := b.PutManifest(t.Context(), manifest(t, "beta", 1, "a")); err != nil {
		t.Fatal(err)
	}
	died := manifest(t, "beta", 2, "died")
	s.Set("channels/com.acme.shop/beta/00000000000000000002.json", died.Raw())
	if err := b.PutManifest(t.Context(), manifest(t, "beta", 2, "next")); !errors.Is(err, ErrConflict) {
		t.Errorf("PutManifest = %v, want ErrConflict", err)
	}
	if got := current(t, b, "beta"); got != "2 died" {
		t.Errorf("the channel is at %s, so everybody would try sequence 2 for ever", got)
	}
	if err := b.PutManifest(t.Context(), manifest(t, "beta", 3, "next")); err != nil {
		t.Error(err)
	}
	// Rubbish in the place of the manifest in force is replaced, and in the place of a sequence told of.
	s.Set("channels/com.acme.shop/beta/current.json", []byte("rubbish"))
	if err := b.PutManifest(t.Context(), manifest(t, "beta", 4, "more")); err != nil || current(t, b, "beta") != "4 more" {
		t.Errorf("over rubbish: %v", err)
	}
	s.Set("channels/com.acme.shop/beta/00000000000000000005.json", []byte("rubbish"))
	if err := b.PutManifest(t.Context(), manifest(t, "beta", 5, "more")); !errors.Is(err, ErrMalformed) {
		t.Errorf("at a sequence that is rubbish: %v", err)
	}
	s.Set("channels/com.acme.shop/beta/00000000000000000006.json", manifest(t, "other", 6, "x").Raw())
	if err := b.PutManifest(t.Context(), manifest(t, "beta", 6, "more")); !errors.Is(err, ErrMalformed) {
		t.Errorf("at a sequence with the manifest of another channel: %v", err)
	}
}

func TestBucket_PollingIsCheap(t *testing.T) {
	s := newFakeS3(t)
	b := byS3(t, s)
	if err := b.PutManifest(t.Context(), manifest(t, "beta", 1, "a")); err != nil {
		t.Fatal(err)
	}
	sequence := uint64(1)
	for name, place := range map[string]*Bucket{"S3": b, "HTTP": byHTTP(t, s)} {
		_, tag, err := place.Manifest(t.Context(), testApp, "beta", "")
		if err != nil || tag == "" {
			t.Fatalf("by %s: tag %q, %v", name, tag, err)
		}
		if _, _, err := place.Manifest(t.Context(), testApp, "beta", tag); !errors.Is(err, ErrNotModified) {
			t.Errorf("by %s, unchanged: %v, want ErrNotModified", name, err)
		}
		sequence++
		if err := b.PutManifest(t.Context(), manifest(t, "beta", sequence, name)); err != nil {
			t.Fatal(err)
		}
		if raw, again, err := place.Manifest(t.Context(), testApp, "beta", tag); err != nil || again == tag || raw == nil {
			t.Errorf("by %s, changed: %v", name, err)
		}
	}
	if _, _, err := b.Manifest(t.Context(), "../x", "beta", ""); err == nil {
		t.Error("a name that is none was made a key of")
	}
}

func TestBucket_AStoreWithoutConditions(t *testing.T) {
	for name, kind := range map[string]buckettest.Conditions{"refuses them": buckettest.Refuses, "ignores them": buckettest.Ignores} {
		t.Run(name, func(t *testing.T) {
			s := newFakeS3(t)
			s.Conditions = kind
			var logs bytes.Buffer
			b, err := Open(t.Context(), s.Address(),
				Config{Logger: slog.New(slog.NewTextHandler(&logs, nil))})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			for i := range uint64(3) {
				if err := b.PutManifest(t.Context(), manifest(t, "beta", i+1, "a")); err != nil {
					t.Fatal(err)
				}
			}
			if got := current(t, b, "beta"); got != "3 a" {
				t.Errorf("the channel is at %s", got)
			}
			if warned := strings.Contains(logs.String(), "If-None-Match"); warned != (kind == buckettest.Ignores) {
				t.Errorf("the log says %q", &logs)
			}
			err = b.PutManifest(t.Context(), manifest(t, "beta", 3, "b"))
			if !errors.Is(err, ErrConflict) {
				t.Errorf("one after the other, the second gets %v, want ErrConflict", err)
			}
			if got := current(t, b, "beta"); got != "3 a" {
				t.Errorf("then the channel is at %s", got)
			}
		})
	}
}

func trust(t *testing.T, version uint64, roots ...channel.PrivateKey) []byte {
	t.Helper()
	c := channel.TrustConfig{
		Org: "acme", Version: version, Issued: time.Now().Add(-time.Hour), Keys: []channel.PublicKey{storetest.Key(t).Public()},
		Roles: []channel.Role{{
			Name: "publisher", Keys: []string{storetest.Key(t).Public().ID()},
			Apps: []channel.Pattern{"com.acme.*"}, Channels: []channel.Pattern{"*"},
		}},
	}
	for _, root := range roots[:1] {
		c.Roots = append(c.Roots, root.Public())
	}
	raw, err := channel.NewTrust(c, roots...)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestBucket_KeepsEveryTrustVersion: all roots are replaced twice, and a reader of the first document accepts the last.
func TestBucket_KeepsEveryTrustVersion(t *testing.T) {
	b := byS3(t, newFakeS3(t))
	one, two, three := newKey(t), newKey(t), newKey(t)
	documents := [][]byte{trust(t, 1, one), trust(t, 2, two, one), trust(t, 3, three, two)}
	if err := b.PutTrust(t.Context(), documents[0]); err != nil {
		t.Fatal(err)
	}
	if err := b.PutTrust(t.Context(), documents[2]); channel.CodeOf(err) != channel.CodeNotEnoughSignatures {
		t.Errorf("over a gap: %v", err)
	}
	if err := b.PutTrustVersion(t.Context(), documents[1]); err != nil {
		t.Fatal(err)
	}
	if err := b.PutTrust(t.Context(), documents[2]); err != nil {
		t.Fatal(err)
	}
	first, err := channel.LoadTrust(documents[0])
	if err != nil {
		t.Fatal(err)
	}
	newest, err := b.Trust(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	last, err := first.Advance(newest, func(v uint64) ([]byte, error) { return b.TrustVersion(t.Context(), "acme", v) })
	if err != nil || last.Version() != 3 {
		t.Errorf("from the first to the last: %v", err)
	}
	if _, err := b.TrustVersion(t.Context(), "acme", 4); !errors.Is(err, ErrNotFound) {
		t.Errorf("a version that is none: %v", err)
	}
}

func TestBucket_TrustNeedsTheRootsBefore(t *testing.T) {
	s := newFakeS3(t)
	b := byS3(t, s)
	root, stranger := newKey(t), newKey(t)
	if _, err := b.Trust(t.Context(), "acme"); !errors.Is(err, ErrNotFound) {
		t.Errorf("before: %v", err)
	}
	first, second := trust(t, 1, root), trust(t, 2, root)
	for _, raw := range [][]byte{first, first, second, second} {
		if err := b.PutTrust(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	for name, raw := range map[string][]byte{"an older one": first, "a stranger's": trust(t, 3, stranger), "rubbish": []byte("x")} {
		if err := b.PutTrust(t.Context(), raw); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if raw, err := b.Trust(t.Context(), "acme"); err != nil || !bytes.Equal(raw, second) {
		t.Errorf("at the end: %v", err)
	}
	if err := byHTTP(t, s).PutTrust(t.Context(), second); !errors.Is(err, ErrReadOnly) {
		t.Errorf("by HTTP: %v", err)
	}
}

func newKey(t *testing.T) channel.PrivateKey {
	t.Helper()
	key, err := channel.NewKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestBucket_Catalog(t *testing.T) {
	s := newFakeS3(t)
	b := byS3(t, s)
	if c, err := b.Catalog(t.Context()); err != nil || len(c.Orgs)+len(c.Channels) != 0 {
		t.Errorf("of an empty bucket: %+v, %v", c, err)
	}
	if c, err := byHTTP(t, s).Catalog(t.Context()); err != nil || len(c.Orgs)+len(c.Channels) != 0 {
		t.Errorf("of an empty folder: %+v, %v", c, err)
	}
	if err := b.PutTrust(t.Context(), trust(t, 1, newKey(t))); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	want := Catalog{Schema: 1, Orgs: []string{"acme"}}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		want.Channels = append(want.Channels, CatalogChannel{App: testApp, Channel: name})
		mine, m := byS3(t, s), manifest(t, name, 1, "x")
		all.Go(func() {
			if err := mine.PutManifest(context.Background(), m); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s.Set("channels/not an app/x/current.json", []byte("x"))
	s.Set("trust/.json", []byte("x"))
	check := func(when string, places ...*Bucket) {
		t.Helper()
		for _, place := range places {
			got, err := place.Catalog(t.Context())
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s, in %s: %v (-want +got):\n%s", when, place.Name(), err, diff)
			}
		}
	}
	check("after five at once", b, byHTTP(t, s))
	// Credentials that may not list read the file, as HTTP does.
	s.Fail = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		if r.URL.Query().Has("list-type") {
			buckettest.Says(w, http.StatusForbidden, "AccessDenied")
			return true
		}
		return false
	}
	check("without the right to list", b)
	s.Fail = nil
	s.Set("catalog.json", []byte("rubbish"))
	if _, err := byHTTP(t, s).Catalog(t.Context()); !errors.Is(err, ErrMalformed) {
		t.Errorf("rubbish: %v", err)
	}
	if err := b.PutManifest(t.Context(), manifest(t, "a", 2, "x")); err != nil {
		t.Fatal(err)
	}
	check("after rubbish was replaced", byHTTP(t, s))
}
