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
	secretFlag = "secret" // its value may be a secret, or name one
	orFlag     = "or"     // required, unless the flag that this names is given
)

const keyCommandFlag = "key-command"

// secretSources is what the flags of secrets have in common, for their help.
const secretSources = "its name, the key itself, or - for standard input"

// markSecret says that flags take a secret in each of its forms; all others refuse one.
func markSecret(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := cmd.Flags().SetAnnotation(name, secretFlag, []string{"true"}); err != nil {
			panic(err) // a flag that the verb does not have
		}
	}
}

// signingFlag gives cmd a flag for the private keys that sign, and --key-command in its place.
func signingFlag(cmd *cobra.Command, keys *[]string, name, usage string) {
	flags := cmd.Flags()
	flags.StringArrayVar(keys, name, nil, usage)
	flags.String(keyCommandFlag, "", "`COMMAND` that prints private keys for --"+name+", in its place or beside it")
	markSecret(cmd, name)
	if err := flags.SetAnnotation(name, orFlag, []string{keyCommandFlag}); err != nil {
		panic(err)
	}
	flags.Lookup(name).Usage += " (required, or --" + keyCommandFlag + ")"
}

// lacks reports whether a flag is required and not given.
func lacks(flags *pflag.FlagSet, f *pflag.Flag) bool {
	if f.Changed {
		return false
	}
	if or := f.Annotations[orFlag]; or != nil {
		return !flags.Changed(or[0])
	}
	return f.Annotations[cobra.BashCompOneRequiredFlag] != nil
}

// flagValues returns the values that a flag has.
func flagValues(f *pflag.Flag) []string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{f.Value.String()}
}

// refuseSecrets refuses secrets where something else is wanted: whatever becomes of the value would show it, store it
// or send it.
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
					message: fmt.Sprintf("--%s: %s was given, where something public is wanted", f.Name, kind),
					hint:    exposedHint,
				}).of(cmd)
				return
			}
		}
	})
	return problem
}

const exposedHint = "it is not used; whoever can read your shell's history or this machine's processes may have it: " +
	"consider to replace it"

func secretArgument(kind string) *usageError {
	return &usageError{
		message: kind + " was given as an argument, where a name or something public is wanted", hint: exposedHint,
	}
}

// mayLookSecret tells flags whose values may look like a fleet key by chance: digests and what is encrypted.
func mayLookSecret(flag string) bool { return strings.HasPrefix(flag, "capgo-") }

// refuseSecretArguments is refuseSecrets for arguments.
func refuseSecretArguments(args []string) error {
	for _, arg := range args {
		if kind := secretKind(arg); kind == privateKeyText || kind == fleetKeyText {
			return secretArgument(kind)
		}
	}
	return nil
}

// isValue reports whether what a flag of a secret was given is the secret itself.
func isValue(text string) bool {
	isKey := func(line string) bool { return secretKind(line) == fleetKeyText }
	return strings.Contains(text, "-----BEGIN") || slices.ContainsFunc(strings.Split(text, "\n"), isKey)
}

// isNameable reports whether text can be shown as the name of a file: it is no secret, nor one that was cut or spoilt.
func isNameable(text string) bool {
	return secretKind(text) == "" && !strings.ContainsAny(text, "\n\r") && !strings.Contains(text, "-----") &&
		(len(text) < 32 || strings.ContainsAny(text, "._-") || !isMixed(text))
}

// isFile reports whether what a flag of a secret was given is the name of a file, which need not exist.
func isFile(given string) bool { return given != "-" && !isValue(given) && isNameable(given) }

// secret is one that was read, and what to call where it came from.
type secret struct {
	raw  []byte
	from string
	file bool // from is the name of a file
}

// readSecret reads what the flag was given: the secret itself, - for standard input, or the name of a file. Errors
// never hold the secret, though it may be taken for the name of a file.
func (sh *shell) readSecret(flag, given string, limit int64) (secret, error) {
	s := secret{from: "--" + flag}
	switch {
	case given == "-":
		if sh.stdinRead {
			return s, &usageError{message: "--" + flag + ": standard input was read already, it holds one key"}
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
			s.raw = []byte(strings.ReplaceAll(given, `\n`, "\n")) // as environments and YAML have PEM in one line
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
	sh.secrets.learn(string(s.raw))
	return s, nil
}

// notAKey says what was given in the place of a key, and does not show it.
func (sh *shell) notAKey(flag, given string) error {
	sh.secrets.add(given)
	what := fmt.Sprintf("a text of %d characters", len(given))
	if kind := secretKind(given); kind != "" {
		what = kind + " without its PEM lines"
	} else if _, err := os.Stat(given); err == nil {
		what = "a file whose name looks like a key"
	}
	return &usageError{
		message: fmt.Sprintf("--%s: neither a key nor the name of a file was given, but %s", flag, what),
		hint:    "give the name of a file, PEM from -----BEGIN to END-----, or - for standard input",
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

// readKeys reads the private keys that the flags of the verb name or are, and those that --key-command prints. It warns
// of files that others can read too.
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
		return nil, &usageError{message: "--" + keyCommandFlag + ": want a program and its arguments, with quotes in pairs"}
	}
	var printed bytes.Buffer
	command := exec.CommandContext(ctx, words[0], words[1:]...)
	command.Stdin, command.Stdout, command.Stderr = sh.stdin, &printed, sh.stderr
	command.Env = sh.environ
	command.WaitDelay = 5 * time.Second // an agent that it has started may keep its output open
	if err = command.Run(); errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	defer clear(printed.Bytes())
	sh.secrets.learn(printed.String())
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
			return nil, refuse("what the program printed: %w", err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// splitWords splits a line as a shell does, but for what a shell replaces: quotes of both kinds hold words together.
func splitWords(line string) (words []string, err error) {
	var word strings.Builder
	begun, quote := false, rune(0)
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, begun = r, true
		case quote == 0 && strings.ContainsRune(" \t\r\n", r):
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		default:
			begun = true
			word.WriteRune(r)
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}

// readSecretFile is readFile for files that may hold a secret.
func readSecretFile(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return io.ReadAll(io.LimitReader(f, limit+1))
}
