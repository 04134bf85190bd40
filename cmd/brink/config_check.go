package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func configCommand(sh *shell) *cobra.Command {
	return group("config", "Check the settings of a node",
		"Flags override the environment (BRINK_*), and the environment overrides the YAML file.",
		configCheckCommand(sh))
}

// checked is what config check prints.
type checked struct {
	File        string    `json:"file,omitempty"`
	Valid       bool      `json:"valid"`
	Development bool      `json:"development"` // serve would generate its own keys
	Settings    []setting `json:"settings"`
}

func configCheckCommand(sh *shell) *cobra.Command {
	var s serveFlags
	cmd := verb("check", "Check the settings of serve",
		`It accepts every flag of serve, and prints each setting with its value and source. Unknown keys, unknown BRINK_*
variables, invalid values and unreadable files are errors (exit code 2). The store is not opened, and nothing is
changed.`,
		`
  brink config check --config brink.yaml
  BRINK_QUOTA=50GiB brink config check --config brink.yaml --json`,
		func(cmd *cobra.Command, _ []string) error { return sh.checkConfig(cmd, &s) })
	cmd.Annotations = map[string]string{strict: "true"}
	s.add(cmd)
	sh.printsJSON(cmd)
	return cmd
}

func (sh *shell) checkConfig(cmd *cobra.Command, s *serveFlags) error {
	result := checked{File: sh.file, Valid: true, Settings: sh.sources}
	config, err := s.config(sh, cmd)
	if err != nil {
		return asUsage(err)
	}
	if _, err := sh.logger(cmd, s); err != nil {
		return err
	}
	if result.Development = len(config.Trust) == 0; result.Development {
		if _, err := openDevelopment(cmd, s, &config); err != nil {
			return err
		}
	}
	if err := config.Validate(); err != nil {
		return asUsage(err)
	}
	return sh.show(result, result.text)
}

func (c checked) text(w io.Writer) {
	if c.File == "" {
		fmt.Fprintln(w, "the settings are valid")
	} else {
		fmt.Fprintf(w, "%s is valid\n", c.File)
	}
	if c.Development {
		fmt.Fprintln(w, "no trust document is set: serve uses keys for development, on loopback only")
	}
	fmt.Fprintln(w)
	t := newTable("lll", "SETTING", "VALUE", "SOURCE")
	for _, one := range c.Settings {
		if one.Name == jsonFlag {
			continue
		}
		t.add(one.Name, one.Value, one.Source)
	}
	t.write(w)
}
