// Command brink runs an edge network for over-the-air updates. One binary is the node, the publisher's tool and the
// device's client.
//
// The life of one call: [run] builds the tree of verbs, cobra finds the requested one, its settings are read from
// flags, environment and file, the verb does its work through the packages below, and its result is printed once and
// mapped to an exit code. The invariant: only results go to stdout; progress, logs, warnings and errors go to stderr.
//
// Each verb is in a file named after it: brink org update is in org_update.go. Code that the verbs of org share is in
// org.go and in other files named org_ and a noun. Code that several nouns share is in the files whose names start with
// flag (flag values and their parsing) and shell (settings, secrets, output, exit codes, requests to nodes).
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
	// The first Ctrl-C shuts down gracefully and restores the default handling of signals: the second one kills.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program. The args are without the program's name, environ is as from [os.Environ]. It returns the
// exit code when the verb is done, or soon after ctx is.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	sh := &shell{stdin: stdin, environ: environ}
	sh.secrets.addAll(args, environ)
	sh.stdout, sh.stderr = guard{stdout, &sh.secrets}, guard{stderr, &sh.secrets}
	root := newRoot(sh)
	root.SetArgs(append([]string{}, args...)) // with nil, cobra would read os.Args
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
	sh.asJSON = sh.asJSON || slices.Contains(args, "--json") // parsing the flags may have failed
	return sh.fail(err)
}

// execute runs the verb. A panic becomes an error, so that its message goes through the same filter as all output.
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
	root := group("brink", "Run an edge network for over-the-air updates",
		`Brink stores app bundles on small nodes near the devices, answers whether there is an update for a device, and
sends only the bytes that changed. This binary is the node, the publisher's tool and the device's client.

Every flag can also be set in the environment (--log-level is BRINK_LOG_LEVEL; separate several values with commas;
an empty variable counts as not set) or in a YAML file named by --config or BRINK_CONFIG (log-level: …; several
values are a list). Flags override the environment, the environment overrides the file, the file overrides defaults.`,
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
	sh.prepare(root)
	return root
}
