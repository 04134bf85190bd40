package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts call the program as brink: the test binary is the program then.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"brink": main})
}

// TestScripts runs the stories in testdata/script. Beside the commands of testscript they have:
//
//	json FILE PATH [VALUE]   the value at PATH (a.b.0.c) of the JSON in FILE is VALUE, or is there at all
//	keep NAME FILE PATH      sets the environment variable NAME to that value
//	contents NAME FILE       sets the environment variable NAME to what is in FILE
//	capgokey FILE            writes a private key as Capgo's CLI makes one
//	mode FILE PERM           the permission bits of FILE are PERM (octal)
//	tree DIR DIR             the two folders hold the same files
//	damage DIR TEXT          changes the first byte of TEXT in the one file below DIR that holds it
//	exits CODE brink ARGS    brink ends with that exit code
//	node NAME FLAGS          starts a node that serves beside the script; NODE is its URL
//	stop NAME [KILL]         ends it by Ctrl-C, or kills it; NAME.log is its stderr
//	port NAME                sets the environment variable NAME to an address of loopback that is free
//	watch PATTERN ARGS       runs brink until it prints a line that matches, and ends it
//	bucket                   starts an S3 store beside the script; BUCKET is the URL of a place in it, WEB for HTTP
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setup,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"json":   jsonCommand,
			"keep":   keepCommand,
			"mode":   modeCommand,
			"tree":   treeCommand,
			"damage": damageCommand,
			"exits":  exitsCommand,
			"node":   nodeCommand,
			"stop":   stopCommand,
			"bucket": bucketCommand,
			"port":   portCommand,
			"watch":  watchCommand,

			"capgokey": capgoKeyCommand,
			"contents": contentsCommand,
		},
	})
}

func jsonCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: json FILE PATH [VALUE]")
	}
	got, found := lookUp(ts, args[0], args[1])
	if match := found && (len(args) == 2 || got == args[2]); match == neg {
		ts.Fatalf("%s: %s is %q (there: %t)", args[0], args[1], got, found)
	}
}

func keepCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: keep NAME FILE PATH")
	}
	value, found := lookUp(ts, args[1], args[2])
	if !found {
		ts.Fatalf("%s has no %s", args[1], args[2])
	}
	ts.Setenv(args[0], value)
}

// lookUp finds the value at a path of names and numbers in the one JSON value that a file holds. Texts are returned as
// they are, other values as JSON.
func lookUp(ts *testscript.TestScript, file, path string) (string, bool) {
	var value any
	decoder := json.NewDecoder(strings.NewReader(ts.ReadFile(file)))
	decoder.UseNumber()
	ts.Check(decoder.Decode(&value))
	if decoder.More() {
		ts.Fatalf("%s holds more than one JSON value", file)
	}
	for step := range strings.SplitSeq(path, ".") {
		switch node := value.(type) {
		case map[string]any:
			next, found := node[step]
			if !found {
				return "", false
			}
			value = next
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(node) {
				return "", false
			}
			value = node[i]
		default:
			return "", false
		}
	}
	if text, ok := value.(string); ok {
		return text, true
	}
	raw, err := json.Marshal(value)
	ts.Check(err)
	return string(raw), true
}

func exitsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGS…")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if args[0] != strconv.Itoa(code) {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

func contentsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: contents NAME FILE")
	}
	ts.Setenv(args[0], ts.ReadFile(args[1]))
}

func capgoKeyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: capgokey FILE")
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	ts.Check(err)
	raw := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), raw, 0o600))
}

func modeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE PERM")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	want, err := strconv.ParseUint(args[1], 8, 32)
	ts.Check(err)
	if got := info.Mode().Perm(); got != os.FileMode(want) {
		ts.Fatalf("%s has mode %o, want %o", args[0], got, want)
	}
}

func treeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: tree DIR DIR")
	}
	a, b := readTree(ts, args[0]), readTree(ts, args[1])
	same := len(a) == len(b)
	for name, content := range a {
		same = same && b[name] == content
	}
	if same == neg {
		ts.Fatalf("%s has %d files, %s has %d; the same: %t", args[0], len(a), args[1], len(b), same)
	}
}

func damageCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: damage DIR TEXT")
	}
	found := 0
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if i := bytes.Index(content, []byte(args[1])); err == nil && i >= 0 {
			found++
			content[i] ^= 1
			err = os.WriteFile(path, content, entry.Type().Perm())
		}
		return err
	}))
	if found != 1 {
		ts.Fatalf("%d files hold %q, want 1", found, args[1])
	}
}

func readTree(ts *testscript.TestScript, dir string) map[string]string {
	files := map[string]string{}
	root, err := filepath.EvalSymlinks(ts.MkAbs(dir))
	ts.Check(err)
	ts.Check(filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		files[name] = string(content)
		return err
	}))
	if len(files) == 0 {
		ts.Fatalf("%s holds no files", dir)
	}
	return files
}
