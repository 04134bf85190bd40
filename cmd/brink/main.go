// Command brink is the edge of an over-the-air update network in one binary: the node, the publisher's tool and the
// device's.
//
// The life of one call: [run] builds the verbs, cobra finds the one that was asked for, its settings are filled from
// flags, environment and file, the verb does its work through the rooms below, and what came of it is printed once and
// turned into an exit code. The invariant: results go to stdout and nothing else does; progress, logs, warnings and
// errors go to stderr.
//
// A verb is in the file of its name: brink org update in org_update.go. What the verbs of org share is in org.go and in
// files of org that are named after no verb. What several nouns share is in the files that begin with flag (values of
// flags and what they are turned into) and shell (settings, secrets, output, exit codes, asking nodes).
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	// The first Ctrl-C ends what runs in good order. From then on signals do again what they do to any program: the
	// second one ends it at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program: args without the program's name, environ as from [os.Environ]. It returns the exit code.
// It returns when the verb is done, or soon after ctx is.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	sh := &shell{stdin: stdin, environ: environ}
	sh.secrets.learnAll(args, environ)
	sh.stdout, sh.stderr = guard{stdout, &sh.secrets}, guard{stderr, &sh.secrets}
	root := newRoot(sh)
	root.SetArgs(append([]string{}, args...)) // cobra takes nil for "read os.Args"
	root.SetIn(stdin)
	root.SetOut(sh.stdout)
	root.SetErr(sh.stderr)

	err := sh.execute(ctx, root)
	if err == nil {
		return exitOK
	}
	if !sh.started {
		err = asUsage(err)
	}
	sh.asJSON = sh.asJSON || slices.Contains(args, "--json") // flags may be what the error is about
	return sh.fail(err)
}

// execute runs the verb. A panic is the program's fault and becomes an error, so that what it tells passes where all
// output does.
func (sh *shell) execute(ctx context.Context, root *cobra.Command) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			sh.started = true
			fmt.Fprintf(sh.stderr, "%s\n", debug.Stack())
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	return root.ExecuteContext(ctx)
}

// newRoot returns the tree of all verbs.
func newRoot(sh *shell) *cobra.Command {
	root := group("brink", "The edge of an over-the-air update network",
		`Brink keeps app bundles on small nodes near the devices, answers "is there something new for me?", and hands
over only the bytes that changed. This one binary is the node, the publisher's tool and the device's.

Every flag can also be set in the environment (--log-level is BRINK_LOG_LEVEL; commas separate several values; an
empty variable counts as not set) or in a YAML file (log-level: …; several values are a list) that --config or
BRINK_CONFIG names. A flag counts before the environment, the environment before the file, the file before the
default.`,
		serveCommand(sh),
		publishCommand(sh),
		fetchCommand(sh),
		channelCommand(sh),
		keyCommand(sh),
		orgCommand(sh),
		signCommand(sh),
		bundleCommand(sh),
		storeCommand(sh),
		fleetCommand(sh),
		configCommand(sh),
		healthCommand(sh),
		doctorCommand(sh),
		statsCommand(sh),
		versionCommand(sh),
		demoCommand(sh),
	)
	root.Example = `  brink demo                    see it work in a minute
  brink serve --data ./data     run a node on this machine, with keys for development`
	root.Version = readBuild().Version
	root.SetVersionTemplate("brink {{.Version}}\n")
	root.PersistentFlags().StringVar(&sh.configFile, configFlag, "", "YAML `FILE` with settings")
	sh.dress(root)
	return root
}
