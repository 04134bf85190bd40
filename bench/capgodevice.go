package main

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

// capgoProcessors is how many processors a device has for the plugin, which loads twice as many files at a time.
const capgoProcessors = 8

// capgoNative is the version of the native app, which all releases are above.
const capgoNative = "1.0.0"

// capgoPatience bounds how long a device is waited for. It is no measure of anything.
const capgoPatience = time.Minute

// capgoDevice is a running app with the plugin, in a JVM of its own.
type capgoDevice struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan capgoLine // closed at the end of the app
	log   bytes.Buffer   // to be read at the end of the app
}

// capgoLine is a line of the app: an event, or the answer to a call.
type capgoLine struct {
	Event, Call        string
	Data               json.RawMessage
	Resolved, Rejected json.RawMessage
	Path               string
}

// boot starts the app on a new device, which follows a channel at a server.
func (c *capgoBench) boot(ctx context.Context, name, server, follows string) (*capgoDevice, error) {
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
		"-XX:TieredStopAtLevel=1", "-Xshare:auto", fmt.Sprintf("-XX:ActiveProcessorCount=%d", capgoProcessors),
		"-Ddevice=" + dir, "-Dapp=" + testbed.App, "-Dnative=" + capgoNative, "-Dconfig=" + string(config),
		"-cp", c.classPath, updater.Main,
	})
	d := &capgoDevice{cmd: process.Command(ctx, program, args...), lines: make(chan capgoLine, 10_000)}
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
	go func() { // it ends with the app, and shut waits for it
		defer close(d.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			var line capgoLine
			if json.Unmarshal(scanner.Bytes(), &line) == nil {
				d.lines <- line
			}
		}
	}()
	if err := d.ready(ctx); err != nil { // as apps do whenever they start
		return nil, errors.Join(err, d.shut())
	}
	return d, nil
}

// ready has the app report that it works.
func (d *capgoDevice) ready(ctx context.Context) error {
	if err := d.say("call notifyAppReady {}"); err != nil {
		return err
	}
	line, err := d.wait(ctx, func(l capgoLine) bool { return l.Call == "notifyAppReady" })
	if err == nil && line.Resolved == nil {
		err = fmt.Errorf("notifyAppReady was rejected: %s", line.Rejected)
	}
	return err
}

// capgoTook is how long an update took, from when the app comes to the foreground.
type capgoTook struct {
	downloaded time.Duration // until the release is complete on the device
	shown      time.Duration // until the app shows it, the user's own time between not counted
}

// update takes the device to the release that it is given, which must be the bundle.
func (d *capgoDevice) update(ctx context.Context, want digest.Digest) (took capgoTook, err error) {
	start := time.Now()
	if err := d.say("foreground"); err != nil {
		return took, err
	}
	if _, err := d.event(ctx, "planned", "downloadFailed", "backendRefused", "noNeedUpdate"); err != nil {
		return took, err
	}
	took.downloaded = time.Since(start)
	if err := d.say("background"); err != nil {
		return took, err
	}
	line, err := d.event(ctx, "path")
	if err != nil {
		return took, err
	}
	took.shown = time.Since(start)
	if err := d.ready(ctx); err != nil {
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

// say sends a command.
func (d *capgoDevice) say(words string) error {
	_, err := io.WriteString(d.in, words+"\n")
	return err
}

// event waits for the first of the events. Another one than that of the first name is an error.
func (d *capgoDevice) event(ctx context.Context, names ...string) (capgoLine, error) {
	line, err := d.wait(ctx, func(l capgoLine) bool { return slices.Contains(names, l.Event) })
	if err == nil && line.Event != names[0] {
		err = fmt.Errorf("the device said %s: %.500s", line.Event, line.Data)
	}
	return line, err
}

// wait returns the next line that fits. Those before it are gone.
func (d *capgoDevice) wait(ctx context.Context, fits func(capgoLine) bool) (capgoLine, error) {
	ctx, cancel := context.WithTimeout(ctx, capgoPatience)
	defer cancel()
	for {
		select {
		case line, ok := <-d.lines:
			if !ok {
				return line, errors.New("the app has ended")
			}
			if fits(line) {
				return line, nil
			}
		case <-ctx.Done():
			return capgoLine{}, fmt.Errorf("the device is waited for: %w", ctx.Err())
		}
	}
}

// shut ends the app as the system does: without a word.
func (d *capgoDevice) shut() error {
	said := d.say("quit")
	for range d.lines { // until it is closed
	}
	if err := errors.Join(said, d.cmd.Wait()); err != nil {
		text := strings.TrimSpace(d.log.String())
		return fmt.Errorf("the app: %w\n%s", err, text[max(0, len(text)-2000):])
	}
	return nil
}
