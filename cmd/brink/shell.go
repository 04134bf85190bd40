package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

const (
	configFlag = "config"
	jsonFlag   = "json"
)

// strict is the annotation of verbs for which an unknown BRINK_ variable is an error.
const strict = "strict"

// shell is one run of the program: its input, output and environment, and state shared by all verbs.
type shell struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string

	configFile string
	asJSON     bool
	sources    []setting // all settings of the verb and their sources
	file       string    // base name of the settings file; empty when there is none
	started    bool      // the verb itself is running: errors from now on are not usage errors

	running   *cobra.Command // the verb, once its settings are filled in
	secrets   secrets        // never shown in output
	stdinRead bool           // a secret was read from stdin, which holds only one
}

// verb returns a command that runs do, after the settings of its flags are filled in.
func verb(use, short, long, example string, do func(cmd *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: short + ".\n\n" + long, Example: strings.Trim(example, "\n"),
		Args: cobra.NoArgs, RunE: do, DisableFlagsInUseLine: true,
	}
}

// group returns a command that only has subcommands. Called by itself it prints its help.
func group(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: short + ".\n\n" + long, DisableFlagsInUseLine: true}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		var names []string
		for _, c := range cmd.Commands() {
			names = append(names, c.Name())
		}
		return &usageError{
			message: "no such verb: " + args[0],
			hint:    suggest(args[0], names, cmd.CommandPath()+" --help lists the verbs"),
		}
	}
	cmd.Run = func(cmd *cobra.Command, _ []string) { _ = cmd.Help() } // cobra's Help never fails
	cmd.AddCommand(commands...)
	return cmd
}

// args requires exactly len(names) arguments, and names those that are missing.
func args(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		switch {
		case len(given) < len(names):
			return &usageError{message: strings.Join(names[len(given):], " and ") + " missing"}
		case len(given) > len(names):
			return &usageError{message: fmt.Sprintf("one argument too many: %s", given[len(names)])}
		}
		return nil
	}
}

// upTo is args for optional arguments: those at the end may be omitted.
func upTo(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		return args(names[:min(len(names), len(given))]...)(cmd, given)
	}
}

// required marks flags that need a value, from whatever source, before cmd can run.
func required(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // a flag that the verb does not have
		}
		cmd.Flags().Lookup(name).Usage += " (required)"
	}
}

// printsJSON adds the flag --json to cmd.
func (sh *shell) printsJSON(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&sh.asJSON, jsonFlag, false, "print the result as one JSON object")
}

// prepare adds to root and every command below it what all have in common: settings, help and errors.
func (sh *shell) prepare(root *cobra.Command) {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetHelpTemplate(helpTemplate)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		usage := &usageError{message: err.Error()}
		if strings.Contains(err.Error(), privateBlock) { // PEM begins like a flag
			usage = secretArgument(privateKeyText)
		}
		if unknown := (*pflag.NotExistError)(nil); errors.As(err, &unknown) && len(unknown.GetSpecifiedName()) > 1 {
			usage.message = "no such flag: --" + unknown.GetSpecifiedName()
			usage.hint = suggest("--"+unknown.GetSpecifiedName(), flagNames(cmd), "")
		}
		return usage.of(cmd)
	})
	known := knownSettings(root)
	walk(root, func(cmd *cobra.Command) {
		if check := cmd.Args; check != nil {
			cmd.Args = func(cmd *cobra.Command, args []string) error {
				err := refuseSecretArguments(args)
				if err == nil {
					err = check(cmd, args)
				}
				if usage := (*usageError)(nil); errors.As(err, &usage) {
					return usage.of(cmd)
				}
				return err
			}
		}
		if cmd.RunE == nil {
			return
		}
		cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return sh.applySettings(cmd, known) }
		do := cmd.RunE
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			sh.started = true
			return do(cmd, args)
		}
	})
}

// applySettings fills in the settings of cmd, and warns of variables with the prefix of settings that are not settings.
func (sh *shell) applySettings(cmd *cobra.Command, known []string) error {
	s, err := sh.settings(known)
	if err != nil {
		return err
	}
	if sh.sources, err = s.apply(cmd.Flags()); err != nil {
		return err
	}
	if err := refuseSecrets(cmd); err != nil {
		return err
	}
	sh.running = cmd
	if s.file != nil {
		sh.file = s.file.name
	}
	problems := s.unknownVariables()
	if cmd.Annotations[strict] != "" && len(problems) > 0 {
		return errors.Join(problems...)
	}
	for _, problem := range problems {
		sh.warn(problem)
	}
	var missing []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if lacks(cmd.Flags(), f) {
			missing = append(missing, "--"+f.Name)
		}
	})
	if len(missing) > 0 {
		usage := &usageError{message: strings.Join(missing, " and ") + " missing"}
		return usage.of(cmd)
	}
	return nil
}

func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, c := range cmd.Commands() {
		walk(c, visit)
	}
}

func flagNames(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return names
}

// show prints a result: value as JSON with --json, otherwise what text writes, one line with each call.
func (sh *shell) show(value any, text func(w io.Writer)) error {
	var b bytes.Buffer
	if sh.asJSON {
		raw, err := encode(value, "  ")
		if err != nil {
			return fmt.Errorf("print the result: %w", err)
		}
		b.Write(raw)
	} else {
		text(screen{&b})
	}
	if _, err := sh.stdout.Write(b.Bytes()); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}

// warn prints a problem that does not stop the verb.
func (sh *shell) warn(problem error) {
	if sh.asJSON {
		sh.writeJSON(map[string]report{"warning": describe(problem)})
		return
	}
	sh.complain("warning: ", describe(problem))
}

// fail prints the error that ends the program, and returns the exit code.
func (sh *shell) fail(err error) int {
	r := describe(err)
	if sh.asJSON {
		sh.writeJSON(map[string]report{"error": r})
	} else {
		sh.complain("", r)
	}
	return r.exit
}

// complain and writeJSON write to stderr. They ignore its errors, which cannot be reported anywhere.

func (sh *shell) complain(kind string, r report) {
	w := screen{sh.stderr}
	fmt.Fprintf(w, "brink: %s%s\n", kind, r.Message)
	if r.Hint != "" {
		fmt.Fprintf(w, "hint: %s\n", r.Hint)
	}
}

func (sh *shell) writeJSON(value any) {
	raw, err := encode(value, "")
	if err == nil {
		_, _ = sh.stderr.Write(raw)
	}
}

// encode returns value as JSON that is safe to print on a terminal.
func encode(value any, indent string) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	err := encoder.Encode(value)
	return escapeJSON(b.Bytes()), err
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	if g, ok := w.(guard); ok {
		w = g.w
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
