package brink_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what rules_test.go says into the other files that say it")

// TestRules_AreThoseOfTheLinterAndTheGuide: the table in rules_test.go is the only place to change a rule.
func TestRules_AreThoseOfTheLinterAndTheGuide(t *testing.T) {
	for name, want := range map[string]string{".golangci.yml": depguard(), "CONTRIBUTING.md": roomTable()} {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		before, got, after, err := generated(string(raw))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got == want {
			continue
		}
		if !*update {
			t.Errorf("%s does not say what rules_test.go says: go test . -update (-want +got):\n%s",
				name, cmp.Diff(want, got))
			continue
		}
		if err := os.WriteFile(name, []byte(before+want+after), 0o644); err != nil {
			t.Error(err)
		}
	}
}

func TestRules_SayWhatEachRoomIs(t *testing.T) {
	for _, r := range rules() {
		if r.is == "" || r.reason == "" {
			t.Errorf("room %q has no word about what it is, or no reason", r.room)
		}
	}
}

func TestGenerated_IsBetweenTwoMarks(t *testing.T) {
	before, between, after, err := generated("a\n# generated: x\nb\nc\n# end of generated\nd\n")
	if before != "a\n# generated: x\n" || between != "b\nc\n" || after != "# end of generated\nd\n" || err != nil {
		t.Errorf("generated = %q, %q, %q, %v", before, between, after, err)
	}
	for _, text := range []string{"", "# generated: x\n", "# end of generated\n", "# end of generated\n# generated: x\n"} {
		if _, _, _, err := generated(text); err == nil {
			t.Errorf("two marks were found in %q", text)
		}
	}
}

// generated returns the lines between the line that has "generated:" and the one that has "end of generated", and what
// is around them, with the marks.
func generated(text string) (before, between, after string, err error) {
	var parts [3]strings.Builder
	part := 0
	for line := range strings.Lines(text) {
		if strings.Contains(line, "end of generated") && part == 1 {
			part++
		}
		parts[part].WriteString(line)
		if strings.Contains(line, "generated:") && part == 0 {
			part++
		}
	}
	if part != 2 {
		return "", "", "", fmt.Errorf("want a line with %q and a later one with %q", "generated:", "end of generated")
	}
	return parts[0].String(), parts[1].String(), parts[2].String(), nil
}

// roomTable returns the rows of the table of rooms, from the top to the bottom, and who alone may import what. In paths
// the folder internal of a room is left out, to keep rows short.
func roomTable() string {
	var b strings.Builder
	b.WriteString("\n| room | is | may import |\n| --- | --- | --- |\n")
	for _, r := range slices.Backward(rules()) {
		if r.room == "" {
			continue
		}
		may := strings.Join(r.may, ", ")
		switch may {
		case "":
			may = "nothing"
		case anything:
			may = "everything"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.room, r.is, may)
	}
	b.WriteString("\n")
	for _, s := range seals() {
		fmt.Fprintf(&b, "Only `%s` imports `%s`:\n%s.\n\n", s.room, strings.TrimPrefix(s.prefix, module+"/"), s.reason)
	}
	fmt.Fprintf(&b, "Tests may import as well: `%s`.\n\n", strings.Join(tested(), "`, `"))
	return strings.ReplaceAll(b.String(), "/internal/", "/")
}

// depguard returns the rules of the linter: who alone may import what, and for each room one for its code, and one for
// its tests, which may import more and may reach anything outside of the repository.
func depguard() string {
	var b strings.Builder
	for _, n := range nobodys() {
		writeRule(&b, n+"-users", []string{"!${base-path}/" + n + "/**"}, nil,
			[]string{module + "/" + n}, "nobody may: it is where everything comes together")
	}
	for _, s := range seals() {
		writeRule(&b, "only-"+s.room, []string{"!${base-path}/" + s.room + "/**"}, nil, []string{s.prefix}, s.reason)
	}
	for _, r := range rules() {
		if r.room == "" || slices.Contains(r.may, anything) {
			continue
		}
		allow := []string{module + "/" + r.room}
		for _, to := range r.may {
			allow = append(allow, module+"/"+to)
		}
		deny := append([]string{module}, r.never...)
		for _, to := range r.nor {
			deny = append(deny, to+"$") // that package, not those below it
		}
		folder := "${base-path}/" + r.room + "/**"
		var others []string // rooms below it, which have rules of their own
		for _, other := range rules() {
			if other.room != r.room && within(other.room, r.room) {
				others = append(others, "!${base-path}/"+other.room+"/**")
			}
		}
		writeRule(&b, r.room, append([]string{folder, "!$test"}, others...), allow, deny, r.reason)
		for _, to := range tested() {
			if to != r.room && !slices.Contains(r.may, to) {
				allow = append(allow, module+"/"+to)
			}
		}
		writeRule(&b, r.room+"-tests", append([]string{folder + "_test.go"}, others...), allow, []string{module}, r.reason)
	}
	return b.String()
}

func writeRule(b *strings.Builder, name string, files, allow, deny []string, reason string) {
	fmt.Fprintf(b, "        %s:\n          list-mode: lax\n          files:\n", name)
	for _, f := range files {
		fmt.Fprintf(b, "            - %q\n", f)
	}
	if len(allow) > 0 {
		b.WriteString("          allow:\n")
	}
	for _, a := range allow {
		fmt.Fprintf(b, "            - %s\n", a)
	}
	b.WriteString("          deny:\n")
	for _, d := range deny {
		fmt.Fprintf(b, "            - pkg: %s\n              desc: %q\n", d, reason)
	}
}
