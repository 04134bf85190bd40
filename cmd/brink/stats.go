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

// maxStats limits an answer with statistics, in bytes. The largest possible answer would be too long for a table.
const maxStats = 64 << 20

func statsCommand(sh *shell) *cobra.Command {
	var node, app, version string
	var days int
	cmd := verb("stats", "Show statistics of devices: checks, updates, versions, active devices",
		`It connects to the private address of a node (serve --admin) and prints the sums over all nodes of its fleet. Days
and months are in UTC, and an event counts on the day on which it is received. The number of devices is an estimate
with an error of about one per cent, and includes only devices that sent an ID. SEEN is a sample of the devices, to
compare versions by.`,
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
	flags.StringVar(&node, "node", "", "private `URL` of the node (serve --admin)")
	flags.StringVar(&app, "app", "", "`NAME` of the app")
	flags.StringVar(&version, "version", "", "only events of this `VERSION`")
	flags.IntVar(&days, "days", 30, "`NUMBER` of days including today, 1 to "+strconv.Itoa(tally.KeepDays))
	required(cmd, "node", "app")
	sh.printsJSON(cmd)
	return cmd
}

func summaryText(w io.Writer, s tally.Summary, days int) {
	fmt.Fprintf(w, "%s, %s, %s\n", s.App, count(days, "day"), count(len(s.Nodes), "node"))
	if len(s.Silent) > 0 {
		fmt.Fprintf(w, "  without the events of %s, which cannot be reached\n", strings.Join(s.Silent, ", "))
	}
	for _, month := range s.Months {
		fmt.Fprintf(w, "  about %s active in %s, of all versions\n", count(month.Devices, "device"), month.Month)
	}
	if len(s.Days) == 0 {
		fmt.Fprintln(w, "  no events")
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

// versionsTable has a line for each version, starting with the one that most devices ran on the newest day.
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
