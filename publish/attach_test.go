package publish

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// inForce makes what was published last the manifest in force, and returns it.
func (n *fakeNode) inForce() *channel.Manifest {
	n.t.Helper()
	m, err := channel.ParseManifest(n.moved)
	if err != nil {
		n.t.Fatal(err)
	}
	n.manifest, n.moved = n.moved, nil
	return m
}

// files returns the files of the attachment of m's release, from the chunks that were received.
func (n *fakeNode) files(m *channel.Manifest, kind string) (*bundle.Index, fstest.MapFS) {
	n.t.Helper()
	a := m.Release.Attachment(kind)
	if a == nil {
		n.t.Fatalf("the release has no attachment %s, but %+v", kind, m.Release.Attachments)
	}
	i := slices.IndexFunc(n.offered, func(ix *bundle.Index) bool { return ix.Bundle() == a.Bundle })
	if i < 0 || n.offered[i].Archive.Size != a.Size {
		n.t.Fatalf("attachment %+v was not offered", a)
	}
	ix, files := n.offered[i], fstest.MapFS{}
	for i := range ix.Files {
		f := &ix.Files[i]
		var data []byte
		for _, c := range f.ChunkList() {
			data = append(data, n.plain[c.Digest]...)
		}
		if digest.Sum(data) != f.Digest {
			n.t.Fatalf("%s of attachment %s was not received", f.Path, kind)
		}
		files[f.Path] = &fstest.MapFile{Data: data}
	}
	return ix, files
}

func withZip(_ *Config, r *Request) { r.Attachments = []Attacher{Zip{Choice: Wanted}} }

func withoutZip(_ *Config, r *Request) { r.Attachments = []Attacher{Zip{Choice: Unwanted}} }

func TestPublisher_AttachesAZip(t *testing.T) {
	n := newFakeNode(t)
	var stages []Stage
	r, err := n.publish(withZip, func(c *Config, _ *Request) {
		c.Progress = func(e Event) {
			if e.Total >= 0 && e.Done > e.Total {
				t.Errorf("%d of %d bytes are done", e.Done, e.Total)
			}
			stages = append(stages, e.Stage)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if stages = slices.Compact(stages); !slices.Equal(stages, []Stage{Reading, Attaching, Sending, Moving}) {
		t.Errorf("stages %v", stages)
	}
	if last := n.calls[len(n.calls)-1]; !strings.HasPrefix(last, "PUT /v1/apps/") || len(n.offered) != 2 {
		t.Errorf("the channel moved before everything was there: %v", n.calls)
	}
	ix, files := n.files(n.inForce(), protocol.AttachmentZip)
	if len(files) != 1 {
		t.Errorf("the attachment holds %v", files)
	}
	want := []Attached{{
		Kind: "zip", Bundle: ix.Bundle(), Bytes: ix.Archive.Size, Chunks: 1, ChunksSent: 1,
	}}
	if !slices.Equal(r.Attachments, want) {
		t.Errorf("result %+v, want %+v", r.Attachments, want)
	}
	raw := files[protocol.ZipPath].Data
	in, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range in.File {
		names = append(names, entry.Name)
	}
	if !slices.Equal(names, []string{"app.js", "index.html"}) {
		t.Errorf("entries %v", names)
	}
	if got, err := readEntry(in.File[1]); err != nil || string(got) != "<!doctype html>" {
		t.Errorf("index.html is %q, %v", got, err)
	}
}

func readEntry(entry *zip.File) ([]byte, error) {
	r, err := entry.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestPublisher_GoesOnWithAZipUntilTold(t *testing.T) {
	n := newFakeNode(t)
	publish := func(version string, change func(*Config, *Request)) *channel.Manifest {
		t.Helper()
		if _, err := n.publish(func(_ *Config, r *Request) { r.Version = version }, change); err != nil {
			t.Fatal(err)
		}
		return n.inForce()
	}
	plain := func(*Config, *Request) {}
	if m := publish("1.0.0", plain); m.Release.Attachments != nil {
		t.Errorf("unasked: %+v", m.Release.Attachments)
	}
	if m := publish("1.1.0", withZip); m.Release.Attachment("zip") == nil {
		t.Error("there is no zip when it was asked for")
	}
	if m := publish("1.2.0", plain); m.Release.Attachment("zip") == nil {
		t.Error("there is no zip after a release with one")
	}
	if m := publish("1.3.0", withoutZip); m.Release.Attachment("zip") != nil {
		t.Error("there is a zip when none was wanted")
	} else if len(m.History) != 3 || m.History[0].Attachment("zip") == nil {
		t.Errorf("the history has lost its attachments: %+v", m.History)
	}
	if m := publish("1.4.0", plain); m.Release.Attachment("zip") != nil {
		t.Error("there is a zip after a release without one")
	}
}

func TestPublisher_AttachesToWhatIsServedAlready(t *testing.T) {
	n := newFakeNode(t)
	if _, err := n.publish(); err != nil {
		t.Fatal(err)
	}
	before := n.inForce()
	r, err := n.publish(withZip)
	if err != nil {
		t.Fatal(err)
	}
	m := n.inForce()
	if r.Unchanged || m.Sequence != 2 || m.Release.Bundle != before.Release.Bundle || len(m.History) != 0 ||
		m.Release.Attachment("zip") == nil || !m.Release.Created.Equal(before.Release.Created) {
		t.Errorf("with a zip: %+v, %+v", r, m.Release)
	}
	// Again, when the node has lost what it had: it is sent, and the channel stays.
	n.received = nil
	r, err = n.publish()
	if err != nil || !r.Unchanged || n.moved != nil || len(r.Attachments) != 1 || r.Attachments[0].ChunksSent != 1 {
		t.Errorf("again: %+v, %v", r, err)
	}
	r, err = n.publish(withoutZip)
	if err != nil || r.Unchanged || n.inForce().Release.Attachments != nil {
		t.Errorf("without: %+v, %v", r, err)
	}
}

func TestPublisher_AnAttachmentDoesNotEndARollout(t *testing.T) {
	n := newFakeNode(t)
	if _, err := n.publish(); err != nil {
		t.Fatal(err)
	}
	n.inForce()
	some := func(_ *Config, r *Request) { r.Version, r.Rollout = "1.1.0", &channel.Rollout{Share: 500} }
	for range 2 {
		if _, err := n.publish(some); err != nil {
			t.Fatal(err)
		}
		if n.moved != nil {
			n.inForce()
		}
	}
	if _, err := n.publish(some, withZip); err != nil {
		t.Fatal(err)
	}
	m := n.inForce()
	if m.Rollout == nil || m.Rollout.Share != 500 || m.Rollout.From != "1.0.0" || m.Release.Attachment("zip") == nil {
		t.Errorf("rollout %+v with attachments %+v", m.Rollout, m.Release.Attachments)
	}
}

func TestAttachTo_ChangesNothingElse(t *testing.T) {
	n := newFakeNode(t)
	if _, err := n.publish(); err != nil {
		t.Fatal(err)
	}
	target := n.inForce()
	if _, err := n.publish(withZip); err != nil {
		t.Fatal(err)
	}
	source := n.inForce()
	next, err := attachTo(target, source.Release.Attachments, time.Now())
	if err != nil || !sameAttachments(&next.Release, &source.Release) || next.Sequence != target.Sequence+1 ||
		target.Release.Attachments != nil {
		t.Errorf("%+v, %v", next, err)
	}
}

func TestPublisher_TakesOverNoAttachmentThatNobodyVouchesFor(t *testing.T) {
	n := newFakeNode(t)
	if _, err := n.publish(withZip); err != nil {
		t.Fatal(err)
	}
	m, err := channel.ParseManifest(n.moved)
	if err != nil {
		t.Fatal(err)
	}
	m.Release.Attachments = append(m.Release.Attachments,
		channel.Attachment{Kind: "other", Bundle: digest.Sum([]byte("evil")), Size: 1})
	if n.manifest, err = channel.SignManifest(m, newKey(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := n.publish(func(c *Config, r *Request) { r.Restart, c.ExpectSequence = true, new(uint64(1)) }); err != nil {
		t.Fatal(err)
	}
	if m := n.inForce(); m.Release.Attachment("other") != nil || m.Release.Attachment("zip") == nil {
		t.Errorf("published anew with %+v", m.Release.Attachments)
	}
}

func TestPublisher_AConflictWithOtherAttachmentsIsOne(t *testing.T) {
	n := newFakeNode(t)
	if _, err := n.publish(); err != nil {
		t.Fatal(err)
	}
	n.inForce()
	n.move = 412
	if _, err := n.publish(withZip); !errors.Is(err, ErrConflict) {
		t.Errorf("the channel serves the release, but without the zip: %v", err)
	}
}

func TestPublisher_DryRunMakesAttachmentsAndSendsNone(t *testing.T) {
	n := newFakeNode(t)
	r, err := n.publish(withZip, func(_ *Config, r *Request) { r.DryRun = true })
	if err != nil || n.called("PUT") != 0 || len(r.Attachments) != 1 || r.Attachments[0].ChunksSent != 1 {
		t.Errorf("dry run: %+v, %v, %v", r, err, n.calls)
	}
}

func TestPublisher_LeavesNoTemporaryFolder(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // where Windows looks
	n := newFakeNode(t)
	if _, err := n.publish(withZip); err != nil {
		t.Fatal(err)
	}
	n.upload = []int{422}
	if _, err := n.publish(withZip); err == nil {
		t.Error("a refused upload went through")
	}
	if left, err := filepath.Glob(filepath.Join(dir, "brink-publish-*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestResult_JSONNamesAttachments(t *testing.T) {
	raw, err := json.Marshal(Result{Attachments: []Attached{{Kind: "zip", Bytes: 7, Chunks: 2, ChunksSent: 1}}})
	if err != nil || !bytes.Contains(raw, []byte(`"bytes":7,"chunks":2,"chunks_sent":1}]`)) {
		t.Errorf("%s, %v", raw, err)
	}
	if raw, err = json.Marshal(Result{}); err != nil || bytes.Contains(raw, []byte("attachments")) {
		t.Errorf("%s, %v", raw, err)
	}
}
