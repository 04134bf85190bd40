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

// strict marks, as an annotation, a verb for which a variable that is no setting is an error.
const strict = "strict"

// shell is one run of the program: where it reads and writes, and what holds for all verbs alike.
type shell struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string

	configFile string
	asJSON     bool
	sources    []setting // all settings of the verb, with where each comes from
	file       string    // of settings, as it is shown to people; empty when there is none
	started    bool      // the verb itself is running: what fails now is no matter of usage

	running   *cobra.Command // the verb, when its settings are filled in
	secrets   secrets        // what is never shown
	stdinRead bool           // as a secret: there is no second one
}

// verb returns a command that does something: the settings of its flags are filled in before do is called.
func verb(use, short, long, example string, do func(cmd *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: short + ".\n\n" + long, Example: strings.Trim(example, "\n"),
		Args: cobra.NoArgs, RunE: do, DisableFlagsInUseLine: true,
	}
}

// group returns a command that only holds others. Called by itself it helps.
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
			hint:    suggest(args[0], names, cmd.CommandPath()+" --help lists what there is"),
		}
	}
	cmd.Run = func(cmd *cobra.Command, _ []string) { _ = cmd.Help() } // cobra's Help never fails
	cmd.AddCommand(commands...)
	return cmd
}

// args refuses any number of arguments but len(names), naming those that are missing.
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

// upTo is args for arguments that may be left out from the last one on.
func upTo(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		return args(names[:min(len(names), len(given))]...)(cmd, given)
	}
}

// required marks flags without which cmd cannot run, wherever their value comes from.
func required(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // a flag that the verb does not have
		}
		cmd.Flags().Lookup(name).Usage += " (required)"
	}
}

// printsJSON gives cmd the flag --json.
func (sh *shell) printsJSON(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&sh.asJSON, jsonFlag, false, "print the result as one JSON object")
}

// dress gives every command below root, and root itself, what all have alike: settings, help and errors.
func (sh *shell) dress(root *cobra.Command) {
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
		cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return sh.settle(cmd, known) }
		do := cmd.RunE
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			sh.started = true
			return do(cmd, args)
		}
	})
}

// settle fills the settings of cmd, and warns of variables that are meant for this program and none of its settings.
func (sh *shell) settle(cmd *cobra.Command, known []string) error {
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

// show prints a result: value as JSON when that was asked for, otherwise what text writes, a line with each call.
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

// warn tells of something that does not keep the verb from doing its work.
func (sh *shell) warn(problem error) {
	if sh.asJSON {
		sh.writeJSON(map[string]report{"warning": describe(problem)})
		return
	}
	sh.complain("warning: ", describe(problem))
}

// fail tells why the program ends, and returns its exit code.
func (sh *shell) fail(err error) int {
	r := describe(err)
	if sh.asJSON {
		sh.writeJSON(map[string]report{"error": r})
	} else {
		sh.complain("", r)
	}
	return r.exit
}

// complain and writeJSON write to stderr. When that fails there is nobody left to tell.

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

// encode returns value as JSON that is safe to look at on a terminal.
func encode(value any, indent string) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	err := encoder.Encode(value)
	return escapeJSON(b.Bytes()), err
}

// isTerminal reports whether somebody looks at what is written to w.
func isTerminal(w io.Writer) bool {
	if g, ok := w.(guard); ok {
		w = g.w
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
