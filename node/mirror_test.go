package node

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"brink/origin/bucket/buckettest"
	"brink/protocol"
)

// origins starts a bucket that nodes can have behind them.
func origins(t *testing.T) *buckettest.S3 {
	t.Helper()
	for name, value := range buckettest.Environment() {
		t.Setenv(name, value)
	}
	return buckettest.New(t.Cleanup)
}

// behind gives a node an origin that it looks at often.
func behind(address string) func(*Config) {
	return func(c *Config) {
		c.Origin, c.OriginPoll = address, 20*time.Millisecond
		c.Prepare, c.PatchReleases = -1, -1
	}
}

// like starts another node that trusts the same org.
func (f *fixture) like(change ...func(*Config)) *fixture {
	f.t.Helper()
	other := start(f.t, append([]func(*Config){func(c *Config) { c.Trust = f.config.Trust }}, change...)...)
	other.root, other.key = f.root, f.key
	return other
}

func TestMirror_ANodeWithAnEmptyDiskServesFromTheOrigin(t *testing.T) {
	s3 := origins(t)
	writer := start(t, behind(s3.Address()), func(c *Config) { c.OriginAck = true })
	writer.publish("1.0.0")
	result := writer.publish("1.1.0")
	writer.stop()
	for name, address := range map[string]string{"S3": s3.Address(), "HTTP": s3.Web()} {
		reader := writer.like(behind(address))
		until(t, "the node has what is at the origin", func() bool {
			m := reader.state.Manifest(testApp, "production")
			return m != nil && m.Sequence == result.Sequence
		})
		resp, body := reader.get(protocol.ArchivePath(result.Bundle))
		if resp.StatusCode != http.StatusOK || int64(len(body)) != result.Bytes {
			t.Errorf("%s: the archive is %s with %d bytes", name, resp.Status, len(body))
		}
		m := reader.state.Manifest(testApp, "production")
		former := m.History[0].Bundle // not filled, and reachable
		if resp, _ := reader.get(protocol.ArchivePath(former)); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: the archive of the release before is %s", name, resp.Status)
		}
	}
}

func TestMirror_AcknowledgesNothingThatTheOriginLacks(t *testing.T) {
	s3 := origins(t)
	var full atomic.Bool
	s3.Fail = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		if r.Method != http.MethodPut || !full.Load() {
			return false
		}
		w.WriteHeader(http.StatusInsufficientStorage)
		return true
	}
	f := start(t, behind(s3.Address()), func(c *Config) { c.OriginAck = true })
	f.publish("1.0.0")
	full.Store(true)
	_, err := f.publisher().Publish(t.Context(), requestOf(t, "1.1.0"))
	if protocol.CodeOf(err) != protocol.CodeUnavailable || !strings.Contains(err.Error(), "origin") {
		t.Fatalf("with a full origin: %v", err)
	}
	if m := f.state.Manifest(testApp, "production"); m.Release.Version != "1.0.0" {
		t.Errorf("the channel has moved to %s", m.Release.Version)
	}
	full.Store(false)
	f.publish("1.1.0")
	if m := f.state.Manifest(testApp, "production"); m.Release.Version != "1.1.0" {
		t.Errorf("after that the channel is at %s", m.Release.Version)
	}
}

func TestMirror_WritesLaterWhatTheOriginDidNotTake(t *testing.T) {
	s3 := origins(t)
	var down atomic.Bool
	s3.Fail = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		if down.Load() {
			w.WriteHeader(http.StatusForbidden)
		}
		return down.Load()
	}
	down.Store(true)
	f := start(t, behind(s3.Address()))
	result := f.publish("1.0.0") // taken all the same
	until(t, "the node says what is amiss", func() bool {
		return strings.Contains(strings.Join(f.health.check().Reasons, " "), "origin")
	})
	down.Store(false)
	reader := f.like(behind(s3.Web()))
	until(t, "the origin has it", func() bool {
		m := reader.state.Manifest(testApp, "production")
		return m != nil && m.Sequence == result.Sequence
	})
	until(t, "all is well again", func() bool { return len(f.health.check().Reasons) == 0 })
}

func TestMirror_TwoNodesOnOneOriginAreOneChannel(t *testing.T) {
	s3 := origins(t)
	one := start(t, behind(s3.Address()), func(c *Config) { c.OriginAck = true })
	other := one.like(behind(s3.Address()), func(c *Config) { c.OriginAck = true })
	one.publish("1.0.0")
	// The other node may not have looked yet: its publisher is told of a conflict then, and tries again.
	until(t, "the other node publishes on top of it", func() bool {
		result, err := other.publisher().Publish(t.Context(), requestOf(t, "1.1.0"))
		return err == nil && result.Sequence == 2
	})
	until(t, "both agree", func() bool { return one.state.Manifest(testApp, "production").Sequence == 2 })
}

func TestMirror_OneFetchHoweverManyWait(t *testing.T) {
	s3 := origins(t)
	writer := start(t, behind(s3.Address()), func(c *Config) { c.OriginAck = true })
	first := writer.publish("1.0.0")
	second := writer.publish("1.1.0")
	writer.stop()
	index := first.Bundle.String() + "/index.json"
	reader := writer.like(behind(s3.Web()))
	until(t, "the node has the channel", func() bool {
		m := reader.state.Manifest(testApp, "production")
		return m != nil && m.Sequence == second.Sequence
	})
	s3.Count(http.MethodGet, index) // counting starts again
	var devices sync.WaitGroup
	for range 100 {
		devices.Go(func() {
			req, err := http.NewRequestWithContext(context.Background(), http.MethodGet,
				reader.URL()+protocol.ArchivePath(first.Bundle), nil)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := reader.http.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("a device gets %s", resp.Status)
			}
		})
	}
	devices.Wait()
	if got := s3.Count(http.MethodGet, index); got != 1 {
		t.Errorf("the origin was asked for the bundle %d times", got)
	}
}

func TestMirror_BelievesNothingThatIsNotSigned(t *testing.T) {
	s3 := origins(t)
	writer := start(t, behind(s3.Address()), func(c *Config) { c.OriginAck = true })
	writer.publish("1.0.0")
	stranger := writer.like(behind(s3.Web()), func(c *Config) { c.Trust = [][]byte{trustOf(t, newKey(t), newKey(t))} })
	until(t, "the node has looked", func() bool {
		return strings.Contains(strings.Join(stranger.health.check().Reasons, " "), "origin")
	})
	if m := stranger.state.Manifest(testApp, "production"); m != nil {
		t.Errorf("it serves %s, which nobody it trusts has signed", m.Release.Version)
	}
}
