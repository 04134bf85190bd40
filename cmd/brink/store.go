package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"brink/store"
)

func storeCommand(sh *shell) *cobra.Command {
	return group("store", "Maintain the data folder of a node that is not running",
		`Only one process at a time can open a data folder: while a node runs on it, these verbs fail with exit code 8. Use
the --admin address of the running node instead.`,
		storeStatsCommand(sh), storeVerifyCommand(sh), storeGCCommand(sh))
}

// storeFlags are the flags that all verbs of store have.
type storeFlags struct {
	data  string
	quota size
}

func (s *storeFlags) add(cmd *cobra.Command) {
	s.quota = store.DefaultQuota
	cmd.Flags().StringVar(&s.data, "data", "", "`FOLDER` of the store")
	cmd.Flags().Var(&s.quota, "quota", "how much may be stored (serve --quota)")
	required(cmd, "data")
}

// withStore opens the store, which must exist, calls do with it and closes it.
func (s *storeFlags) withStore(do func(*store.Store) error) (err error) {
	if _, err := os.Stat(filepath.Join(s.data, "FORMAT")); errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("no store in %s: %w", s.data, err), "is it the folder of serve --data?")
	}
	opened, err := store.Open(store.Config{Dir: s.data, Quota: int64(s.quota)})
	if errors.Is(err, store.ErrLocked) {
		return withHint(err, "stop the node first, or use GET /store on its --admin address")
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	return do(opened)
}
