package main

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"brink/protocol"
)

func fleetStatusCommand(sh *shell) *cobra.Command {
	var node string
	var watch time.Duration
	cmd := verb("status", "List the nodes of a fleet, and what each one lacks",
		`BEHIND is the number of changes of channels, by their sequences, that other nodes have and this node lacks. A node
that does not answer is listed with the error.`,
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
	cmd.Flags().DurationVar(&watch, "watch", 0, "repeat the output every `TIME`")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	sh.printsJSON(cmd)
	return cmd
}

func fleetText(w io.Writer, s protocol.FleetStatus) {
	if s.Fleet == "" {
		fmt.Fprintln(w, "the node does not belong to a fleet")
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
