package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shellBlocks returns the commands of a page's shell blocks, one a line; lines that go on are joined.
func shellBlocks(t *testing.T, page string) (commands []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(page)))
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(text), -1) {
		for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", " ")) {
			if line = strings.TrimSpace(line); line != "" {
				commands = append(commands, line)
			}
		}
	}
	return commands
}

// copied matches the commands that a node for development prints to copy.
var copied = regexp.MustCompile(`(?m)^  (brink (?:publish|fetch) .*\\\n.*)$`)

// TestReadme_CommandsWork runs the commands of README.md one after the other, as a newcomer does.
func TestReadme_CommandsWork(t *testing.T) {
	t.Parallel()
	sh := need(t, "sh")
	p := begin(t)
	dir := t.TempDir()
	tree{"index.html": "hello", "js/app.js": "let a = 1"}.write(t, filepath.Join(dir, "www"))
	command := func(text string) *exec.Cmd {
		cmd := exec.Command(sh, "-c", text)
		cmd.Dir = dir
		cmd.Env = append(environment(dir), "PATH="+filepath.Dir(p.path)+string(os.PathListSeparator)+os.Getenv("PATH"),
			"BRINK_LISTEN=127.0.0.1:0")
		return cmd
	}
	run := func(text string) {
		t.Helper()
		if o := finish(t, command(text)); o.code != 0 {
			t.Fatalf("%s\nended with %d\n%s%s", text, o.code, o.stdout, o.stderr)
		}
	}
	address := "127.0.0.1:8080" // of the node that runs
	told := 0
	for _, line := range shellBlocks(t, "README.md") {
		switch {
		case strings.HasPrefix(line, "git clone "), strings.HasPrefix(line, "go install "):
			continue // the checkout is here, and the program on the PATH
		case strings.HasPrefix(line, "go test "):
			continue // that is what runs
		}
		line = strings.Replace(line, "go run ./cmd/brink demo", "brink demo", 1)
		line = strings.ReplaceAll(line, "/var/lib/brink", filepath.Join(dir, "var"))
		told++
		if !strings.HasPrefix(line, "brink serve ") {
			run(strings.ReplaceAll(line, "127.0.0.1:8080", address))
			continue
		}
		line = regexp.MustCompile(`(--listen|--admin) \S+`).ReplaceAllString(line, "$1 127.0.0.1:0")
		n, ready := start(t, command("exec "+line))
		if !ready {
			t.Fatalf("%s\nended with %d:\n%s", line, n.code, n.log())
		}
		address = strings.TrimPrefix(n.url, "http://")
		for _, c := range copied.FindAllStringSubmatch(n.log(), -1) {
			told++
			run(c[1])
		}
	}
	if told < 8 {
		t.Errorf("only %d commands were found", told)
	}
	wantTree(t, filepath.Join(dir, "app"), readTree(t, filepath.Join(dir, "www")))
	wantTree(t, filepath.Join(dir, "device"), readTree(t, filepath.Join(dir, "www")))
}

// TestProtocol_CurlLinesWork runs the lines of docs/protocol.md as they stand there. curl is made to fail when the
// answer says no.
func TestProtocol_CurlLinesWork(t *testing.T) {
	t.Parallel()
	bash, curl := need(t, "bash"), need(t, "curl")
	for _, tool := range []string{"sed", "tar", "wc", "zstd"} {
		need(t, tool)
	}
	p := begin(t)
	n := p.serve(t, "data")
	p.publish(t, n.url, webApp(chance(t), 64<<10).write(t, p.file("www")), "1.0.0")

	bin := filepath.Join(t.TempDir(), "bin")
	tree{"curl": "#!" + bash + "\necho called >>\"$CALLS\"\nexec " + curl + " --fail --max-time 60 \"$@\"\n"}.write(t, bin)
	if err := os.Chmod(filepath.Join(bin, "curl"), 0o755); err != nil {
		t.Fatal(err)
	}
	lines := shellBlocks(t, "docs/protocol.md")
	cmd := exec.Command(bash, "-euxo", "pipefail", "-c", strings.Join(lines, "\n"))
	cmd.Dir = p.dir
	cmd.Env = append(environment(p.dir), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
		"CALLS="+p.file("calls"), "NODE="+n.url, "APP="+app)
	if o := finish(t, cmd); o.code != 0 {
		t.Errorf("a line ended with %d, the last of these:\n%s", o.code, o.stderr)
	}
	calls, err := os.ReadFile(p.file("calls"))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Count(strings.Join(lines, "\n"), "curl ")
	if made := strings.Count(string(calls), "\n"); made != want || want < 10 {
		t.Errorf("%d calls of curl are in the page, %d were made", want, made)
	}
}
