package scale

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"brink/bench/internal/process"
	"brink/bench/internal/report"
)

// wantedFiles is the limit on open files that the bench sets for itself and for the servers that it starts.
const wantedFiles = 65536

// raiseFiles raises the limit on open files as far as this process may, and returns it.
func raiseFiles() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	raised := unix.Rlimit{Cur: wantedFiles, Max: max(wantedFiles, limit.Max)}
	if limit.Cur < wantedFiles && unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) != nil {
		raised = unix.Rlimit{Cur: limit.Max, Max: limit.Max} // only root may exceed it
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err != nil {
			return 0, err
		}
	}
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return int(limit.Cur), err
}

// byConnections measures a node with more and more devices connected and idle.
func (s *bench) byConnections(ctx context.Context, r *report.Report) (err error) {
	files, err := raiseFiles()
	if err != nil {
		return err
	}
	bound := fmt.Sprintf("A process may have %s open files here, which bounds the connections.", report.Number(files))
	r.How = append(r.How, bound)
	h, err := s.startFilled(ctx, 100)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	idle := report.Table{
		Title: "Devices connected and idle",
		Head:  []string{"connections", "resident", "KiB each", "files /s", "p50 ms", "p99 ms"},
	}
	p := report.Plot{Name: "scale-idle", Title: "By devices connected and idle", Unit: ""}
	p.Groups = []report.Group{{Name: "p99 of a file, ms"}, {Name: "resident, MiB"}}
	// A first load makes the node allocate what the load needs, which is not due to connections.
	if _, _, err := s.loadInTurns(ctx, &h.Server, h.files, loadConnections); err != nil {
		return err
	}
	before := process.ResidentOf(h.PID())
	for _, connections := range []int{1, 100, 1_000, 10_000, 20_000} {
		connections = min(connections, files-sparedFiles)
		fmt.Fprintf(s.Run.Status, "scale: %d connections\n", connections)
		devices, err := connect(ctx, h, connections)
		if err != nil {
			return errors.Join(err, devices.close())
		}
		resident := process.ResidentOf(h.PID())
		cells, slowest, err := s.loadInTurns(ctx, &h.Server, h.files, loadConnections)
		if err := errors.Join(err, devices.close()); err != nil {
			return err
		}
		each := "–"
		if connections >= 10_000 {
			each = fmt.Sprintf("%.1f", float64(resident-before)/1024/float64(connections))
		}
		idle.Add(append([]string{report.Number(connections), report.MiB(resident), each}, cells...)...)
		p.Series = append(p.Series, report.Number(connections)+" idle")
		p.Groups[0].Values = append(p.Groups[0].Values, slowest)
		p.Groups[1].Values = append(p.Groups[1].Values, float64(resident)/(1<<20))
	}
	r.Tables, r.Plots = append(r.Tables, idle), append(r.Plots, p)
	return nil
}

// idleDevices are connections that are idle after one response each.
type idleDevices struct{ conns []net.Conn }

// sparedFiles is how many open files a node has besides its connections.
const sparedFiles = 1000

// perAddress is how many connections come from one loopback address: less than an address has ports.
const perAddress = 10_000

// connect opens connections, also from several addresses, and sends one request over each. With an error it returns the
// connections that it has opened.
func connect(ctx context.Context, h *filledNode, connections int) (*idleDevices, error) {
	c := &idleDevices{conns: make([]net.Conn, connections)}
	address := strings.TrimPrefix(h.URL, "http://")
	var group errgroup.Group
	group.SetLimit(64)
	for i := range connections {
		group.Go(func() error {
			from := net.IPv4(127, 0, 1, byte(1+i/perAddress))
			conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).DialContext(ctx, "tcp4", address)
			if err != nil {
				return err
			}
			c.conns[i] = conn
			if _, err := fmt.Fprintf(conn, "GET /livez HTTP/1.1\r\nHost: node\r\n\r\n"); err != nil {
				return err
			}
			resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, resp.Body)
			return errors.Join(err, resp.Body.Close())
		})
	}
	return c, group.Wait()
}

// close closes all connections.
func (c *idleDevices) close() error {
	var errs []error
	for _, conn := range c.conns {
		if conn != nil {
			errs = append(errs, conn.Close())
		}
	}
	return errors.Join(errs...)
}
