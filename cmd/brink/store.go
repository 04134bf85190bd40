package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"brink/store"
)

func storeCommand(sh *shell) *cobra.Command {
	return group("store", "Look after the data folder of a node that is not running",
		`One process at a time can have a data folder open: while a node runs on it these verbs say so and end (exit code
8). Ask the running node on its --admin address instead.`,
		storeStatsCommand(sh), storeVerifyCommand(sh), storeGCCommand(sh))
}

// storeFlags say which store.
type storeFlags struct {
	data  string
	quota size
}

func (s *storeFlags) add(cmd *cobra.Command) {
	s.quota = store.DefaultQuota
	cmd.Flags().StringVar(&s.data, "data", "", "`FOLDER` of the store")
	cmd.Flags().Var(&s.quota, "quota", "how much the store may hold, as serve has it")
	required(cmd, "data")
}

// withStore opens the store, which must be there, and closes it when do is done.
func (s *storeFlags) withStore(do func(*store.Store) error) (err error) {
	if _, err := os.Stat(filepath.Join(s.data, "FORMAT")); errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("no store in %s: %w", s.data, err), "is it the folder that serve has as --data?")
	}
	opened, err := store.Open(store.Config{Dir: s.data, Quota: int64(s.quota)})
	if errors.Is(err, store.ErrLocked) {
		return withHint(err, "stop the node first, or ask it: GET /store on its --admin address")
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	return do(opened)
}

func storeStatsCommand(sh *shell) *cobra.Command {
	var s storeFlags
	cmd := verb("stats", "Tell what a store holds",
		"What is stored counts against the quota; the folder itself may be larger for a while, until space is given back.",
		"  brink store stats --data /var/lib/brink",
		func(*cobra.Command, []string) error {
			return s.withStore(func(opened *store.Store) error {
				stats, err := opened.Stats()
				if err != nil {
					return err
				}
				return sh.show(stats, func(w io.Writer) { statsText(w, s.data, stats) })
			})
		})
	s.add(cmd)
	sh.printsJSON(cmd)
	return cmd
}

func statsText(w io.Writer, data string, stats store.Stats) {
	fmt.Fprintf(w, "store in %s\n", data)
	pairs := []string{
		"bundles", fmt.Sprint(stats.Bundles),
		"representations", fmt.Sprint(stats.Derived),
		"stored", fmt.Sprintf("%s in %s, of a quota of %s",
			human(stats.Stored), count(stats.Blobs, "blob"), human(stats.Quota)),
		"on disk", fmt.Sprintf("%s, and %s free", human(stats.Disk), human(int64(stats.Free))),
	}
	if stats.ReadOnly != "" {
		pairs = append(pairs, "read-only", stats.ReadOnly)
	}
	if len(stats.Quarantine) > 0 {
		pairs = append(pairs, "set aside", fmt.Sprintf("%s that were damaged", count(len(stats.Quarantine), "blob")))
	}
	if stats.BadRecords > 0 {
		pairs = append(pairs, "bad records", fmt.Sprint(stats.BadRecords))
	}
	facts(w, pairs...)
}

// verification is what store verify prints.
type verification struct {
	OK bool `json:"ok"`
	*store.Report
}

func storeVerifyCommand(sh *shell) *cobra.Command {
	var s storeFlags
	cmd := verb("verify", "Read everything in a store and check it",
		`Every blob, every bundle and every signed record is read once. Damaged blobs are set aside, so that they are never
served: a node fetches them again, and publishing a bundle again heals it too. The exit code is 7 when something is
damaged.`,
		"  brink store verify --data /var/lib/brink",
		func(cmd *cobra.Command, _ []string) error {
			return s.withStore(func(opened *store.Store) error {
				meter := sh.meter()
				meter.items = true
				report, err := opened.Verify(cmd.Context(), func(done, total int64) { meter.show("verifying", done, total) })
				meter.done()
				if err != nil {
					return err
				}
				v := verification{OK: report.OK(), Report: report}
				if err := sh.show(v, v.text); err != nil || v.OK {
					return err
				}
				return withHint(fmt.Errorf("%s: %w", s.data, store.ErrDamaged),
					"start the node: it fills what it can reach; publish again what stays incomplete")
			})
		})
	s.add(cmd)
	sh.printsJSON(cmd)
	return cmd
}

func (v verification) text(w io.Writer) {
	fmt.Fprintf(w, "read %s, %s\n", count(v.Blobs, "blob"), human(v.Bytes))
	for _, d := range v.Damaged {
		fmt.Fprintf(w, "  damaged blob, set aside: %s\n", d)
	}
	for _, b := range v.Incomplete {
		if b.NoIndex {
			fmt.Fprintf(w, "  bundle %s has lost its index\n", b.ID)
			continue
		}
		fmt.Fprintf(w, "  bundle %s has lost %s\n", b.ID, count(b.Lost, "chunk"))
	}
	for _, name := range v.Records {
		fmt.Fprintf(w, "  signed record that can not be read: %s\n", name)
	}
	for _, table := range v.Tables {
		fmt.Fprintf(w, "  database with a table that is damaged: %s\n", table)
	}
	if v.OK {
		fmt.Fprintln(w, "all is as it was written")
	}
}

func storeGCCommand(sh *shell) *cobra.Command {
	var s storeFlags
	cmd := verb("gc", "Remove what nothing refers to, and give disk space back",
		"A running node does this by itself. Bundles are not evicted: that happens only when room is wanted.",
		"  brink store gc --data /var/lib/brink",
		func(cmd *cobra.Command, _ []string) error {
			return s.withStore(func(opened *store.Store) error {
				report, err := opened.GC(cmd.Context())
				if err != nil {
					return err
				}
				return sh.show(report, func(w io.Writer) {
					fmt.Fprintln(w, "garbage collected")
					facts(w, "removed", human(report.Evicted), "given back", human(max(0, report.Disk))+" of the disk")
				})
			})
		})
	s.add(cmd)
	sh.printsJSON(cmd)
	return cmd
}
