package bucket

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"brink/digest"
	"brink/origin"
	"brink/origin/bucket/buckettest"
	"brink/store/storetest"
)

// startGateway starts a real S3 server with one bucket, and returns its URL.
func startGateway(t *testing.T) string {
	t.Helper()
	if os.Getenv("BRINK_E2E") != "1" || testing.Short() {
		t.Skip("builds a real S3 server: runs with BRINK_E2E=1, as `make e2e` does")
	}
	program := buckettest.Gateway(t)
	data := t.TempDir()
	if err := os.Mkdir(filepath.Join(data, buckettest.Name), 0o755); err != nil {
		t.Fatal(err)
	}
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	cmd := exec.CommandContext(t.Context(), program, "--port", address, "--access", "key", "--secret", "secret",
		"--region", "us-east-1", "posix", data)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	out, writer := io.Pipe()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan bool, 1)
	read := make(chan struct{})
	var once sync.Once
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), "http://"+address) {
				once.Do(func() { ready <- true })
			}
		}
		close(ready)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // it ends by the signal
		writer.Close()
		<-read
		if t.Failed() {
			t.Logf("the server says:\n%s", &log)
		}
	})
	select {
	case ok := <-ready:
		if !ok {
			t.Fatal("the server ended")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the server does not say that it is ready")
	}
	return "http://" + address
}

func TestGateway_IsAnOrigin(t *testing.T) {
	url := startGateway(t)
	newFakeS3(t) // for its environment
	var logs bytes.Buffer
	b, err := Open(t.Context(), "s3://"+buckettest.Name+"/some/prefix?region=us-east-1&endpoint="+url,
		Config{Logger: slog.New(slog.NewTextHandler(&logs, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	one := storetest.Random(t, 1, 40<<20) // in several parts
	if sent := mustPut(t, b, upload(one)); sent.Chunks != len(one.Frames) {
		t.Errorf("the first time: %+v", sent)
	}
	if sent := mustPut(t, b, upload(one)); !sent.Before {
		t.Errorf("the second time: %+v", sent)
	}
	local := newStore(t)
	f, err := origin.New(origin.Config{
		Store: origin.Into(local), Sources: func(digest.Digest) []origin.Source { return []origin.Source{b} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Fill(t.Context(), one.ID()); err != nil {
		t.Error(err)
	}
	if err := f.Fill(t.Context(), idOf("nothing")); !errors.Is(err, origin.ErrNotFound) {
		t.Errorf("of a bundle that is not there: %v", err)
	}
	if err := b.PutTrust(t.Context(), trust(t, 1, newKey(t))); err != nil {
		t.Fatal(err)
	}
	oneOfManyWins(t, func() *Bucket {
		return open(t, "s3://"+buckettest.Name+"/some/prefix?endpoint="+url)
	})
	for sequence := range uint64(3) {
		if err := b.PutManifest(t.Context(), manifest(t, "beta", sequence+1, "x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.PutManifest(t.Context(), manifest(t, "beta", 2, "y")); !errors.Is(err, ErrConflict) {
		t.Errorf("a sequence that is taken: %v", err)
	}
	_, tag, err := b.Manifest(t.Context(), testApp, "beta", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Manifest(t.Context(), testApp, "beta", tag); !errors.Is(err, ErrNotModified) {
		t.Errorf("unchanged: %v", err)
	}
	c, err := b.Catalog(t.Context())
	if err != nil || len(c.Orgs) != 1 || len(c.Channels) != 2 {
		t.Errorf("the catalog is %+v, %v", c, err)
	}
	if logs.Len() > 0 {
		t.Errorf("the log says %s", &logs)
	}
}

func TestGateway_SaysWhatIsWrong(t *testing.T) {
	url := startGateway(t)
	newFakeS3(t) // for its environment
	one := storetest.Random(t, 1, 1000)
	put := func(address string) error {
		_, err := open(t, address).PutBundle(context.WithoutCancel(t.Context()), upload(one))
		return err
	}
	if err := put("s3://nothing-there/x?endpoint=" + url); !errors.Is(err, ErrNoBucket) {
		t.Errorf("no bucket: %v", err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	if err := put("s3://" + buckettest.Name + "/x?endpoint=" + url); !errors.Is(err, ErrCredentials) {
		t.Errorf("a wrong secret: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "wrong")
	if err := put("s3://" + buckettest.Name + "/x?endpoint=" + url); !errors.Is(err, ErrCredentials) {
		t.Errorf("a wrong key: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	if err := put("s3://" + buckettest.Name + "/x?endpoint=" + url); !errors.Is(err, ErrCredentials) {
		t.Errorf("no key: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	late := lateTransport{http.DefaultTransport}
	b, err := Open(t.Context(), "s3://"+buckettest.Name+"/x?endpoint="+url, Config{Transport: late})
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if _, err := b.PutBundle(t.Context(), upload(one)); !errors.Is(err, ErrClock) && !errors.Is(err, ErrCredentials) {
		t.Errorf("a request that is an hour old: %v", err)
	}
}

// lateTransport dates requests an hour back, which spoils their signatures as well.
type lateTransport struct{ http.RoundTripper }

func (l lateTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Amz-Date", time.Now().Add(-time.Hour).UTC().Format("20060102T150405Z"))
	return l.RoundTripper.RoundTrip(r)
}
