package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"brink/bench/cost"
	"brink/channel"
	"brink/gossip"
)

// leak is a secret as somebody may give it, and what of it must never be seen.
type leak struct {
	kind, text string
	hidden     []string
}

func leaks(t *testing.T) []leak {
	t.Helper()
	key, err := channel.NewKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	line := base64.StdEncoding.EncodeToString(block.Bytes)
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	capgo := string(pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(long),
	}))
	var capgoLines []string
	for _, one := range strings.Fields(capgo) {
		if !strings.Contains(one, "-") && len(one) >= pieceSize {
			capgoLines = append(capgoLines, one)
		}
	}
	fleet := gossip.NewKey()
	const s3 = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" // of Amazon's documentation
	return []leak{
		{"PEM", string(raw), []string{line}},
		{"PEM in one line", strings.ReplaceAll(string(raw), "\n", `\n`), []string{line}},
		{"PEM that is cut off", string(raw[:len(raw)-20]), []string{line}},
		{"base64", line, []string{line}},
		{"RSA", capgo, capgoLines},
		{"fleet key", fleet, []string{fleet}},
		{"fleet keys", "# secret\n" + fleet + "\n" + gossip.NewKey() + "\n", []string{fleet}},
		{"S3", s3, []string{s3}},
	}
}

// checkHidden refuses output in which a piece of the secret can be read.
func checkHidden(t *testing.T, how, output string, s leak) {
	t.Helper()
	for _, hidden := range s.hidden {
		for i := 0; i+pieceSize <= len(hidden); i++ {
			if strings.Contains(output, hidden[i:i+pieceSize]) {
				t.Errorf("%s: the %s is shown in:\n%s", how, s.kind, output)
				return
			}
		}
	}
}

// tell runs the program and returns all that it prints.
func tell(ctx context.Context, stdin string, environ []string, args ...string) (int, string) {
	var out strings.Builder
	code := run(ctx, args, environ, strings.NewReader(stdin), &out, &out)
	return code, out.String()
}

// Wherever a secret is put by mistake, or rightly, it is not shown: in each flag, variable and key of the file of each
// verb, as arguments, as names of flags, variables, verbs and files.
func TestSecrets_AreNeverShown(t *testing.T) {
	t.Chdir(t.TempDir())
	// What would last, such as a node, ends at once.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	root := newRoot(&shell{})
	secrets := leaks(t)
	verbs, flags := 0, 0
	walk(root, func(cmd *cobra.Command) {
		if cmd.RunE == nil {
			return
		}
		path := strings.Fields(cmd.CommandPath())[1:]
		args := path
		// Something for what is required, so that a verb goes on to what it does with a secret.
		for range strings.Count(cmd.Use, " ") {
			args = append(slices.Clone(args), "word")
		}
		try := func(how string, s leak, stdin string, environ []string, more ...string) {
			_, output := tell(ended, stdin, environ, append(slices.Clone(args), more...)...)
			checkHidden(t, strings.Join(path, " ")+" "+how, output, s)
		}
		// Each secret goes each way, if not with each verb and flag: that would be 10,000 runs.
		verbs++
		for i, s := range secrets {
			switch (verbs + i) % 6 {
			case 0:
				try("argument", s, "", nil, s.text)
			case 1:
				_, output := tell(ended, "", nil, append(slices.Clone(path), s.text)...)
				checkHidden(t, strings.Join(path, " ")+" as its argument", output, s)
			case 2:
				try("name of a flag", s, "", nil, "--"+s.text)
				try("name and value of a flag", s, "", nil, "--nothing="+s.text)
			case 3:
				try("value of -x", s, "", nil, "-x"+s.text)
			case 4:
				try("settings", s, "", nil, "--config", s.text)
			case 5:
				try("variable", s, "", []string{"BRINK_NOTHING=" + s.text, "BRINK_" + s.text + "=1"})
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" {
				return
			}
			flags++
			flag, name := "--"+f.Name, variable(f.Name)
			try(flag, secrets[0], "", nil, flag+"="+secrets[0].text)
			for i, s := range secrets {
				if (flags/6+i)%2 != 0 {
					continue
				}
				switch (flags + i) % 6 {
				case 0:
					try(flag, s, "", nil, flag+"="+s.text)
				case 1:
					try("--json "+flag, s, "", nil, "--json", flag+"="+s.text)
				case 2:
					try(name, s, "", []string{name + "=" + s.text})
				case 3:
					try("--help and "+name, s, "", []string{name + "=" + s.text}, "--help")
				case 4:
					file := filepath.Join(t.TempDir(), "brink.yaml")
					yaml := f.Name + ": |\n  " + strings.ReplaceAll(s.text, "\n", "\n  ") + "\nnothing: 1\n"
					if flags%2 == 0 {
						yaml = f.Name + ": " + s.text // which may be no YAML at all
					}
					if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
						t.Fatal(err)
					}
					try("file, "+f.Name, s, "", nil, "--config", file)
				case 5:
					try("- for "+flag, s, s.text, nil, flag+"=-")
				}
			}
		})
	})
	for _, s := range secrets {
		for _, args := range [][]string{{s.text}, {"channel", s.text}, {"--" + s.text}, {"help", s.text}} {
			_, output := tell(ended, "", nil, args...)
			checkHidden(t, "as a verb", output, s)
		}
	}
	if verbs < 30 || flags < 200 {
		t.Errorf("only %d verbs with %d flags were tried", verbs, flags)
	}
}

// Where something public is wanted, a private key is refused by its kind, and a file that holds one as well.
func TestSecrets_AreRefusedWherePublicThingsAreWanted(t *testing.T) {
	t.Chdir(t.TempDir())
	private := leaks(t)[0]
	if err := os.WriteFile("it.key", []byte(private.text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"serve", "--data", "d", "--trust", private.text},
		{"serve", "--data", "d", "--trust", "it.key"},
		{"org", "new", "acme", "--root", "it.key", "--publisher", private.text, "--apps", "*", "--out", "x"},
		{"org", "new", "acme", "--root", "it.key", "--publisher", "it.key", "--apps", "*", "--out", "x"},
		{"org", "show", "it.key"},
		{"org", "show", private.text},
		{"publish", private.text, "--node", "http://127.0.0.1:1", "--key", "it.key"},
		{"key", "show", private.text},
		{"key", "new", private.text},
	} {
		code, output := tell(t.Context(), "", nil, args...)
		if code != exitUsage || !strings.Contains(output, "private key") {
			t.Errorf("%q: exit code %d: %s", args[:2], code, output)
		}
		checkHidden(t, args[0], output, private)
	}
}

// Private keys come from files, values, standard input and programs alike, by flag, variable and file of settings.
func TestKeys_ComeFromAnywhere(t *testing.T) {
	t.Chdir(t.TempDir())
	private := leaks(t)[0]
	key, err := channel.ParsePrivateKey([]byte(private.text))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("it.key", private.text)
	write("it.pub", string(key.Public().MarshalPEM()))
	write("with space.key", private.text)
	write("key.yaml", "root: |\n  "+strings.ReplaceAll(private.text, "\n", "\n  "))
	write("command.yaml", "key-command: cat it.key")
	for how, c := range map[string]struct {
		stdin   string
		environ []string
		args    []string
	}{
		"file":                     {"", nil, []string{"--root", "it.key"}},
		"value":                    {"", nil, []string{"--root", private.text}},
		"standard input":           {private.text, nil, []string{"--root", "-"}},
		"file in the environment":  {"", []string{"BRINK_ROOT=it.key"}, nil},
		"value in the environment": {"", []string{"BRINK_ROOT=" + private.text}, nil},
		"one line":                 {"", []string{"BRINK_ROOT=" + strings.ReplaceAll(private.text, "\n", `\n`)}, nil},
		"value in a file":          {"", nil, []string{"--config", "key.yaml"}},
		"command":                  {"", nil, []string{"--key-command", "cat it.key"}},
		"command with quotes":      {"", nil, []string{"--key-command", "cat 'with space.key'"}},
		"command in environment":   {"", []string{"BRINK_KEY_COMMAND=cat it.key"}, nil},
		"command in a file":        {"", nil, []string{"--config", "command.yaml"}},
		"command that reads":       {private.text, nil, []string{"--key-command", "cat"}},
	} {
		args := append([]string{"org", "new", "acme", "--publisher", "it.pub", "--apps", "*", "--out", "x.json"}, c.args...)
		environ := append(os.Environ(), c.environ...)
		code, output := tell(t.Context(), c.stdin, environ, args...)
		if code != exitOK || !strings.Contains(output, key.Public().ID()) {
			t.Errorf("%s: exit code %d: %s", how, code, output)
		}
		checkHidden(t, how, output, private)
		_ = os.Remove("x.json")
	}
	for how, args := range map[string][]string{
		"nothing":            nil,
		"twice from stdin":   {"--root", "-", "--root", "-"},
		"no such program":    {"--key-command", "no-such-program-here"},
		"program that fails": {"--key-command", "cat no-such-file"},
		"program of no key":  {"--key-command", "echo none"},
		"open quote":         {"--key-command", "cat 'it.key"},
		"empty":              {"--key-command", " "},
		"no file":            {"--root", "missing.key"},
	} {
		args := append([]string{"org", "new", "acme", "--publisher", "it.pub", "--apps", "*", "--out", "x.json"}, args...)
		code, output := tell(t.Context(), private.text, os.Environ(), args...)
		if code == exitOK {
			t.Errorf("%s: done: %s", how, output)
		}
		if how != "no file" && how != "twice from stdin" && how != "nothing" && !strings.Contains(output, "--key-command") {
			t.Errorf("%s: the flag is not named: %s", how, output)
		}
		checkHidden(t, how, output, private)
	}
}

// A fleet key by value is a setting like its file, and shown as neither.
func TestKeys_OfFleetsByValue(t *testing.T) {
	t.Chdir(t.TempDir())
	fleet := leaks(t)[6]
	args := []string{"config", "check", "--data", "d", "--fleet", "f"}
	for how, c := range map[string]struct {
		stdin   string
		environ []string
		args    []string
	}{
		"flag":        {"", nil, []string{"--fleet-key", fleet.text}},
		"environment": {"", []string{"BRINK_FLEET_KEY=" + fleet.hidden[0]}, nil},
		"stdin":       {fleet.text, nil, []string{"--fleet-key", "-"}},
	} {
		code, output := tell(t.Context(), c.stdin, c.environ, append(slices.Clone(args), c.args...)...)
		if code != exitOK {
			t.Errorf("%s: exit code %d: %s", how, code, output)
		}
		checkHidden(t, how, output, fleet)
	}
	code, output := tell(t.Context(), "", nil, append(args, "--fleet-key", fleet.hidden[0][:40])...)
	if code != exitUsage || !strings.Contains(output, "--fleet-key") {
		t.Errorf("a key that was cut off: exit code %d: %s", code, output)
	}
	checkHidden(t, "a key that was cut off", output, fleet)
}

// A panic, too, is told without secrets.
func TestSecrets_AreNotInPanics(t *testing.T) {
	private := leaks(t)[0]
	var out strings.Builder
	sh := &shell{}
	sh.secrets.addFrom(private.text)
	sh.stdout, sh.stderr = guard{&out, &sh.secrets}, guard{&out, &sh.secrets}
	err := sh.execute(t.Context(), &cobra.Command{Use: "x", Run: func(*cobra.Command, []string) { panic(private.text) }})
	if err == nil {
		t.Fatal("the panic was no error")
	}
	sh.fail(err)
	if !strings.Contains(out.String(), "panic: ") {
		t.Errorf("told is %q", out.String())
	}
	checkHidden(t, "panic", out.String(), private)
}

func TestGuard_HidesPiecesAndNothingElse(t *testing.T) {
	t.Parallel()
	const secret = "abcdefghijklmnopqrstuvwxyz+/0123456789"
	var s secrets
	s.add(secret)
	for text, want := range map[string]string{
		"plain text of some length":           "plain text of some length",
		"":                                    "",
		secret:                                redacted,
		"a " + secret + " b " + secret + " c": "a [secret] b [secret] c",
		"cut " + secret[3:20] + ".":           "cut [secret].",
		"short " + secret[:pieceSize-1]:       "short " + secret[:pieceSize-1],
		"url%20abcdefghijklmnopqrstuvwxyz%2B%2F0123456789!": "url%20[secret]!",
		strings.ToUpper(secret) + secret:                    "[secret][secret]",
	} {
		var out strings.Builder
		if n, err := (guard{&out, &s}).Write([]byte(text)); n != len(text) || err != nil {
			t.Fatalf("wrote %d of %d: %v", n, len(text), err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	if _, err := (guard{full{}, &s}).Write([]byte("x")); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a writer that fails: %v", err)
	}
}

func TestSecretKind_KnowsOtherTexts(t *testing.T) {
	t.Parallel()
	public, err := channel.NewKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"", "-", "ci.key", "/home/Alice/Projects1/release/keys/production", "com.acme.shop", "http://127.0.0.1:8080",
		string(public.Public().MarshalPEM()), public.Public().ID(),
		"2f7d4a1b9c8e6f5a3b2c1d0e9f8a7b6c5d4e3f2a", strings.Repeat("a", 44), strings.Repeat("word ", 20),
	} {
		if kind := secretKind(text); kind != "" {
			t.Errorf("%q is taken for %s", text, kind)
		}
	}
	for _, run := range []string{ // keys that were cut off, without a digit, and with many slashes
		"MplVqfZJvzxIm+ZzJhQFAPfJrhYSeGatmuakgpon", "MplVqfZJvzxImxZzJhQFAPfJrhYSeGatmuakgpon",
		"Mp/Vqf/Jvzx/m0ZzJh/FAPfJrhY/eGatmuakgpon",
	} {
		if kind := secretKind(run); kind != s3KeyText {
			t.Errorf("%q is taken for %q", run, kind)
		}
	}
	for _, s := range leaks(t) {
		if s.kind != "fleet keys" && secretKind(s.text) == "" {
			t.Errorf("the %s is taken for nothing", s.kind)
		}
	}
}

func FuzzSplitWords(f *testing.F) {
	f.Add(`vault "read" 'a b' c""`)
	f.Fuzz(func(t *testing.T, line string) {
		var words []string
		var err error
		cost.Check(t, len(line), func() { words, err = splitWords(line) })
		if err != nil {
			return
		}
		var again []string
		for _, word := range words {
			if strings.Contains(word, "'") && strings.Contains(word, `"`) {
				return
			}
			quote := "'"
			if strings.Contains(word, "'") {
				quote = `"`
			}
			again = append(again, fmt.Sprint(quote, word, quote))
		}
		if got, err := splitWords(strings.Join(again, " ")); err != nil || !slices.Equal(got, words) {
			t.Errorf("%q are %q when quoted and split again: %v", words, got, err)
		}
	})
}
