package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// This page makes devices that run the real Java of Capgo's plugin, as it is published on npm. It is compiled against
// small stand-ins for Android (testdata/capgo), which are all that is in this repository: the plugin has another
// licence, and is fetched when the tests run. What these devices are not is Android: its rules for work in the
// background and for plain HTTP, and its own OkHttp 4, which is version 3 here.

// Versions of the plugin that devices in the field run: the last of each major, and one that takes no list of files.
const (
	plugin8   = "8.51.23"
	plugin7   = "7.51.21"
	plugin6   = "6.51.16"
	plugin5   = "5.50.2"
	pluginOld = "7.18.14"
	capacitor = "8.5.2" // of @capacitor/android, of which one class is needed
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
	for _, tool := range []string{"javac", "java", "npm", "node"} {
		need(t, tool)
	}
	var jars []string
	for _, name := range []string{"okhttp", "okio", "json-android"} {
		jar := filepath.Join("/usr/share/java", name+".jar")
		if _, err := os.Stat(jar); err != nil {
			if os.Getenv("BRINK_CI") == "1" {
				t.Fatalf("%s is missing", jar)
			}
			t.Skipf("%s is missing here", jar)
		}
		jars = append(jars, jar)
	}
	plugins.mu.Lock()
	if plugins.made == nil {
		plugins.made = map[string]func() (string, error){}
	}
	if plugins.made[version] == nil {
		plugins.made[version] = sync.OnceValues(func() (string, error) { return compile(version, jars) })
	}
	made := plugins.made[version]
	plugins.mu.Unlock()
	classes, err := made()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append([]string{classes}, jars...), ":")
}

// compile compiles a version of the plugin and returns the folder of its classes.
func compile(version string, jars []string) (string, error) {
	updater, err := fetchPackage("@capgo/capacitor-updater", version)
	if err != nil {
		return "", err
	}
	android, err := fetchPackage("@capacitor/android", capacitor)
	if err != nil {
		return "", err
	}
	sources := filepath.Join(scratch, "capgo", version)
	stubs, err := filepath.Glob("testdata/capgo/*.txtar")
	if err != nil {
		return "", err
	}
	var files []string
	add := func(name string, text []byte) error {
		path := filepath.Join(sources, filepath.FromSlash(name))
		files = append(files, path)
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o600))
	}
	const home = "ee/forgr/capacitor_updater/"
	leftOut := map[string]bool{"ShakeDetector.java": true, "ThreeFingerPinchDetector.java": true}
	for _, stub := range stubs {
		text, err := os.ReadFile(stub)
		if err != nil {
			return "", err
		}
		for _, part := range strings.Split("\n"+string(text), "\n-- ")[1:] {
			name, body, _ := strings.Cut(part, " --\n")
			leftOut[strings.TrimPrefix(name, home)] = true
			if err := add(name, []byte(body+"\n")); err != nil {
				return "", err
			}
		}
	}
	theirs, err := filepath.Glob(filepath.Join(updater, "android/src/main/java", home, "*.java"))
	if err != nil {
		return "", err
	}
	for _, path := range theirs {
		name := filepath.Base(path)
		if leftOut[name] {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		// Java 21 takes the full name of a constant behind "case", Java 17 does not.
		if err := add(home+name, bytes.ReplaceAll(text, []byte("case DelayUntilNext."), []byte("case "))); err != nil {
			return "", err
		}
	}
	const object = "com/getcapacitor/JSObject.java"
	text, err := os.ReadFile(filepath.Join(android, "capacitor/src/main/java", object))
	if err != nil {
		return "", err
	}
	if err := add(object, text); err != nil {
		return "", err
	}
	classes := filepath.Join(sources, "classes")
	cmd := exec.Command("javac", append([]string{"-nowarn", "-d", classes, "-cp", strings.Join(jars, ":")}, files...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the plugin %s does not compile: %w\n%.8000s", version, err, out)
	}
	return classes, nil
}

// fetchPackage returns the folder of a package of npm. It is fetched once per machine, into the user's cache.
func fetchPackage(name, version string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = scratch
	}
	cache = filepath.Join(cache, "brink-e2e")
	dir := filepath.Join(cache, strings.NewReplacer("@", "", "/", "-").Replace(name)+"-"+version)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	fresh, err := os.MkdirTemp(scratch, "npm-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("npm", "pack", "--silent", "--pack-destination", fresh, name+"@"+version)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm pack %s@%s: %w\n%s", name, version, err, out)
	}
	packed, err := filepath.Glob(filepath.Join(fresh, "*.tgz"))
	if err != nil || len(packed) != 1 {
		return "", fmt.Errorf("npm pack %s@%s left %d files", name, version, len(packed))
	}
	unpacked := dir + fmt.Sprintf(".%d", os.Getpid())
	if err := os.MkdirAll(unpacked, 0o755); err != nil {
		return "", err
	}
	cmd = exec.Command("tar", "-xzf", packed[0], "-C", unpacked, "--strip-components=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return dir, os.Rename(unpacked, dir)
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
		"-Dnative=1.0.0", "-Dconfig="+string(raw), "-cp", classes, "com.getcapacitor.Driver")
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
