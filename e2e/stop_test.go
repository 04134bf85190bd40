package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"brink/digest"
)

// TestServe_StopsWithoutFailingARequest stops a node under load. Clients that are refused a connection would go
// elsewhere; no other failure is excused.
func TestServe_StopsWithoutFailingARequest(t *testing.T) {
	t.Parallel()
	p, rnd := begin(t), chance(t)
	n := p.serve(t, "data", "--drain-wait", "500ms")
	files := tree{"index.html": "hello", "img/large": noise(rnd, 8<<20)}
	made := p.publish(t, n.url, files.write(t, p.file("www")), "1.0.0")
	archive := n.url + "/v1/bundles/" + made.Bundle + "/archive"

	// Slow devices, in the middle of an archive when the node is told to stop.
	slow := make([]*slowReader, 4)
	for i := range slow {
		slow[i] = openSlow(t, n, made.Bundle)
	}

	var answered atomic.Int64
	var load sync.WaitGroup
	failures := make(chan error, 100)
	// work repeats a request until the node is gone.
	work := func(request func() error) {
		load.Go(func() {
			for {
				err := request()
				if err == nil {
					answered.Add(1)
					continue
				}
				if !isGone(n) {
					failures <- err
				}
				return
			}
		})
	}
	kept := &http.Client{}
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, client := range []*http.Client{kept, fresh, kept, fresh} {
		work(func() error { return fullArchive(client, archive, made.Bundle) })
		work(func() error { return check(client, n.url, made.Bundle) })
	}
	for worker := range 2 {
		i := 0
		work(func() error {
			i++
			o := finish(t, p.command(p.fetchArgs(n.url, fmt.Sprintf("device%d-%d", worker, i))...))
			if o.code != 0 {
				return fmt.Errorf("fetch ended with %d: %s", o.code, o.stderr)
			}
			return nil
		})
	}

	draining := n.watch("node is draining")
	for answered.Load() < 20 {
		if err := check(fresh, n.url, made.Bundle); err != nil {
			t.Fatal(err)
		}
		answered.Add(1)
	}
	n.terminate(t)
	<-draining
	if body, status := get(t, n.url+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "draining") {
		t.Errorf("a node that drains says it is ready: %d %s", status, body)
	}
	if body, status := get(t, n.url+"/livez"); status != http.StatusOK {
		t.Errorf("a node that drains says it does not live: %d %s", status, body)
	}
	load.Wait()
	close(failures)
	for err := range failures {
		t.Errorf("a request failed: %v", err)
	}
	kept.CloseIdleConnections()

	// Nobody new is let in any more; those who were in get all of it.
	for _, reader := range slow {
		reader.finish(t, made.Bundle)
	}
	<-n.ended
	if n.code != 0 || strings.Contains(n.log(), "requests are cut") {
		t.Errorf("the node ended with %d:\n%s", n.code, n.log())
	}
	t.Logf("%d requests were answered", answered.Load())
	n = p.serve(t, "data")
	p.fetch(t, n.url, "device")
	wantTree(t, p.file("device"), files)
}

// isGone reports whether nothing listens where a node was.
func isGone(n *node) bool {
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// fullArchive gets an archive, checked.
func fullArchive(client *http.Client, url, bundle string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	h := digest.NewHasher()
	if _, err := io.Copy(h, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || h.Digest().String() != bundle {
		return fmt.Errorf("%s: status %d, digest %s", url, resp.StatusCode, h.Digest())
	}
	return nil
}

// check asks what the channel has.
func check(client *http.Client, url, bundle string) error {
	resp, err := client.Post(url+"/v1/apps/"+app+"/check", "application/json", strings.NewReader(`{"channel":"production"}`))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !strings.Contains(string(body), bundle)) {
		err = fmt.Errorf("check: status %d: %s", resp.StatusCode, body)
	}
	return err
}

// slowReader is a device on a slow link, which has read the first bytes of an archive. Most of the archive is still on
// the node: the buffers between the two hold less.
type slowReader struct {
	body io.ReadCloser
	head []byte
}

func openSlow(t *testing.T, n *node, bundle string) *slowReader {
	t.Helper()
	transport := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(128 << 10)
		}
		return conn, err
	}}
	t.Cleanup(transport.CloseIdleConnections)
	resp, err := (&http.Client{Transport: transport}).Get(n.url + "/v1/bundles/" + bundle + "/archive")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	r := &slowReader{body: resp.Body, head: make([]byte, 1000)}
	if _, err := io.ReadFull(r.body, r.head); err != nil {
		t.Fatal(err)
	}
	return r
}

// finish reads the rest, which must be right.
func (r *slowReader) finish(t *testing.T, bundle string) {
	t.Helper()
	h := digest.NewHasher()
	_, _ = h.Write(r.head) // it never fails
	if _, err := io.Copy(h, r.body); err != nil || h.Digest().String() != bundle {
		t.Errorf("an archive that was on its way when the node was told to stop: %v, digest %s", err, h.Digest())
	}
}
