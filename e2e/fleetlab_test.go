package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lab is a network of regions for the nodes of a fleet. Each node is in a network namespace of its own; those of a
// region share a bridge, and a trunk joins the bridge of each region to all others. The test reaches every region by a
// link of its own, so that it sees both sides when a trunk is cut.
//
// Nodes have two addresses: one in the network of the fleet, which ends where a trunk is cut, and one for the test.
type lab struct {
	program *program
	tag     string // part of the names of all that is made in the kernel
	network int    // third byte of the first region's network; the fleet's has it as well
	regions []string
	members []*member
}

// member is a node of a lab, which may be started again and again.
type member struct {
	*node // the process that runs, or ran last

	lab          *lab
	name, region string
	inside       string // address in the network of the fleet
	outside      string // address for the test
	flags        []string
}

// newLab makes the network. It is taken down when the test ends.
func newLab(t *testing.T, regions ...string) *lab {
	t.Helper()
	need(t, "ip")
	if os.Geteuid() != 0 {
		if os.Getenv("BRINK_CI") == "1" {
			t.Fatal("network namespaces need root")
		}
		t.Skip("network namespaces need root")
	}
	l := &lab{program: begin(t), regions: regions}
	l.program.must(t, "fleet", "key", "new", "fleet.key")
	l.claim(t)
	t.Cleanup(func() { l.ip(t, "netns", "delete", l.tag) })
	l.ip(t, "-n", l.tag, "link", "add", "backbone", "type", "bridge")
	l.ip(t, "-n", l.tag, "link", "set", "backbone", "up")
	for i, region := range regions {
		outer := fmt.Sprintf("%s.%d", l.tag, i)
		l.ip(t, "-n", l.tag, "link", "add", region, "type", "bridge")
		l.ip(t, "-n", l.tag, "link", "add", region+"-t", "type", "veth", "peer", "name", region+"-u")
		l.ip(t, "-n", l.tag, "link", "set", region+"-u", "master", "backbone")
		l.ip(t, "link", "add", outer, "type", "veth", "peer", "name", region+"-o", "netns", l.tag)
		t.Cleanup(func() { l.ip(t, "link", "delete", outer) }) // a namespace takes its links along only later
		for _, port := range []string{"-t", "-o"} {
			l.ip(t, "-n", l.tag, "link", "set", region+port, "master", region)
		}
		for _, link := range []string{"", "-t", "-u", "-o"} {
			l.ip(t, "-n", l.tag, "link", "set", region+link, "up")
		}
		l.ip(t, "address", "add", fmt.Sprintf("198.19.%d.1/24", l.network+i), "dev", outer)
		l.ip(t, "link", "set", outer, "up")
		// The test has an address in each region, and must not answer in one for those of the others.
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+outer+"/arp_ignore", []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// claim takes a name and networks that no other lab on this machine has.
func (l *lab) claim(t *testing.T) {
	t.Helper()
	for i := range 256 / maxRegions {
		l.tag, l.network = fmt.Sprintf("brk%d", i), i*maxRegions
		out, err := exec.Command("ip", "netns", "add", l.tag).CombinedOutput()
		switch {
		case err == nil:
			return
		case strings.Contains(string(out), "File exists"):
		case os.Getenv("BRINK_CI") == "1":
			t.Fatalf("network namespaces cannot be made: %v\n%s", err, out)
		default:
			t.Skipf("network namespaces cannot be made here: %s", out)
		}
	}
	t.Fatal("former runs have left too many network namespaces: see ip netns")
}

// maxRegions bounds the regions of a lab: each has a network, whose number is the third byte of its addresses.
const maxRegions = 4

// ip calls the tool for everything about networks.
func (l *lab) ip(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("ip", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", cmd, err, out)
	}
}

// cut ends all traffic between a region and the others, without telling anybody; heal lets it through again.
func (l *lab) cut(t *testing.T, region string) {
	t.Helper()
	l.ip(t, "-n", l.tag, "link", "set", region+"-u", "down")
}

func (l *lab) heal(t *testing.T, region string) {
	t.Helper()
	l.ip(t, "-n", l.tag, "link", "set", region+"-u", "up")
}

// address returns the address of the test itself in a region.
func (l *lab) address(region int) string { return fmt.Sprintf("198.19.%d.1", l.network+region) }

// add puts one more node into a region, and does not start it. It joins all that were there before.
func (l *lab) add(t *testing.T, region int, flags ...string) {
	t.Helper()
	i := len(l.members)
	m := &member{
		lab: l, name: fmt.Sprintf("%s-%d", l.regions[region], i), region: l.regions[region],
		inside:  fmt.Sprintf("198.18.%d.%d", l.network, 10+i),
		outside: fmt.Sprintf("198.19.%d.%d", l.network+region, 10+i),
		flags:   flags,
	}
	inner := l.tag + "-" + m.name
	l.ip(t, "netns", "add", inner)
	t.Cleanup(func() { l.ip(t, "netns", "delete", inner) })
	l.ip(t, "-n", l.tag, "link", "add", m.name, "type", "veth", "peer", "name", "eth0", "netns", inner)
	l.ip(t, "-n", l.tag, "link", "set", m.name, "master", m.region, "up")
	l.ip(t, "-n", inner, "address", "add", m.inside+"/24", "dev", "eth0")
	l.ip(t, "-n", inner, "address", "add", m.outside+"/24", "dev", "eth0")
	l.ip(t, "-n", inner, "link", "set", "lo", "up")
	l.ip(t, "-n", inner, "link", "set", "eth0", "up")
	key, err := os.ReadFile(l.program.file("fleet.key"))
	if err == nil {
		err = os.WriteFile(l.program.file(m.name+".key"), key, 0o600)
	}
	if err != nil || t.Failed() {
		t.Fatalf("no network for %s: %v", m.name, err)
	}
	l.members = append(l.members, m)
}

// fleetOf makes a lab with a running node for each region that is named, and waits until all know each other. A region
// may be named more than once.
func fleetOf(t *testing.T, flags []string, where ...string) *lab {
	t.Helper()
	place := map[string]int{}
	var regions []string
	for _, region := range where {
		if _, seen := place[region]; !seen {
			place[region] = len(regions)
			regions = append(regions, region)
		}
	}
	l := newLab(t, regions...)
	for _, region := range where {
		l.add(t, place[region], flags...)
	}
	for _, m := range l.members {
		m.start(t)
	}
	for _, m := range l.members {
		m.waitFor(t, len(l.members))
	}
	return l
}

// serveCommand returns the call that runs the node.
func (m *member) serveCommand() *exec.Cmd {
	l := m.lab
	args := []string{
		"netns", "exec", l.tag + "-" + m.name, l.program.path, "serve", "--data", m.name, "--trust", l.program.trust,
		"--listen", ":8080", "--admin", ":9090", "--fleet", "e2e", "--fleet-key", m.name + ".key", "--name", m.name,
		"--region", m.region, "--gossip", m.inside + ":7946", "--node-url", "http://" + m.inside + ":8080",
	}
	for _, other := range l.members {
		if other != m {
			args = append(args, "--join", other.inside)
		}
	}
	cmd := exec.Command("ip", append(args, m.flags...)...)
	cmd.Dir = l.program.dir
	cmd.Env = environment(l.program.dir)
	return cmd
}

// start runs the node and returns when it is ready.
func (m *member) start(t *testing.T) {
	t.Helper()
	n, ready := start(t, m.serveCommand())
	if !ready {
		t.Fatalf("%s ended with %d:\n%s", m.name, n.code, n.log())
	}
	n.url, n.admin = "http://"+m.outside+":8080", "http://"+m.outside+":9090"
	m.node = n
}

// data returns the folder of the node's store.
func (m *member) data() string { return m.lab.program.file(m.name) }

// status returns the fleet as the node sees it, as an operator asks for it.
func (m *member) status(t *testing.T) fleetStatus {
	t.Helper()
	return decode[fleetStatus](t, m.lab.program.must(t, "fleet", "status", "--json", "--node", m.admin).stdout)
}

// fleetStatus is what fleet status prints with --json.
type fleetStatus struct {
	Fleet    string
	Channels int
	Nodes    []struct {
		Node, Region, State, Error string
		Reasons                    []string
		Bundles                    int
		Behind                     uint64
	}
}

// state returns what a node is said to do, "" if it is not known.
func (s fleetStatus) state(name string) string {
	for _, n := range s.Nodes {
		if n.Node == name {
			return n.State
		}
	}
	return ""
}

// waitFor waits until the node sees a fleet of so many nodes, all of which answer it and are ready.
func (m *member) waitFor(t *testing.T, count int) {
	t.Helper()
	until(t, fmt.Sprintf("%s sees a fleet of %d", m.name, count), func() bool {
		status := m.status(t)
		for _, n := range status.Nodes {
			if n.Error != "" || n.State != "ready" {
				return false
			}
		}
		return len(status.Nodes) == count
	})
}

// until waits for a condition that nobody tells of.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(2 * time.Minute)
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("in two minutes it never was so that %s", what)
		}
	}
}

// manifest returns the signed manifest that the node has in force for a channel, "" if it has none or does not answer.
func (m *member) manifest(channel string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.url+"/v1/apps/"+app+"/channels/"+channel, nil)
	if err != nil {
		return ""
	}
	resp, err := quiet.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(raw)
}

// quiet keeps no connections, so that no request meets one that a killed node has left.
var quiet = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// sequenceOf returns the sequence of a signed manifest, 0 for none.
func sequenceOf(manifest string) uint64 {
	var envelope struct{ Payload []byte }
	var payload struct{ Sequence uint64 }
	if json.Unmarshal([]byte(manifest), &envelope) != nil || json.Unmarshal(envelope.Payload, &payload) != nil {
		return 0
	}
	return payload.Sequence
}

// agree waits until these nodes have the same manifest of a channel, of this sequence at least, and returns it.
func agree(t *testing.T, channel string, sequence uint64, members ...*member) string {
	t.Helper()
	var same string
	until(t, fmt.Sprintf("%d nodes agree on sequence %d", len(members), sequence), func() bool {
		same = members[0].manifest(channel)
		for _, m := range members {
			if m.manifest(channel) != same {
				return false
			}
		}
		return same != "" && sequenceOf(same) >= sequence
	})
	return same
}

// holds reports whether a folder of a store that nobody has open is sound, and serves a release to a device by itself:
// with no other node and no origin.
func (m *member) holds(t *testing.T, want state) {
	t.Helper()
	p := m.lab.program
	if o := p.run(t, "store", "verify", "--data", m.name); o.code != 0 {
		t.Errorf("store of %s: verify ended with %d\n%s%s", m.name, o.code, o.stdout, o.stderr)
	}
	alone := p.serve(t, m.name, quick...)
	device := m.name + "-alone"
	if got := p.fetch(t, alone.url, device); got.Version != want.version {
		t.Errorf("%s alone serves %q, want %q", m.name, got.Version, want.version)
	}
	wantTree(t, p.file(device), want.files)
	alone.stop(t)
}

// release makes the files of a version.
func (l *lab) release(t *testing.T, version string, files tree) state {
	t.Helper()
	files = files.with("version", version)
	files.write(t, l.program.file(version))
	return state{version: version, files: files}
}

// publish brings a release to a node.
func (m *member) publish(t *testing.T, s state, flags ...string) replicated {
	t.Helper()
	args := append(m.lab.program.publishArgs(m.url, s.version, s.version, production), flags...)
	return decode[replicated](t, m.lab.program.must(t, args...).stdout)
}

// replicated is what publish prints with --json, with where the release is durable.
type replicated struct {
	published

	Replicas []struct{ Node, Region string }
}

// tryFetch brings a device to what a node serves, and returns how that ended.
func (m *member) tryFetch(t *testing.T, device string) outcome {
	t.Helper()
	return m.lab.program.run(t, m.lab.program.fetchArgs(m.url, device)...)
}

// remove deletes the folder of a store.
func (m *member) remove(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(m.data()); err != nil {
		t.Fatal(err)
	}
}

// since returns how long something took, for the log.
func since(start time.Time) time.Duration { return time.Since(start).Round(10 * time.Millisecond) }

// isInstalled reports whether a device has anything.
func isInstalled(device string) bool {
	_, err := os.Lstat(filepath.Join(device, "current"))
	return err == nil
}

// wantOneOfThese checks that a device runs one of the releases, whole, or nothing.
func wantOneOfThese(t *testing.T, device string, allowed ...state) string {
	t.Helper()
	if !isInstalled(device) {
		return ""
	}
	files := readTree(t, filepath.Join(device, "current"))
	for _, s := range allowed {
		if files.equal(s.files) {
			return s.version
		}
	}
	var names []string
	for _, s := range allowed {
		names = append(names, s.version)
	}
	t.Fatalf("%s runs something else than %s", device, strings.Join(names, ", "))
	return ""
}
