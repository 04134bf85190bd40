package capgo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"brink/bench/internal/process"
	"brink/bench/internal/testbed"
	"brink/bench/updater"
	"brink/bundle"
	"brink/digest"
)

// deviceProcessors is how many processors the plugin sees. It downloads twice as many files at a time.
const deviceProcessors = 8

// nativeVersion is the version of the native app, below that of all releases.
const nativeVersion = "1.0.0"

// maxWait bounds how long any step of a device may take.
const maxWait = time.Minute

// device is a running app with the plugin, in its own JVM.
type device struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan message // closed when the app ends
	log   bytes.Buffer // read only after the app has ended
}

// message is a line that the app prints: an event, or the result of a call.
type message struct {
	Event, Call        string
	Data               json.RawMessage
	Resolved, Rejected json.RawMessage
	Path               string
}

// startDevice starts the app on a new device, which follows a channel of a server.
func (c *bench) startDevice(ctx context.Context, name, server, follows string) (*device, error) {
	config, err := json.Marshal(map[string]any{
		"updateUrl": server + "/updates", "statsUrl": server + "/stats", "channelUrl": server + "/channel_self",
		"defaultChannel": follows, "autoUpdate": true, "appReadyTimeout": 4000, "responseTimeout": 20,
	})
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.devices, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	program, args := process.Pin(c.loaders, "java", []string{
		"-XX:TieredStopAtLevel=1", "-Xshare:auto", fmt.Sprintf("-XX:ActiveProcessorCount=%d", deviceProcessors),
		"-Ddevice=" + dir, "-Dapp=" + testbed.App, "-Dnative=" + nativeVersion, "-Dconfig=" + string(config),
		"-cp", c.classPath, updater.Main,
	})
	d := &device{cmd: process.Command(ctx, program, args...), lines: make(chan message, 10_000)}
	d.cmd.Stderr = &d.log
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // it ends with the app, and stop waits for it
		defer close(d.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			var line message
			if json.Unmarshal(scanner.Bytes(), &line) == nil {
				d.lines <- line
			}
		}
	}()
	if err := d.notifyReady(ctx); err != nil { // as apps do at every start
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// notifyReady makes the app report that it works.
func (d *device) notifyReady(ctx context.Context) error {
	if err := d.send("call notifyAppReady {}"); err != nil {
		return err
	}
	line, err := d.wait(ctx, func(l message) bool { return l.Call == "notifyAppReady" })
	if err == nil && line.Resolved == nil {
		err = fmt.Errorf("notifyAppReady was rejected: %s", line.Rejected)
	}
	return err
}

// durations are those of an update, from when the app comes to the foreground.
type durations struct {
	downloaded time.Duration // until the release is complete on the device
	shown      time.Duration // until the app shows it, as if the user left the app at once
}

// update updates the device, and checks that it then has the bundle.
func (d *device) update(ctx context.Context, want digest.Digest) (took durations, err error) {
	start := time.Now()
	if err := d.send("foreground"); err != nil {
		return took, err
	}
	if _, err := d.waitEvent(ctx, "planned", "downloadFailed", "backendRefused", "noNeedUpdate"); err != nil {
		return took, err
	}
	took.downloaded = time.Since(start)
	if err := d.send("background"); err != nil {
		return took, err
	}
	line, err := d.waitEvent(ctx, "path")
	if err != nil {
		return took, err
	}
	took.shown = time.Since(start)
	if err := d.notifyReady(ctx); err != nil {
		return took, err
	}
	ix, err := bundle.Folder{FS: os.DirFS(line.Path)}.Index(ctx)
	if err != nil {
		return took, err
	}
	if got := ix.Bundle(); got != want {
		return took, fmt.Errorf("the device shows the bundle %s, not %s", got, want)
	}
	return took, nil
}

// send sends a command.
func (d *device) send(command string) error {
	_, err := io.WriteString(d.in, command+"\n")
	return err
}

// waitEvent waits for one of the events. Any but the first is an error.
func (d *device) waitEvent(ctx context.Context, names ...string) (message, error) {
	line, err := d.wait(ctx, func(l message) bool { return slices.Contains(names, l.Event) })
	if err == nil && line.Event != names[0] {
		err = fmt.Errorf("the device reports %s: %.500s", line.Event, line.Data)
	}
	return line, err
}

// wait returns the next message that matches, and drops those before it.
func (d *device) wait(ctx context.Context, match func(message) bool) (message, error) {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	for {
		select {
		case line, ok := <-d.lines:
			if !ok {
				return line, errors.New("the app has ended")
			}
			if match(line) {
				return line, nil
			}
		case <-ctx.Done():
			return message{}, fmt.Errorf("no such event from the device: %w", ctx.Err())
		}
	}
}

// stop ends the app without notice, as Android does.
func (d *device) stop() error {
	sent := d.send("quit")
	for range d.lines { // until it is closed
	}
	if err := errors.Join(sent, d.cmd.Wait()); err != nil {
		text := strings.TrimSpace(d.log.String())
		return fmt.Errorf("the app: %w\n%s", err, text[max(0, len(text)-2000):])
	}
	return nil
}
