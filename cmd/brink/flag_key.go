package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"brink/channel"
)

// Annotations of flags.
const (
	secretFlag = "secret" // its value may be a secret, or the name of a file with one
	orFlag     = "or"     // required, unless the flag in the value of the annotation is set
)

const keyCommandFlag = "key-command"

// secretSources is part of the usage of all flags for secrets.
const secretSources = "a file, the key itself, or - for standard input"

// markSecret marks flags that accept a secret; all others refuse one.
func markSecret(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := cmd.Flags().SetAnnotation(name, secretFlag, []string{"true"}); err != nil {
			panic(err) // a flag that the verb does not have
		}
	}
}

// signingFlag adds to cmd a flag for the private keys that sign, and --key-command as its alternative.
func signingFlag(cmd *cobra.Command, keys *[]string, name, usage string) {
	flags := cmd.Flags()
	flags.StringArrayVar(keys, name, nil, usage)
	flags.String(keyCommandFlag, "", "`COMMAND` that prints private keys, instead of or in addition to --"+name)
	markSecret(cmd, name)
	if err := flags.SetAnnotation(name, orFlag, []string{keyCommandFlag}); err != nil {
		panic(err)
	}
	flags.Lookup(name).Usage += " (required, or --" + keyCommandFlag + ")"
}

// lacks reports whether a flag is required and not set.
func lacks(flags *pflag.FlagSet, f *pflag.Flag) bool {
	if f.Changed {
		return false
	}
	if or := f.Annotations[orFlag]; or != nil {
		return !flags.Changed(or[0])
	}
	return f.Annotations[cobra.BashCompOneRequiredFlag] != nil
}

// flagValues returns the values of a flag.
func flagValues(f *pflag.Flag) []string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{f.Value.String()}
}

// refuseSecrets refuses secrets in flags that are not for secrets: their values are printed, stored or sent.
func refuseSecrets(cmd *cobra.Command) error {
	var problem error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if problem != nil || !f.Changed || f.Annotations[secretFlag] != nil || mayLookSecret(f.Name) {
			return
		}
		for _, value := range flagValues(f) {
			kind := secretKind(value)
			if kind == privateKeyText || kind == fleetKeyText {
				problem = (&usageError{
					message: fmt.Sprintf("--%s: the value is %s, want something public", f.Name, kind),
					hint:    exposedHint,
				}).of(cmd)
				return
			}
		}
	})
	return problem
}

const exposedHint = "it was not used, but it may be visible in the shell's history and in the list of processes: " +
	"consider replacing it"

func secretArgument(kind string) *usageError {
	return &usageError{
		message: "an argument is " + kind + ", want a name or something public", hint: exposedHint,
	}
}

// mayLookSecret reports whether values of a flag may look like a fleet key by chance, because they are digests or
// encrypted.
func mayLookSecret(flag string) bool { return strings.HasPrefix(flag, "capgo-") }

// refuseSecretArguments refuses secrets in arguments.
func refuseSecretArguments(args []string) error {
	for _, arg := range args {
		if kind := secretKind(arg); kind == privateKeyText || kind == fleetKeyText {
			return secretArgument(kind)
		}
	}
	return nil
}

// isValue reports whether the value of a flag for a secret is the secret itself.
func isValue(text string) bool {
	isKey := func(line string) bool { return secretKind(line) == fleetKeyText }
	return strings.Contains(text, "-----BEGIN") || slices.ContainsFunc(strings.Split(text, "\n"), isKey)
}

// isNameable reports whether text can be shown as the name of a file: it is not a secret, not even a truncated one.
func isNameable(text string) bool {
	return secretKind(text) == "" && !strings.ContainsAny(text, "\n\r") && !strings.Contains(text, "-----") &&
		(len(text) < 32 || strings.ContainsAny(text, "._-") || !isMixed(text))
}

// isFile reports whether the value of a flag for a secret is the name of a file, which need not exist.
func isFile(given string) bool { return given != "-" && !isValue(given) && isNameable(given) }

// secret is a secret and its source.
type secret struct {
	raw  []byte
	from string // for messages
	file bool   // from is the name of a file
}

// readSecret reads a secret from the value of a flag: the secret itself, - for standard input, or the name of a file.
// Errors never contain the secret, even if it was passed where a file name is expected.
func (sh *shell) readSecret(flag, given string, limit int64) (secret, error) {
	s := secret{from: "--" + flag}
	switch {
	case given == "-":
		if sh.stdinRead {
			return s, &usageError{message: "--" + flag + ": - can be used only once: standard input has one key"}
		}
		sh.stdinRead = true
		raw, err := io.ReadAll(io.LimitReader(sh.stdin, limit+1))
		if err != nil {
			return s, fmt.Errorf("--%s: standard input: %w", flag, err)
		}
		s.raw, s.from = raw, "standard input"
	case isValue(given):
		s.raw = []byte(given)
		if !strings.Contains(given, "\n") {
			s.raw = []byte(strings.ReplaceAll(given, `\n`, "\n")) // PEM in one line, from an environment or YAML
		}
	case !isNameable(given):
		return s, sh.notAKey(flag, given)
	default:
		raw, err := readSecretFile(given, limit)
		if err != nil {
			return s, err
		}
		s.raw, s.from, s.file = raw, given, true
	}
	sh.secrets.addFrom(string(s.raw))
	return s, nil
}

// notAKey returns an error that describes a value that is not a key, without showing it.
func (sh *shell) notAKey(flag, given string) error {
	sh.secrets.add(given)
	description := fmt.Sprintf("a string of %d characters", len(given))
	if kind := secretKind(given); kind != "" {
		description = kind + " without its PEM lines"
	} else if _, err := os.Stat(given); err == nil {
		description = "a file whose name looks like a key"
	}
	return &usageError{
		message: fmt.Sprintf("--%s: want a key or the name of a file, got %s", flag, description),
		hint:    "pass the name of a file, PEM from -----BEGIN to END-----, or - for standard input",
	}
}

// signingFlagOf returns the name of the flag of cmd for keys that sign.
func signingFlagOf(cmd *cobra.Command) string {
	name := "key"
	if cmd != nil {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Annotations[orFlag] != nil {
				name = f.Name
			}
		})
	}
	return name
}

// readKeys reads the private keys from the values of a flag of the verb, and those that --key-command prints. It warns
// of files that others can read.
func (sh *shell) readKeys(given []string) (keys []channel.PrivateKey, err error) {
	flag := signingFlagOf(sh.running)
	for _, one := range given {
		s, err := sh.readSecret(flag, one, channel.MaxKey)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = withHint(err, "brink key new %s makes a key", one)
			}
			return nil, err
		}
		key, err := channel.ParsePrivateKey(s.raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.from, err)
		}
		if s.file {
			sh.warnIfShared(s.from)
		}
		keys = append(keys, key)
	}
	if sh.running == nil || !sh.running.Flags().Changed(keyCommandFlag) {
		return keys, nil
	}
	printed, err := sh.runKeyCommand(sh.running.Context(), sh.running.Flags().Lookup(keyCommandFlag).Value.String())
	return append(keys, printed...), err
}

// runKeyCommand runs a program that prints private keys, such as an agent or the client of a vault.
func (sh *shell) runKeyCommand(ctx context.Context, line string) (keys []channel.PrivateKey, err error) {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("--"+keyCommandFlag+": "+format, args...)
	}
	words, err := splitWords(line)
	if err != nil || len(words) == 0 {
		return nil, &usageError{message: "--" + keyCommandFlag + ": want a program and its arguments, with balanced quotes"}
	}
	var printed bytes.Buffer
	command := exec.CommandContext(ctx, words[0], words[1:]...)
	command.Stdin, command.Stdout, command.Stderr = sh.stdin, &printed, sh.stderr
	command.Env = sh.environ
	command.WaitDelay = 5 * time.Second // an agent started by the program may inherit its output
	if err = command.Run(); errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	defer clear(printed.Bytes())
	sh.secrets.addFrom(printed.String())
	if name := (*exec.Error)(nil); errors.As(err, &name) {
		return nil, refuse("the program cannot be run: %w", name.Err)
	}
	if err != nil {
		return nil, refuse("the program failed: %w", err)
	}
	const last = "-----END PRIVATE KEY-----"
	for block := range strings.SplitAfterSeq(printed.String(), last) {
		if strings.TrimSpace(block) == "" && len(keys) > 0 {
			continue
		}
		key, err := channel.ParsePrivateKey([]byte(block))
		if err != nil {
			return nil, refuse("the output of the program: %w", err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// splitWords splits a line as a shell does, with single and double quotes, but without expansions and escapes.
func splitWords(line string) (words []string, err error) {
	var word strings.Builder
	started, quote := false, rune(0)
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, started = r, true
		case quote == 0 && strings.ContainsRune(" \t\r\n", r):
			if started {
				words = append(words, word.String())
				word.Reset()
				started = false
			}
		default:
			started = true
			word.WriteRune(r)
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	if started {
		words = append(words, word.String())
	}
	return words, nil
}

// readSecretFile is readFile for files that may contain a secret.
func readSecretFile(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return io.ReadAll(io.LimitReader(f, limit+1))
}
