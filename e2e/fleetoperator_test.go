package e2e_test

import (
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// balancer sends each request to the next of the nodes that say that they are ready, as the smallest of load balancers
// does: it asks all of them again and again, and tries no request twice.
type balancer struct {
	all   []string // URLs of nodes
	ready atomic.Pointer[[]string]
	next  atomic.Uint64
	http  *http.Client
}

// askEvery is how often it asks; nodes say that they are not ready for drainWait before they stop to accept.
const (
	askEvery  = 50 * time.Millisecond
	drainWait = "1500ms"
)

// look asks all nodes once.
func (b *balancer) look() {
	answers := make([]bool, len(b.all))
	var asking sync.WaitGroup
	for i, url := range b.all {
		asking.Go(func() {
			resp, err := b.http.Get(url + "/readyz")
			if err == nil {
				resp.Body.Close()
				answers[i] = resp.StatusCode == http.StatusOK
			}
		})
	}
	asking.Wait()
	var ready []string
	for i, url := range b.all {
		if answers[i] {
			ready = append(ready, url)
		}
	}
	b.ready.Store(&ready)
}

// run asks until done is closed.
func (b *balancer) run(done <-chan struct{}) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		b.look()
		select {
		case <-tick.C:
		case <-done:
			return
		}
	}
}

// pick returns the node for the next request.
func (b *balancer) pick() (string, error) {
	ready := *b.ready.Load()
	if len(ready) == 0 {
		return "", errors.New("no node is ready")
	}
	return ready[b.next.Add(1)%uint64(len(ready))], nil
}

// TestFleet_RestartsNodeByNode restarts all nodes, one after the other, under load.
func TestFleet_RestartsNodeByNode(t *testing.T) {
	onlyLong(t)
	l := fleetOf(t, append([]string{"--drain-wait", drainWait}, quick...), "eu", "us", "asia")
	rnd := chance(t)
	release := l.release(t, "1.0.0", webApp(rnd, 1<<19))
	made := l.members[0].publish(t, release)
	agree(t, production, made.Sequence, l.members...)

	client := &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	b := &balancer{http: client}
	for _, m := range l.members {
		b.all = append(b.all, m.url)
	}
	b.look()
	done := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() { b.run(done) })
	var answered atomic.Int64
	failures := make(chan error, 100)
	for worker := range 4 {
		load.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				url, err := b.pick()
				if err == nil && worker%2 == 0 {
					err = check(client, url, made.Bundle)
				} else if err == nil {
					err = fullArchive(client, url+"/v1/bundles/"+made.Bundle+"/archive", made.Bundle)
				}
				if err != nil {
					select {
					case failures <- err:
					default: // a hundred say enough
					}
				}
				answered.Add(1)
			}
		})
	}
	for _, m := range l.members {
		before := answered.Load()
		until(t, "requests are answered", func() bool { return answered.Load() > before+100 })
		began := time.Now()
		m.terminate(t)
		<-m.ended
		if m.code != 0 || strings.Contains(m.log(), "requests are cut") {
			t.Errorf("%s ended with %d:\n%s", m.name, m.code, m.log())
		}
		stopped := since(began)
		m.start(t)
		until(t, m.name+" is in the balancer again", func() bool { return slices.Contains(*b.ready.Load(), m.url) })
		t.Logf("%s stopped in %v and was back in all after %v", m.name, stopped, since(began))
	}
	for _, m := range l.members {
		m.waitFor(t, len(l.members))
	}
	close(done)
	load.Wait()
	close(failures)
	for err := range failures {
		t.Errorf("a request failed: %v", err)
	}
	t.Logf("%d requests were answered", answered.Load())
}

// TestFleet_IsLookedAfter does what operators do.
func TestFleet_IsLookedAfter(t *testing.T) {
	t.Parallel()
	onlyLong(t)
	l := fleetOf(t, quick, "eu", "us", "asia")
	p, rnd := l.program, chance(t)
	release := l.release(t, "1.0.0", webApp(rnd, 1<<16))
	one, other, third := l.members[0], l.members[1], l.members[2]
	agree(t, production, one.publish(t, release).Sequence, l.members...)

	// Any node can be asked to take any other out of service.
	p.must(t, "fleet", "drain", other.name, "--node", one.admin)
	if body, status := get(t, other.url+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "draining") {
		t.Errorf("%s is drained, and /readyz says %d %s", other.name, status, body)
	}
	until(t, "all know who drains", func() bool { return third.status(t).state(other.name) == "draining" })
	if got := p.fetch(t, other.url, "device"); got.Version != "1.0.0" {
		t.Errorf("a node that drains serves %q", got.Version)
	}
	if o := p.run(t, "fleet", "drain", "nobody", "--node", one.admin, "--json"); o.code != 5 {
		t.Errorf("to drain a node that is not there ended with %d\n%s", o.code, o.stderr)
	}
	p.must(t, "fleet", "drain", other.name, "--node", third.admin, "--undo")
	if body, status := get(t, other.url+"/readyz"); status != http.StatusOK {
		t.Errorf("%s is in service again, and /readyz says %d %s", other.name, status, body)
	}
	one.waitFor(t, 3)

	// A new key while it runs: in all key files, and good for whoever is started with it.
	before, err := os.ReadFile(p.file(one.name + ".key"))
	if err != nil {
		t.Fatal(err)
	}
	p.must(t, "fleet", "key", "rotate", "--node", other.admin)
	var keys []string
	for _, m := range l.members {
		key, err := os.ReadFile(p.file(m.name + ".key"))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, string(key))
	}
	if keys[0] != keys[1] || keys[1] != keys[2] || strings.Contains(keys[0], strings.TrimSpace(string(before))) {
		t.Error("the key files are not those of a new key")
	}
	third.stop(t)
	third.start(t)
	for _, m := range l.members {
		m.waitFor(t, 3)
	}
	next := l.release(t, "1.1.0", release.files)
	agree(t, production, third.publish(t, next).Sequence, l.members...)

	// A rotation that a node does not hear of stops, and harms nobody.
	third.kill()
	if o := p.run(t, "fleet", "key", "rotate", "--node", one.admin); o.code == 0 {
		t.Errorf("a rotation without %s ended well\n%s", third.name, o.stdout)
	}
	third.start(t)
	for _, m := range l.members {
		m.waitFor(t, 3)
	}
	p.must(t, "fleet", "key", "rotate", "--node", one.admin)
	last := l.release(t, "1.2.0", release.files)
	agree(t, production, other.publish(t, last).Sequence, l.members...)

	// A node with the key of the past is no member, and nothing is told to it.
	third.stop(t)
	if err := os.WriteFile(p.file(third.name+".key"), before, 0o600); err != nil {
		t.Fatal(err)
	}
	third.remove(t)
	third.start(t)
	until(t, "the stranger has asked all others in vain", func() bool {
		return strings.Contains(third.log(), "no other node answers")
	})
	if third.manifest(production) != "" || len(one.status(t).Nodes) != 2 {
		t.Errorf("a node with a former key is let in: %+v", one.status(t))
	}
}
