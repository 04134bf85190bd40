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
