// Package testbed starts the servers that the bench compares, on the same files and processors, and loads them.
//
// The life of one call: a part makes a [Testbed] for its [Run], starts peers ([Testbed.Nginx], [Testbed.Caddy],
// [Testbed.Varnish]) and nodes ([Testbed.StartNewNode]), the latter also on a store filled by a [Stock], and loads them
// with wrk ([Testbed.Load], [Testbed.LoadList]). [Server.Stop] ends each of them.
//
// The invariant: all servers of a testbed have the same files, processors and kind of connection, and a peer is
// configured as its documentation advises.
package testbed

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"

	"brink/bench/corpus"
	"brink/bench/internal/report"
)

// Run is one run of the bench: what is tested, and for how long.
type Run struct {
	Dir    string    // temporary, for all files of the parts
	Brink  string    // the program under test, built for this run
	Status io.Writer // for progress

	Turns   int  // how often each server is loaded
	Seconds int  // of one turn
	Pin     bool // servers and load to different processors
	Stored  int  // MiB in the store whose opening is timed
}

// MemoryDir returns a new folder, in memory if the system has a file system there, otherwise on disk. It is for stores
// that the bench fills: that costs a sync for each record, and a node that only makes decisions does not use the disk.
func (r *Run) MemoryDir() (string, error) {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return os.MkdirTemp(shm, "brink-bench-*")
	}
	return os.MkdirTemp(r.Dir, "memory-*")
}

// App is the app that everything is published as, to one channel for each thing that is measured.
const App = "com.example.bench"

// Testbed is what all servers have in common: the files that they serve, and the processors that they may use.
type Testbed struct {
	Run   *Run
	Dir   string // for data and logs of the servers
	Files string // folder that is served
	TLS   bool
	Cert  string // file; for TLS
	Key   string // file; for TLS
	Cores []int  // empty: all

	Listen string // address of the next server; empty: a free one on loopback
	Static bool   // files have a .gz beside them, which nginx may send
}

// Address returns the address that the next server should listen on.
func (b *Testbed) Address() (string, error) {
	if b.Listen != "" {
		return b.Listen, nil
	}
	return FreeAddress()
}

// scheme is that of the URLs of the servers.
func (b *Testbed) scheme() string {
	if b.TLS {
		return "https"
	}
	return "http"
}

// workers is how many processors a server has.
func (b *Testbed) workers() int {
	if len(b.Cores) > 0 {
		return len(b.Cores)
	}
	return runtime.NumCPU()
}

// FreeAddress returns a loopback address that is not in use now.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Place gives servers and load different processors, if that is wanted and possible. It returns the processors of the
// load, none if it may use all, and a description for the report.
func (b *Testbed) Place() (loaders []int, placement string) {
	if !b.Run.Pin || runtime.NumCPU() < 2 {
		return nil, "servers and load share all processors"
	}
	for core := range runtime.NumCPU() {
		if core < runtime.NumCPU()/2 {
			b.Cores = append(b.Cores, core)
		} else {
			loaders = append(loaders, core)
		}
	}
	return loaders, fmt.Sprintf("servers on %d of the processors, the load on the other %d, by taskset",
		len(b.Cores), len(loaders))
}

// FindRelease returns the folder of a release of the corpus, or a [*report.Skipped] if it was not fetched.
func FindRelease(r corpus.Release) (string, error) {
	dir, err := corpus.Open(r.App, r.Version)
	if err != nil {
		return "", &report.Skipped{Why: err.Error()}
	}
	return dir, nil
}
