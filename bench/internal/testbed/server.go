package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"brink/bench/internal/process"
)

// Server is a running program that serves the files of a testbed.
type Server struct {
	Name    string
	Version string
	URL     string // of the folder of the files, without a slash at the end
	Cmd     *exec.Cmd
	origin  *exec.Cmd // the server behind it; may be nil
}

// StartProgram starts a program on the servers' processors and waits until it accepts connections at the address.
func (b *Testbed) StartProgram(
	ctx context.Context,
	address string,
	env []string,
	name string,
	args ...string,
) (*exec.Cmd, error) {
	log, err := os.Create(filepath.Join(b.Dir, filepath.Base(name)+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	program, args := process.Pin(b.Cores, name, args)
	cmd := process.Command(ctx, program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := await(ctx, address); err != nil {
		raw, _ := os.ReadFile(log.Name())
		return nil, errors.Join(fmt.Errorf("%s does not answer: %w\n%s", filepath.Base(name), err, raw), process.Stop(cmd))
	}
	return cmd, nil
}

// await waits until something listens at the address. It polls, because not every program reports that.
func await(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// PID returns the process of the server.
func (v *Server) PID() int { return v.Cmd.Process.Pid }

// Stop stops the server and the one behind it.
func (v *Server) Stop() error {
	err := process.Stop(v.Cmd)
	if v.origin != nil {
		err = errors.Join(err, process.Stop(v.origin))
	}
	return err
}

// Warm requests each file once and checks its length.
func (v *Server) Warm(ctx context.Context, client *http.Client, files map[string]int64) error {
	for name, size := range files {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.URL+"/"+name, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, resp.Body)
		err = errors.Join(err, resp.Body.Close())
		if err != nil || resp.StatusCode != http.StatusOK || n != size {
			return fmt.Errorf("%s answers %s with %s and %d bytes: %w", v.Name, name, resp.Status, n, err)
		}
	}
	return nil
}
