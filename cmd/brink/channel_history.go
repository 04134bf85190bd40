package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"brink/channel"
)

// history is what channel history prints.
type history struct {
	App      string            `json:"app"`
	Channel  string            `json:"channel"`
	Sequence uint64            `json:"sequence"`
	Releases []channel.Release `json:"releases"` // what is served now, then what was served before, newest first
}

func channelHistoryCommand(sh *shell) *cobra.Command {
	var c channelFlags
	cmd := verb("history", "List the releases that a channel has served",
		fmt.Sprintf("A rollback can go back to these releases. A channel remembers the last %d.", channel.MaxHistory),
		"  brink channel history --node http://127.0.0.1:8080 --app com.acme.shop --channel production",
		func(cmd *cobra.Command, _ []string) error {
			if err := checkNodes(cmd, c.node); err != nil {
				return err
			}
			m, err := sh.manifest(cmd.Context(), c)
			if err != nil {
				return err
			}
			h := history{App: m.App, Channel: m.Channel, Sequence: m.Sequence}
			for r := range m.Releases() {
				h.Releases = append(h.Releases, *r)
			}
			return sh.show(h, h.text)
		})
	c.add(cmd)
	c.addTrust(cmd)
	required(cmd, "channel")
	sh.printsJSON(cmd)
	return cmd
}

func (h history) text(w io.Writer) {
	fmt.Fprintf(w, "%s of %s, newest first\n", h.Channel, h.App)
	t := newTable("lllr", "", "VERSION", "CREATED", "ARCHIVE")
	for i, r := range h.Releases {
		now := ""
		if i == 0 {
			now = "now"
		}
		t.add(now, r.Version, moment(r.Created), human(r.Size))
	}
	t.write(w)
}
