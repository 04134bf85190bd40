package scale

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"brink/bench/internal/process"
	"brink/bench/internal/report"
	"brink/bench/internal/testbed"
	"brink/channel"
)

// byBytes measures how long a node takes to be ready on a large store that is not in the page cache.
func (s *bench) byBytes(ctx context.Context, r *report.Report) (err error) {
	if s.Dir, err = os.MkdirTemp(s.Run.Dir, "stored-*"); err != nil {
		return err
	}
	n, err := s.NewNode()
	if err != nil {
		return err
	}
	data := filepath.Join(s.Dir, "data")
	bytes, err := fillBytes(ctx, data, n.Key, int64(s.Run.Stored)<<20)
	if err != nil {
		return err
	}
	t := report.Table{
		Title: "Time to be ready, by bytes in the store",
		Head:  []string{"stored", "bundles", "ready ms", "resident then"},
	}
	var times []float64
	var resident int64
	for range s.Run.Turns {
		if err := forgetPages(data); err != nil {
			return err
		}
		start := time.Now()
		if err := s.StartNode(ctx, n, data, "--quota", fmt.Sprintf("%dMiB", 4*s.Run.Stored)); err != nil {
			return err
		}
		ready, err := n.WaitReady(ctx, start)
		resident = process.ResidentOf(n.PID())
		if err := errors.Join(err, n.Stop()); err != nil {
			return err
		}
		times = append(times, float64(ready.Microseconds())/1000)
	}
	t.Add(report.MiB(bytes), report.Number(bytes/storedBundle), report.Spread(times, 0), report.MiB(resident))
	r.Tables = append(r.Tables, t)
	return nil
}

// storedBundle is the size of the bundles that fill a store, in bytes.
const storedBundle = 8 << 20

// fillBytes fills a store with bundles that do not compress, each served by its own channel. It returns their size.
func fillBytes(ctx context.Context, data string, key channel.PrivateKey, bytes int64) (stored int64, err error) {
	k, err := testbed.OpenStock(data, key)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	source := rand.NewChaCha8([32]byte{9})
	for ; stored < bytes; stored += storedBundle {
		noise := make([]byte, storedBundle)
		_, _ = source.Read(noise) // it never fails
		r, err := k.AddBundle(ctx, "1.0.0", fstest.MapFS{"app.bin": {Data: noise}})
		if err != nil {
			return 0, err
		}
		if _, err := k.AddChannel(ctx, testbed.App, fmt.Sprintf("channel-%05d", stored/storedBundle), r); err != nil {
			return 0, err
		}
	}
	return stored, nil
}

// forgetPages removes the files of a folder from the page cache.
func forgetPages(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		return errors.Join(unix.Fsync(int(file.Fd())), unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED))
	})
}
