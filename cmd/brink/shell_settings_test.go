package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"brink/bench/cost"
)

// someFlags are one flag of each kind that the verbs have.
func someFlags() *pflag.FlagSet {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	quota := size(10 << 30)
	flags.String("listen", ":8080", "")
	flags.StringArray("trust", nil, "")
	flags.Duration("drain-wait", 5*time.Second, "")
	flags.Bool("mandatory", false, "")
	flags.Var(&quota, "quota", "")
	return flags
}

func TestSettings_SourcesAndPrecedence(t *testing.T) {
	entries, err := parseSettings([]byte("quota: 1GiB\nlisten: from-file\ndrain-wait: 1s\ntrust: [a, b]\n"))
	if err != nil {
		t.Fatal(err)
	}
	flags := someFlags()
	if err := flags.Parse([]string{"--drain-wait", "3s"}); err != nil {
		t.Fatal(err)
	}
	s := settings{
		env:  map[string]string{"BRINK_LISTEN": "from-env", "BRINK_DRAIN_WAIT": "2s"},
		file: &settingsFile{name: "brink.yaml", entries: entries},
	}
	got, err := s.apply(flags)
	if err != nil {
		t.Fatal(err)
	}
	want := []setting{
		{"drain-wait", "3s", "flag"},
		{"listen", "from-env", "BRINK_LISTEN"},
		{"mandatory", "false", "default"},
		{"quota", "1GiB", "brink.yaml:1"},
		{"trust", "a,b", "brink.yaml:4"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSettings_ValueThatDoesNotFit(t *testing.T) {
	for _, s := range []settings{
		{env: map[string]string{"BRINK_QUOTA": "much"}},
		{env: map[string]string{"BRINK_DRAIN_WAIT": "5"}},
		{file: &settingsFile{name: "f", entries: []entry{{name: "quota", values: []string{"10G"}, line: 1}}}},
		{file: &settingsFile{name: "f", entries: []entry{{name: "quota", values: []string{"1"}, list: true, line: 1}}}},
	} {
		if _, err := s.apply(someFlags()); describe(err).exit != exitUsage {
			t.Errorf("%v: got %v, want a usage error", s, err)
		}
	}
}

func TestParseSettings_TakesValuesAsWritten(t *testing.T) {
	entries, err := parseSettings([]byte("# a comment\na: no\nb: 0755\nc: \"\"\nd: 1.50\ne:\n- x # y\n- 'it''s'\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{name: "a", values: []string{"no"}, line: 2},
		{name: "b", values: []string{"0755"}, line: 3},
		{name: "c", values: []string{""}, line: 4},
		{name: "d", values: []string{"1.50"}, line: 5},
		{name: "e", values: []string{"x", "it's"}, list: true, line: 6},
	}
	if diff := cmp.Diff(want, entries, cmp.AllowUnexported(entry{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseSettings_EmptyFileHoldsNone(t *testing.T) {
	for _, text := range []string{"", "\n", "# only a comment\n", "---\n", "~\n"} {
		if entries, err := parseSettings([]byte(text)); err != nil || len(entries) > 0 {
			t.Errorf("%q: %v, %v", text, entries, err)
		}
	}
}

func TestParseSettings_RefusesWhatCanBeReadInTwoWays(t *testing.T) {
	for _, text := range []string{
		"a: 1\na: 2\n", "a: &x 1\nb: *x\n", "a: {b: 1}\n", "a: [[1]]\n", "a:\n", "a: ~\n", "a: [~]\n", "- a\n", "a\n",
		"a: 1\n---\nb: 2\n", "[a]: 1\n", "<<: {a: 1}\n", "a: [1\n", "\x00", strings.Repeat("#", maxSettingsFile+1),
	} {
		if entries, err := parseSettings([]byte(text)); err == nil {
			t.Errorf("%.40q was taken for %v", text, entries)
		}
	}
}

func FuzzParseSettings(f *testing.F) {
	for _, seed := range []string{
		"", "a: 1\nb: [x, y]\n", "a: &x 1\nb: *x\n", "- a\n", "---\n...\n", "a: !!binary eA==\n",
		"a: " + strings.Repeat("[", 1000), strings.Repeat("- ", 1000), "a: [" + strings.Repeat("x,", 1000) + "]\n",
		"a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c]\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var entries []entry
		var err error
		raw := []byte(text)
		// A YAML parser makes a node of every bracket. The file is the operator's own, and at most maxSettingsFile long.
		most := cost.Limit(0) + 2000*int64(len(raw))
		cost.AtMost(t, most, func() { entries, err = parseSettings(raw) })
		if err != nil {
			return
		}
		var names []string
		for _, e := range entries {
			if !e.list && len(e.values) != 1 {
				t.Fatalf("%q: %v", text, e)
			}
			if slices.Contains(names, e.name) {
				t.Fatalf("%q: %s is there twice", text, e.name)
			}
			names = append(names, e.name)
		}
	})
}

func TestSuggest_NamesTheNearest(t *testing.T) {
	names := []string{"listen", "quota", "drain-wait"}
	for given, want := range map[string]string{
		"quotta": "did you mean quota?", "lisen": "did you mean listen?", "drain_wait": "did you mean drain-wait?",
		"something-else": "none",
	} {
		if got := suggest(given, names, "none"); got != want {
			t.Errorf("%s: %q, want %q", given, got, want)
		}
	}
}
