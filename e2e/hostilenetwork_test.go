package e2e_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestHostile_NetworkCutsAndSpoilsAnswers has answers end early, or come with other bytes than were sent.
func TestHostile_NetworkCutsAndSpoilsAnswers(t *testing.T) {
	t.Parallel()
	p, rnd := begin(t), chance(t)
	n := p.serve(t, "data", patient...)
	first := webApp(rnd, 256<<10)
	next := first.with("js/main.js", noise(rnd, 128<<10))
	former := p.publish(t, n.url, first.write(t, p.file("first")), "1.0.0")
	p.fetch(t, n.url, "device")
	made := p.publish(t, n.url, next.write(t, p.file("next")), "1.1.0")
	answer := checkAnswer(t, n, app, production)
	archive, _ := get(t, n.url+"/v1/bundles/"+made.Bundle+"/archive")
	other, _ := get(t, n.url+"/v1/bundles/"+former.Bundle+"/archive")
	spoilt := []byte(archive)
	spoilt[len(spoilt)/2] ^= 1

	for name, hostile := range map[string]*hostileNode{
		"check is cut":                subvert(t, n, cut(isCheck, answer)),
		"archive is cut":              subvert(t, n, cut(isArchive, archive)),
		"archive is empty":            subvert(t, n, replay(isArchive, "")),
		"archive is short":            subvert(t, n, replay(isArchive, archive[:len(archive)/2])),
		"archive is spoilt":           subvert(t, n, replay(isArchive, string(spoilt))),
		"archive is of another":       subvert(t, n, replay(isArchive, other)),
		"archive is longer by a byte": subvert(t, n, replay(isArchive, archive+"\x00")),
		"archive is elsewhere":        subvert(t, n, redirect(isArchive, n.url+"/v1/bundles/"+former.Bundle+"/archive")),
		"check is elsewhere":          subvert(t, n, redirect(isCheck, "http://169.254.169.254/latest/meta-data/")),
	} {
		for _, device := range []string{"new", "old"} {
			t.Run(name+", device is "+device, func(t *testing.T) {
				t.Parallel()
				dir, before := device+" "+name, tree(nil)
				if device == "old" {
					replicate(t, p.file("device"), p.file(dir))
					before = first
				}
				p.wantRefused(t, dir, before, hostile.url)
				p.wantHonest(t, dir, "1.1.0", next, hostile.url, n.url)
			})
		}
	}
}

// cut sends half of an answer and closes the connection.
func cut(is func(*http.Request) bool, body string) owner {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !is(r) {
			return false
		}
		w.Header().Set("ETag", `"etag"`)
		_, _ = io.WriteString(w, body[:len(body)/2]) // the client may have left
		panic(http.ErrAbortHandler)
	}
}

func redirect(is func(*http.Request) bool, to string) owner {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if is(r) {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
}

// TestHostile_NetworkDripsAndStalls has answers come byte by byte, or not at all. The device leaves for another node.
func TestHostile_NetworkDripsAndStalls(t *testing.T) {
	t.Parallel()
	onlyLong(t)
	p, rnd := begin(t), chance(t)
	n := p.serve(t, "data")
	files := webApp(rnd, 256<<10)
	made := p.publish(t, n.url, files.write(t, p.file("www")), "1.0.0")
	answer := checkAnswer(t, n, app, production)
	archive, _ := get(t, n.url+"/v1/bundles/"+made.Bundle+"/archive")

	slowly := func(is func(*http.Request) bool, body string) string {
		return subvert(t, n, drip(is, body, 100*time.Millisecond), replay(isCheck, with(t, answer, "trust", 9))).url
	}
	// A device that waits for ever is at fault. How long it waits otherwise depends on the machine.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	waiting := map[string]func() outcome{}
	for name, url := range map[string]string{
		"check is silent":         subvert(t, n, drip(isCheck, "", 0)).url,
		"check drips":             slowly(isCheck, answer),
		"check stalls":            subvert(t, n, drip(isCheck, answer[:len(answer)/2], 0)).url,
		"archive is silent":       subvert(t, n, drip(isArchive, "", 0)).url,
		"archive drips":           slowly(isArchive, archive),
		"archive stalls":          subvert(t, n, drip(isArchive, archive[:len(archive)/2], 0)).url,
		"trust document drips":    slowly(isTrust, answer),
		"connections are silent":  mute(t, ""),
		"headers of answers drip": mute(t, "HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Field: value\r\n", 1000)),
	} {
		// All at once: most of the time they wait.
		cmd := exec.CommandContext(ctx, p.path, append(p.fetchArgs(url, name), "--node", n.url)...)
		cmd.Dir, cmd.Env = p.dir, environment(p.dir)
		waiting[name] = launch(t, cmd)
	}
	for name, end := range waiting {
		if o := end(); o.code != 0 {
			t.Errorf("%s: the device ended with %d: %s", name, o.code, o.stderr)
			continue
		}
		p.wantRuns(t, name, files)
	}
}

// launch starts a command; end waits for its end.
func launch(t *testing.T, cmd *exec.Cmd) (end func() outcome) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() outcome {
		_ = cmd.Wait() // the exit code says it all
		wantNoPanic(t, stderr.String())
		return outcome{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	}
}

// drip sends an answer byte by byte with a pause after each, or at once without one, and then nothing more.
func drip(is func(*http.Request) bool, body string, pause time.Duration) owner {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !is(r) {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that the client leaves
		if pause == 0 && body != "" {
			_, _ = io.WriteString(w, body) // the client may have left
		}
		flush := http.NewResponseController(w).Flush
		if body != "" {
			_ = flush() // the same
		}
		for i := 0; pause > 0 && i < len(body) && wait(r.Context(), pause); i++ {
			_, _ = io.WriteString(w, body[i:i+1]) // the same
			_ = flush()
		}
		<-r.Context().Done()
		return true
	}
}

// wait returns false if the context ended before the pause did.
func wait(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}

// mute takes connections, reads nothing, and sends a text in drips. It returns its URL, and ends with the test.
func mute(t *testing.T, text string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer conn.Close()
				for i := 0; i < len(text) && wait(ctx, 100*time.Millisecond); i++ {
					if _, err := io.WriteString(conn, text[i:i+1]); err != nil {
						return
					}
				}
				<-ctx.Done()
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		listener.Close()
		work.Wait()
	})
	return "http://" + listener.Addr().String()
}
