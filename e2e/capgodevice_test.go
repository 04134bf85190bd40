package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"brink/bench/updater"
)

// This page makes devices that run the real Java of Capgo's plugin; package updater says what they are and are not.

// Versions of the plugin that devices in the field run: the last of each major, and one that takes no list of files.
const (
	plugin8   = "8.51.23"
	plugin7   = "7.51.21"
	plugin6   = "6.51.16"
	plugin5   = "5.50.2"
	pluginOld = "7.18.14"
)

// patience bounds how long a device is waited for. It is no measure of anything: a device that is stuck ends the test.
const patience = 60 * time.Second

// plugins compiles each version once per run.
var plugins struct {
	mu   sync.Mutex
	made map[string]func() (string, error)
}

// plugin returns the class path of a version of the plugin.
func plugin(t *testing.T, version string) string {
	t.Helper()
	onlyLong(t)
	for _, tool := range updater.Tools() {
		need(t, tool)
	}
	for _, jar := range updater.Jars() {
		if _, err := os.Stat(jar); err != nil {
			if os.Getenv("BRINK_CI") == "1" {
				t.Fatalf("%s is missing", jar)
			}
			t.Skipf("%s is missing here", jar)
		}
	}
	plugins.mu.Lock()
	if plugins.made == nil {
		plugins.made = map[string]func() (string, error){}
	}
	if plugins.made[version] == nil {
		plugins.made[version] = sync.OnceValues(func() (string, error) {
			return updater.Compile(context.Background(), filepath.Join(scratch, "capgo", version), version)
		})
	}
	made := plugins.made[version]
	plugins.mu.Unlock()
	classPath, err := made()
	if err != nil {
		t.Fatal(err)
	}
	return classPath
}

// phone is a running app with the plugin.
type phone struct {
	t     *testing.T
	dir   string // what stands for the device
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan said

	mu  sync.Mutex
	log strings.Builder
}

// said is one line of the driver: an event, or the answer to a call.
type said struct {
	Event, Call        string
	Data               json.RawMessage
	Resolved, Rejected json.RawMessage
	Failed             string
	Path               string
}

// boot starts the app on a device, which is a folder, with settings that Capacitor would read from its configuration.
func boot(t *testing.T, version, device string, g *gate, settings map[string]any) *phone {
	t.Helper()
	classes := plugin(t, version)
	config := map[string]any{
		"updateUrl": g.url + "/capgo/updates", "statsUrl": g.url + "/capgo/stats", "channelUrl": g.url + "/capgo/channel_self",
		"autoUpdate": true, "appReadyTimeout": 4000, "responseTimeout": 20,
	}
	for name, value := range settings {
		config[name] = value
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(device, 0o755); err != nil {
		t.Fatal(err)
	}
	p := &phone{t: t, dir: device, lines: make(chan said, 1000)}
	p.cmd = exec.Command("java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Ddevice="+device, "-Dapp="+app,
		"-Dnative=1.0.0", "-Dconfig="+string(raw), "-cp", classes, updater.Main)
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		defer close(p.lines)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			p.note(lines.Text())
			var line said
			if json.Unmarshal(lines.Bytes(), &line) == nil {
				p.lines <- line
			}
		}
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		for range p.lines {      // until it is closed
		}
		<-reading
		_ = p.cmd.Wait() // it was killed
		if t.Failed() {
			p.mu.Lock()
			t.Logf("the device with plugin %s said:\n%.20000s", version, p.log.String())
			p.mu.Unlock()
		}
	})
	p.call("notifyAppReady", "{}") // as apps do whenever they start
	return p
}

// note adds a line to the log of the device.
func (p *phone) note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.WriteString(line + "\n")
}

// Write implements [io.Writer]: the log of the device.
func (p *phone) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// say sends a command.
func (p *phone) say(command string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		p.t.Fatalf("the device has ended: %v", err)
	}
}

// wait returns the next line that fits. Those before it are gone.
func (p *phone) wait(what string, fits func(said) bool) said {
	p.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("the device has ended before %s", what)
			}
			if fits(line) {
				return line
			}
		case <-late.C:
			p.t.Fatalf("the device waits for %s in vain", what)
		}
	}
}

// event waits for an event of one of the names.
func (p *phone) event(names ...string) said {
	p.t.Helper()
	return p.wait("event "+strings.Join(names, " or "), func(s said) bool {
		for _, name := range names {
			if s.Event == name {
				return true
			}
		}
		return false
	})
}

// call calls a method of the plugin and returns what it resolves to; it must not be rejected.
func (p *phone) call(method, data string) string {
	p.t.Helper()
	answer := p.ask(method, data)
	if answer.Resolved == nil {
		p.t.Fatalf("%s was rejected: %s%s", method, answer.Rejected, answer.Failed)
	}
	return string(answer.Resolved)
}

func (p *phone) ask(method, data string) said {
	p.t.Helper()
	p.say("call " + method + " " + data)
	return p.wait("the answer to "+method, func(s said) bool { return s.Call == method })
}

// shut ends the app as the system does: without a word.
func (p *phone) shut() {
	p.t.Helper()
	p.say("quit")
	for range p.lines {
	}
}

// shown returns the files that the app shows after a change of the path.
func (p *phone) shown(line said) tree {
	p.t.Helper()
	return readTree(p.t, line.Path)
}
