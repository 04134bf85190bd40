package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"
)

// portCommand finds a port of loopback that is free for TCP and for UDP, as gossip wants both.
func portCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: port NAME")
	}
	for range 10 {
		stream, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		address := stream.Addr().String()
		packets, err := net.ListenPacket("udp", address)
		ts.Check(stream.Close())
		if err != nil {
			continue // somebody has it for UDP
		}
		ts.Check(packets.Close())
		ts.Setenv(args[0], address)
		return
	}
	ts.Fatalf("no port is free")
}

// watchCommand runs brink until it prints a line that matches, and ends it then.
func watchCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: watch PATTERN ARGS…")
	}
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	self, err := os.Executable()
	ts.Check(err)
	cmd := exec.Command(self)
	cmd.Args = append([]string{"brink"}, args[1:]...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Stderr = ts.Stderr()
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if want.MatchString(lines.Text()) {
			return
		}
	}
	ts.Fatalf("brink ended before it said %q", args[0])
}
