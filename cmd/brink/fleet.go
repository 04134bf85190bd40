package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brink/gossip"
	"brink/protocol"
)

func fleetCommand(sh *shell) *cobra.Command {
	return group("fleet", "Look after nodes that belong together",
		`Nodes of a fleet tell each other what was published, and get from each other what they lack. They share a name and
a key; see serve --fleet. The verbs ask one of the nodes at its private address (serve --admin).`,
		fleetStatusCommand(sh), fleetDrainCommand(sh), fleetKeyCommand(sh))
}

// adminFlag gives cmd the flag --node for a node's private address.
func adminFlag(cmd *cobra.Command, node *string) {
	cmd.Flags().StringVar(node, "node", "", "private `URL` of any node of the fleet, as serve has it with --admin")
	required(cmd, "node")
}

// maxFleetStatus bounds what a node says about a fleet, in bytes.
const maxFleetStatus = 16 << 20

func fleetStatusCommand(sh *shell) *cobra.Command {
	var node string
	var watch time.Duration
	cmd := verb("status", "Tell which nodes there are, and how far each is",
		`BEHIND counts sequences: how many moves of channels a node lacks of what any node has. A node that is known and
does not answer is shown with the reason.`,
		`
  brink fleet status --node http://127.0.0.1:9090
  brink fleet status --node http://127.0.0.1:9090 --watch=5s
  brink fleet status --node http://127.0.0.1:9090 --json`,
		func(cmd *cobra.Command, _ []string) error {
			if err := checkNodes(cmd, node); err != nil {
				return err
			}
			for {
				var status protocol.FleetStatus
				if err := askJSON(cmd.Context(), node, "/fleet", maxFleetStatus, &status); err != nil {
					return err
				}
				if err := sh.show(status, func(w io.Writer) { fleetText(w, status) }); err != nil || watch <= 0 {
					return err
				}
				timer := time.NewTimer(watch)
				select {
				case <-timer.C:
				case <-cmd.Context().Done():
					timer.Stop()
					return nil
				}
			}
		})
	adminFlag(cmd, &node)
	cmd.Flags().DurationVar(&watch, "watch", 0, "show it again and again, this `TIME` apart")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	sh.printsJSON(cmd)
	return cmd
}

func fleetText(w io.Writer, s protocol.FleetStatus) {
	if s.Fleet == "" {
		fmt.Fprintln(w, "the node belongs to no fleet")
	} else {
		fmt.Fprintf(w, "fleet %s: %s, %s\n", s.Fleet, count(len(s.Nodes), "node"), count(s.Channels, "channel"))
	}
	t := newTable("llllrrr", "NODE", "REGION", "STATE", "VERSION", "BUNDLES", "FILLING", "BEHIND")
	for _, n := range s.Nodes {
		if n.Error != "" {
			t.add(n.Node, cmp.Or(n.Region, "-"), "unreachable", n.Version, "-", "-", "-")
			continue
		}
		t.add(cmp.Or(n.Node, "this one"), cmp.Or(n.Region, "-"), n.State, n.Version, grouped(int64(n.Bundles)),
			grouped(int64(n.Filling)), grouped(int64(n.Behind)))
	}
	t.write(w)
	for _, n := range s.Nodes {
		for _, lag := range n.Lacking {
			has := "nothing"
			if lag.Has > 0 {
				has = fmt.Sprintf("sequence %d", lag.Has)
			}
			fmt.Fprintf(w, "  %s has %s of %s %s, others have %d\n", n.Node, has, lag.App, lag.Channel, lag.Sequence)
		}
		if n.Error != "" {
			fmt.Fprintf(w, "  %s does not answer: %s\n", n.Node, n.Error)
		}
		for _, reason := range n.Reasons {
			if reason != n.State {
				fmt.Fprintf(w, "  %s: %s\n", cmp.Or(n.Node, "this node"), reason)
			}
		}
	}
}

func fleetDrainCommand(sh *shell) *cobra.Command {
	var node string
	var undo bool
	cmd := verb("drain NAME", "Take a node out of service, and leave it running",
		`The node says that it is not ready, so that load balancers send devices elsewhere, and other nodes ask it last. It
goes on answering whatever still comes, and takes part in the fleet. It is ready again after --undo or a restart.
To end a node, SIGTERM does all of this first.`,
		`
  brink fleet drain edge-2 --node http://127.0.0.1:9090
  brink fleet drain edge-2 --node http://127.0.0.1:9090 --undo`,
		func(cmd *cobra.Command, args []string) error {
			if err := checkNodes(cmd, node); err != nil {
				return err
			}
			query := url.Values{"node": {args[0]}}
			if undo {
				query.Set("undo", "1")
			}
			var status protocol.NodeStatus
			path := "/fleet/drain?" + query.Encode()
			err := exchange(cmd.Context(), http.MethodPost, node, path, nil, maxFleetStatus, &status)
			if err != nil {
				return err
			}
			status.Channels = nil
			return sh.show(status, func(w io.Writer) { fmt.Fprintf(w, "node %s is %s\n", args[0], status.State) })
		})
	cmd.Args = args("NAME")
	adminFlag(cmd, &node)
	cmd.Flags().BoolVar(&undo, "undo", false, "take it into service again")
	sh.printsJSON(cmd)
	return cmd
}

func fleetKeyCommand(sh *shell) *cobra.Command {
	return group("key", "Make and replace the key of a fleet",
		`All nodes of a fleet have the same key, in the file that serve has as --fleet-key. It encrypts what they tell each
other and lets them know each other's requests. It gives nobody the right to publish.`,
		fleetKeyNewCommand(sh), fleetKeyRotateCommand(sh))
}

func fleetKeyNewCommand(sh *shell) *cobra.Command {
	cmd := verb("new FILE", "Make the key of a new fleet",
		`Only you can read FILE. Bring it to all nodes by a way that nobody else can read. A file that exists is never
overwritten.`,
		"  brink fleet key new fleet.key",
		func(_ *cobra.Command, args []string) error {
			file, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return withHint(err, "an existing key is replaced by brink fleet key rotate")
			}
			_, err = io.WriteString(file, gossip.NewKey()+"\n")
			if closing := file.Close(); err == nil {
				err = closing
			}
			if err != nil {
				return err
			}
			return sh.show(map[string]string{"file": args[0]}, func(w io.Writer) {
				fmt.Fprintf(w, "fleet key in %s (keep it secret)\n", args[0])
			})
		})
	cmd.Args = args("FILE")
	sh.printsJSON(cmd)
	return cmd
}

func fleetKeyRotateCommand(sh *shell) *cobra.Command {
	var node string
	cmd := verb("rotate", "Give a fleet a new key while it runs",
		`The node that is asked makes a key and brings it to all others, sealed under the present one, in three steps: all
know it, all use it, all forget the former one. Each node writes its key file. It stops at the first node that does
not answer, and nothing is lost by that: all nodes still know a key that they share; rotate again when it is back. A
node that was down meanwhile needs the new key file before it starts.`,
		"  brink fleet key rotate --node http://127.0.0.1:9090",
		func(cmd *cobra.Command, _ []string) error {
			if err := checkNodes(cmd, node); err != nil {
				return err
			}
			var done []protocol.Replica
			if err := exchange(cmd.Context(), http.MethodPost, node, "/fleet/rotate", nil, maxFleetStatus, &done); err != nil {
				return withHint(err, "see brink fleet status; then rotate again")
			}
			return sh.show(done, func(w io.Writer) {
				names := make([]string, len(done))
				for i, one := range done {
					names[i] = one.Node
				}
				fmt.Fprintf(w, "new key on %s: %s\n", count(len(done), "node"), strings.Join(names, ", "))
			})
		})
	adminFlag(cmd, &node)
	sh.printsJSON(cmd)
	return cmd
}
