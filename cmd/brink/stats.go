package main

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"brink/node/tally"
)

// maxStats bounds the answer to a question for statistics: all that can be counted on the days that can be asked for
// is more, and no table for people.
const maxStats = 64 << 20

func statsCommand(sh *shell) *cobra.Command {
	var node, app, version string
	var days int
	cmd := verb("stats", "Tell what devices did: checks, updates, versions, active devices",
		`It asks the private address of a node (serve --admin), and tells what came to all nodes of its fleet. Days and months
are those of UTC, and an event counts on the day on which it came. The number of devices is an estimate, off by about
one per cent; a device is one that told an ID. Which devices were seen is a sample, by which versions can be compared.`,
		`
  brink stats --node http://127.0.0.1:9090 --app com.acme.shop
  brink stats --node http://127.0.0.1:9090 --app com.acme.shop --days 7 --version 1.5.0
  brink stats --node http://127.0.0.1:9090 --app com.acme.shop --json`,
		func(cmd *cobra.Command, _ []string) error {
			if err := checkNodes(cmd, node); err != nil {
				return err
			}
			query := url.Values{"app": {app}, "days": {strconv.Itoa(days)}}
			if version != "" {
				query.Set("version", version)
			}
			var summary tally.Summary
			if err := askJSON(cmd.Context(), node, "/stats?"+query.Encode(), maxStats, &summary); err != nil {
				return err
			}
			return sh.show(summary, func(w io.Writer) { summaryText(w, summary, days) })
		})
	flags := cmd.Flags()
	flags.StringVar(&node, "node", "", "private `URL` of the node, as serve has it with --admin")
	flags.StringVar(&app, "app", "", "`NAME` of the app")
	flags.StringVar(&version, "version", "", "tell what was about this `VERSION` only")
	flags.IntVar(&days, "days", 30, "`NUMBER` of days, today included: 1 to "+strconv.Itoa(tally.KeepDays))
	required(cmd, "node", "app")
	sh.printsJSON(cmd)
	return cmd
}

func summaryText(w io.Writer, s tally.Summary, days int) {
	fmt.Fprintf(w, "%s, %s, %s\n", s.App, count(days, "day"), count(len(s.Nodes), "node"))
	if len(s.Silent) > 0 {
		fmt.Fprintf(w, "  without what came to %s: not to be asked now\n", strings.Join(s.Silent, ", "))
	}
	for _, month := range s.Months {
		fmt.Fprintf(w, "  about %s active in %s, whatever they run\n", count(month.Devices, "device"), month.Month)
	}
	if len(s.Days) == 0 {
		fmt.Fprintln(w, "  nothing was counted")
		return
	}
	fmt.Fprintln(w)
	daysTable(s).write(w)
	fmt.Fprintln(w)
	versionsTable(s).write(w)
	fmt.Fprintln(w)
	actionsTable(s).write(w)
}

// daysTable has a line for each day, newest first.
func daysTable(s tally.Summary) *table {
	classes := tally.KnownActions()
	t := newTable("lrrrrrrr", "DAY", "CHECKS", "UPDATES", "DOWNLOADS", "INSTALLS", "FAILURES", "APP", "OTHER")
	for _, day := range s.Days {
		var by [tally.ClassCount]int64
		var updates int64
		for _, c := range day.Counts {
			switch c.Action {
			case tally.Seen:
				continue
			case tally.CheckUpdate, tally.CheckRollback, tally.CheckBuiltIn:
				updates += int64(c.Count)
			}
			by[classes[c.Action]] += int64(c.Count)
		}
		t.add(day.Day.String(), grouped(by[tally.ClassCheck]), grouped(updates), grouped(by[tally.ClassDownload]),
			grouped(by[tally.ClassInstall]), grouped(by[tally.ClassFailure]), grouped(by[tally.ClassApp]),
			grouped(by[tally.ClassDecision]+by[tally.ClassOther]))
	}
	return t
}

// versionsTable has a line for each version, the one that most devices ran on the newest day first.
func versionsTable(s tally.Summary) *table {
	type line struct {
		version                string
		seen, checks, failures int64
	}
	lines := map[string]*line{}
	classes := tally.KnownActions()
	for i, day := range s.Days {
		for _, c := range day.Counts {
			l := lines[c.Version]
			if l == nil {
				l = &line{version: c.Version}
				lines[c.Version] = l
			}
			n := int64(c.Count)
			switch {
			case c.Action == tally.Seen:
				if i == 0 {
					l.seen += n
				}
			case classes[c.Action] == tally.ClassCheck:
				l.checks += n
			case classes[c.Action] == tally.ClassFailure:
				l.failures += n
			}
		}
	}
	var sorted []*line
	for _, l := range lines {
		sorted = append(sorted, l)
	}
	slices.SortFunc(sorted, func(a, b *line) int {
		return cmp.Or(cmp.Compare(b.seen, a.seen), cmp.Compare(b.checks, a.checks), strings.Compare(a.version, b.version))
	})
	t := newTable("lrrr", "VERSION", "SEEN "+s.Days[0].Day.String(), "CHECKS", "FAILURES")
	for _, l := range sorted {
		t.add(cmp.Or(l.version, "unknown"), grouped(l.seen), grouped(l.checks), grouped(l.failures))
	}
	return t
}

// actionsTable has a line for each action, the most frequent first.
func actionsTable(s tally.Summary) *table {
	total := map[string]int64{}
	for _, day := range s.Days {
		for _, c := range day.Counts {
			total[c.Action] += int64(c.Count)
		}
	}
	delete(total, tally.Seen)
	var actions []string
	for action := range total {
		actions = append(actions, action)
	}
	slices.SortFunc(actions, func(a, b string) int {
		return cmp.Or(cmp.Compare(total[b], total[a]), strings.Compare(a, b))
	})
	t := newTable("lr", "ACTION", "COUNT")
	for _, action := range actions {
		t.add(action, grouped(total[action]))
	}
	return t
}
