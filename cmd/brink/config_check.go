package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func configCommand(sh *shell) *cobra.Command {
	return group("config", "Check the settings of a node",
		"Settings come from flags, the environment (BRINK_*) and a YAML file, in this order.",
		configCheckCommand(sh))
}

// checked is what config check prints.
type checked struct {
	File        string    `json:"file,omitempty"`
	Valid       bool      `json:"valid"`
	Development bool      `json:"development"` // serve would use keys that it makes itself
	Settings    []setting `json:"settings"`
}

func configCheckCommand(sh *shell) *cobra.Command {
	var s serveFlags
	cmd := verb("check", "Check the settings that serve would run with",
		`It takes every flag of serve and prints each setting with its value and where that comes from. Unknown keys,
unknown BRINK_* variables, values that do not fit and files that cannot be read are errors (exit code 2). Nothing
is opened or changed.`,
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
		fmt.Fprintln(w, "the settings are good")
	} else {
		fmt.Fprintf(w, "%s is good\n", c.File)
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
