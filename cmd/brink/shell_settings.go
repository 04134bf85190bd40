package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envPrefix is the prefix of every environment variable that is a setting.
const envPrefix = "BRINK_"

// foreignVariable has the prefix of settings but is not one: the project's own tests read it.
const foreignVariable = "BRINK_CI"

// settings fill in the flags of a verb that the command line does not set. Flags override the environment, the
// environment overrides the file, and the file overrides defaults. There is no other rule, for any verb.
type settings struct {
	env   map[string]string // by variable name
	file  *settingsFile     // nil when there is none
	known []string          // the names of all settings of all verbs, sorted
}

// setting is one flag with its value and the source of that.
type setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"` // "flag", the variable, file:line or "default"
}

// settings reads the environment and the file that --config or BRINK_CONFIG names. An empty variable counts as not set,
// because containers and scripts often cannot omit one.
func (sh *shell) settings(known []string) (*settings, error) {
	s := &settings{env: map[string]string{}, known: known}
	for _, pair := range sh.environ {
		if name, value, ok := strings.Cut(pair, "="); ok && value != "" && strings.HasPrefix(name, envPrefix) {
			s.env[name] = value
		}
	}
	path := sh.configFile
	if path == "" {
		path = s.env[variable(configFlag)]
	}
	if path == "" {
		return s, nil
	}
	file, err := sh.readSettingsFile(path)
	if err != nil {
		return nil, err
	}
	s.file = file
	return s, s.checkKeys()
}

// apply sets the flags that the command line does not set, and returns all settings with their sources.
func (s *settings) apply(flags *pflag.FlagSet) ([]setting, error) {
	var all []setting
	var first error
	flags.VisitAll(func(f *pflag.Flag) {
		if first != nil || !isSetting(f.Name) {
			return
		}
		source, err := s.fill(f)
		if err != nil {
			first = err
			return
		}
		all = append(all, setting{Name: f.Name, Value: valueText(f), Source: source})
	})
	return all, first
}

// fill sets one flag, and returns the source of its value.
func (s *settings) fill(f *pflag.Flag) (source string, err error) {
	if f.Changed {
		return "flag", nil
	}
	name := variable(f.Name)
	if text, given := s.env[name]; given {
		values := []string{text}
		if _, several := f.Value.(pflag.SliceValue); several && !isDocument(text) {
			values = strings.Split(text, ",")
		}
		return name, set(f, name, values)
	}
	if s.file != nil {
		if e := s.file.entry(f.Name); e != nil {
			place := s.file.place(e)
			if _, several := f.Value.(pflag.SliceValue); e.list && !several {
				return "", &usageError{message: fmt.Sprintf("%s: %s has several values, want one", place, f.Name)}
			}
			return place, set(f, place+": "+f.Name, e.values)
		}
	}
	return "default", nil
}

func set(f *pflag.Flag, where string, values []string) error {
	for _, value := range values {
		if err := f.Value.Set(value); err != nil {
			return &usageError{message: fmt.Sprintf("%s: %q: %v", where, value, err)}
		}
	}
	f.Changed = true
	return nil
}

// checkKeys refuses keys of the file that are not a setting of any verb.
func (s *settings) checkKeys() error {
	for _, e := range s.file.entries {
		if !slices.Contains(s.known, e.name) {
			return &usageError{
				message: fmt.Sprintf("%s: no such setting: %s", s.file.place(&e), e.name),
				hint:    suggest(e.name, s.known, "the keys of the file are the names of flags, without the dashes"),
			}
		}
	}
	return nil
}

// unknownVariables returns an error for each variable that has the prefix of settings but is not one.
func (s *settings) unknownVariables() (problems []error) {
	names := make([]string, 0, len(s.env))
	for name := range s.env {
		names = append(names, name)
	}
	slices.Sort(names)
	valid := []string{variable(configFlag)}
	for _, name := range s.known {
		valid = append(valid, variable(name))
	}
	for _, name := range names {
		if name != foreignVariable && !slices.Contains(valid, name) {
			problems = append(problems, &usageError{
				message: fmt.Sprintf("unknown setting in the environment: %s", name),
				hint:    suggest(name, valid, ""),
			})
		}
	}
	return problems
}

// knownSettings returns the names of all settings of all commands below root, sorted.
func knownSettings(root *cobra.Command) (names []string) {
	walk(root, func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if isSetting(f.Name) {
				names = append(names, f.Name)
			}
		})
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// isSetting reports whether the flag can also be set in the environment and in a file.
func isSetting(flag string) bool { return flag != configFlag && flag != "help" }

// variable returns the name of the environment variable of a flag.
func variable(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func valueText(f *pflag.Flag) string {
	hidden := func(value string) bool { return !isNameable(value) }
	if f.Annotations[secretFlag] != nil && slices.ContainsFunc(flagValues(f), hidden) {
		return redacted
	}
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return strings.Join(list.GetSlice(), ",")
	}
	return f.Value.String()
}

// maxSettingsFile bounds the file, in bytes.
const maxSettingsFile = 1 << 20

func (sh *shell) readSettingsFile(path string) (*settingsFile, error) {
	raw, err := readSecretFile(path, maxSettingsFile)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	sh.secrets.addFrom(string(raw))
	entries, err := parseSettings(raw)
	if err != nil {
		return nil, &usageError{message: fmt.Sprintf("%s: %v", path, err)}
	}
	return &settingsFile{name: filepath.Base(path), entries: entries}, nil
}
