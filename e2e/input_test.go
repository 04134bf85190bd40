package e2e_test

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// operators are flags for nodes whose metrics are read.
var operators = []string{"--admin", "127.0.0.1:0"}

// mostMemory is what a node, a publisher or a device may hold, whatever the size of the bundle.
const mostMemory = 400 << 20

func TestPublish_OfNothingIsRefused(t *testing.T) {
	t.Parallel()
	p := begin(t)
	n := p.serve(t, "data")
	if err := os.MkdirAll(p.file("www/empty/folders"), 0o755); err != nil {
		t.Fatal(err)
	}
	o := p.run(t, p.publishArgs(n.url, "www", "1.0.0", production)...)
	if said := failureOf(t, o); o.code != 1 || said.Code != "empty" || said.Hint == "" || !strings.Contains(said.Message, "www") {
		t.Errorf("publish ended with %d: %+v", o.code, said)
	}
}

// TestPublish_OfVeryManyFiles publishes 100,000 small files in its long form.
func TestPublish_OfVeryManyFiles(t *testing.T) {
	t.Parallel()
	p := begin(t)
	n := p.serve(t, "data", append(patient, operators...)...)
	many := rounds(700, 100_000)
	files := tree{}
	for i := range many {
		files[fmt.Sprintf("%02d/%02d/%d.txt", i%100, i/100%100, i)] = fmt.Sprintf("file %d of many", i)
	}
	files.write(t, p.file("www"))
	o := p.measured(t, p.publishArgs(n.url, "www", "1.0.0", production)...)
	made := decode[published](t, o.stdout)
	device := p.measured(t, p.fetchArgs(n.url, "device")...)
	got := decode[fetched](t, device.stdout)
	wantTree(t, p.file("device"), files)

	// One file more: nothing else is sent again, and the device gets a patch.
	last := files.with("last", "one more").write(t, p.file("www"))
	again := p.publish(t, n.url, last, "1.0.1")
	update := p.fetch(t, n.url, "device")
	if made.Files != many || again.ChunksSent != 1 || !update.Patched || update.BytesReceived >= got.BytesReceived {
		t.Errorf("%d files; then %d chunks were sent, and %d bytes fetched after %d", made.Files, again.ChunksSent,
			update.BytesReceived, got.BytesReceived)
	}
	t.Logf("%d files: publish %.0f ms with %d MiB, then %.0f ms; fetch %.0f ms with %d MiB and %d bytes, then %.0f ms and %d bytes; node %d MiB, in all %d",
		many, made.DurationMS, o.peak>>20, again.DurationMS, got.DurationMS, device.peak>>20, got.BytesReceived,
		update.DurationMS, update.BytesReceived, n.peak(t)>>20, n.memory("VmHWM")>>20)
}

// TestPublish_OfAVeryLargeFileHoldsLittleMemory publishes a file of 1 GiB in its long form.
func TestPublish_OfAVeryLargeFileHoldsLittleMemory(t *testing.T) {
	t.Parallel()
	p, rnd := begin(t), chance(t)
	n := p.serve(t, "data", operators...)
	size := int64(rounds(12, 1024)) << 20
	want := largeFile(t, rnd, p.file("www"), size)
	o := p.measured(t, p.publishArgs(n.url, "www", "1.0.0", production)...)
	made := decode[published](t, o.stdout)
	device := p.measured(t, p.fetchArgs(n.url, "device")...)
	got := decode[fetched](t, device.stdout)
	if sum := sumOf(t, filepath.Join(p.file("device"), "current", "large")); sum != want {
		t.Error("the device has another file")
	}
	again := p.measured(t, p.fetchArgs(n.url, "device")...)
	held := n.peak(t)
	t.Logf("%d MiB: publish %.0f ms with %d MiB of memory; fetch %.0f ms with %d MiB, once more with %d MiB; node %d MiB, and with mapped files %d",
		size>>20, made.DurationMS, o.peak>>20, got.DurationMS, device.peak>>20, again.peak>>20, held>>20, n.memory("VmHWM")>>20)
	for who, held := range map[string]int64{"publish": o.peak, "fetch": device.peak, "fetch of what is there": again.peak, "node": held} {
		if held > mostMemory {
			t.Errorf("%s held %d MiB", who, held>>20)
		}
	}
}

// largeFile writes a folder with one file, and returns its sum. A part of it compresses.
func largeFile(t *testing.T, rnd *mrand.Rand, dir string, size int64) [32]byte {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(file, sum), 1<<20)
	source := mrand.NewChaCha8([32]byte{byte(rnd.Uint32())})
	block := make([]byte, 1<<20)
	for written := int64(0); written < size; written += int64(len(block)) {
		_, _ = source.Read(block) // it never fails
		copy(block[:len(block)/8], strings.Repeat("the quick brown fox ", len(block)/160))
		if _, err := out.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(out.Flush(), file.Close()); err != nil {
		t.Fatal(err)
	}
	return [32]byte(sum.Sum(nil))
}

func sumOf(t *testing.T, path string) [32]byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		t.Fatal(err)
	}
	return [32]byte(sum.Sum(nil))
}

// dial opens a connection that does not wait for ever.
func dial(t *testing.T, n *node) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(3 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// TestNode_AnswersOrEndsWhatIsCutOrGarbled sends requests that are none. Each gets a refusal or an end, and the node
// goes on.
func TestNode_AnswersOrEndsWhatIsCutOrGarbled(t *testing.T) {
	t.Parallel()
	p := begin(t)
	n := p.serve(t, "data")
	tree{"index.html": "hello"}.write(t, p.file("www"))
	made := p.publish(t, n.url, "www", "1.0.0")
	post := func(path, fields, body string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n" + body
	}
	check := "/v1/apps/" + app + "/check"
	for name, raw := range map[string]string{
		"nothing":                 "",
		"half a method":           "GE",
		"half a head":             "GET / HTTP/1.1\r\nHost: x\r\n",
		"no HTTP":                 "hello there\r\n\r\n",
		"TLS":                     "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"noise":                   noise(chance(t), 4096),
		"a very long path":        "GET /" + strings.Repeat("a", 100_000) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"very long head":          "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
		"very many fields":        "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 50_000) + "\r\n",
		"a body that is cut":      post(check, "Content-Length: 100\r\n", `{"cha`),
		"a chunked body, cut":     post(check, "Transfer-Encoding: chunked\r\n", "5\r\n{\"cha\r\n"),
		"a garbled chunked body":  post(check, "Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n"),
		"a negative length":       post(check, "Content-Length: -5\r\n", "{}"),
		"no number":               post(check, "Content-Length: ten\r\n", "{}"),
		"an absurd length":        post(check, "Content-Length: 99999999999999999999\r\n", "{}"),
		"two lengths":             post(check, "Content-Length: 2\r\nContent-Length: 3\r\n", "{}x"),
		"a check too long":        post(check, "Content-Length: 1000000\r\n", strings.Repeat(" ", 1_000_000)),
		"a check of another kind": post(check, "Content-Length: 7\r\n", "[1,2,3]"),
		"an offer of nothing":     post("/v1/apps/"+app+"/bundles", "Content-Length: 2\r\n", "{}"),
		"an offer that is cut":    post("/v1/apps/"+app+"/bundles", "Content-Length: 1000000\r\n", `{"intent":`),
		"zstd that is none":       post("/v1/apps/"+app+"/bundles", "Content-Encoding: zstd\r\nContent-Length: 4\r\n", "abcd"),
		"an upload nobody opened": "PUT /v1/uploads/AAAA HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nbrinkch1",
		"an upload with no end":   "PUT /v1/uploads/AAAA HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nbrinkch1\r\n",
		"a manifest of nothing":   "PUT /v1/apps/" + app + "/channels/production HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nContent-Length: 2\r\n\r\n{}",
		"an unknown digest":       "GET /v1/chunks/" + strings.Repeat("0", 64) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"half a digest":           "GET /v1/chunks/0123 HTTP/1.1\r\nHost: x\r\n\r\n",
		"a way out":               "GET /v1/bundles/" + made.Bundle + "/files/../../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
		"an encoded way out":      "GET /v1/bundles/" + made.Bundle + "/files/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1\r\nHost: x\r\n\r\n",
		"NUL in the path":         "GET /v1/bundles/" + made.Bundle + "/files/index.html%00 HTTP/1.1\r\nHost: x\r\n\r\n",
		"a bad escape":            "GET /v1/bundles/" + made.Bundle + "/files/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"an unknown method":       "BREW /livez HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, n)
			_, _ = io.WriteString(conn, raw) // the node may have ended it before all was sent
			_ = conn.CloseWrite()
			answer, err := io.ReadAll(conn)
			if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
				t.Fatalf("the node neither answers nor ends the connection: %q", answer)
			}
			if len(answer) == 0 {
				return
			}
			if fields := strings.Fields(string(answer)); len(fields) < 2 || !strings.HasPrefix(fields[0], "HTTP/1.") || fields[1] < "400" || fields[1] == "500" {
				t.Errorf("the answer is %.300q", answer)
			}
		})
	}
	if body, status := get(t, n.url+"/livez"); status != http.StatusOK {
		t.Errorf("the node answers %d: %s", status, body)
	}
	p.fetch(t, n.url, "device")
}

// TestNode_IsNotHeldUpByReadersThatStall opens many connections that ask for a large archive and never read it.
func TestNode_IsNotHeldUpByReadersThatStall(t *testing.T) {
	t.Parallel()
	p, rnd := begin(t), chance(t)
	n := p.serve(t, "data")
	tree{"large": noise(rnd, 12<<20)}.write(t, p.file("www"))
	made := p.publish(t, n.url, "www", "1.0.0")
	request := "GET /v1/bundles/" + made.Bundle + "/archive HTTP/1.1\r\nHost: x\r\n\r\n"
	for range rounds(50, 500) {
		conn := dial(t, n)
		if err := conn.SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1024)); err != nil { // it has begun to answer
			t.Fatal(err)
		}
	}
	for i := range 3 {
		p.fetch(t, n.url, "device"+strconv.Itoa(i))
	}
	p.publish(t, n.url, tree{"large": noise(rnd, 1<<20)}.write(t, p.file("next")), "1.0.1")
	t.Logf("node %d MiB", n.memory("VmHWM")>>20)
}

// TestNode_EndsAConnectionThatStalls waits as long as a node does.
func TestNode_EndsAConnectionThatStalls(t *testing.T) {
	t.Parallel()
	onlyLong(t)
	p := begin(t)
	n := p.serve(t, "data")
	for name, raw := range map[string]string{
		"one byte":    "G",
		"half a head": "GET /livez HTTP/1.1\r\nHost:",
		"half a body": "POST /v1/apps/" + app + "/check HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, start := dial(t, n), time.Now()
			if _, err := io.WriteString(conn, raw); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(conn)
			if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
				t.Fatalf("the connection is still open: %q", answer)
			}
			t.Logf("ended after %v with %.100q, %v", time.Since(start).Round(time.Second), answer, err)
		})
	}
}

func TestServe_OfAFolderThatIsInUse(t *testing.T) {
	t.Parallel()
	p := begin(t)
	first := p.serve(t, "data")
	second, ready := p.tryServe(t, "data")
	if ready || second.code != 8 || !strings.Contains(second.log(), "in use by process "+strconv.Itoa(first.cmd.Process.Pid)) ||
		!strings.Contains(second.log(), "hint: ") {
		t.Errorf("ready: %t, exit code %d: %s", ready, second.code, second.log())
	}
	if _, status := get(t, first.url+"/livez"); status != http.StatusOK {
		t.Errorf("the first node answers %d", status)
	}
	first.kill()
	p.serve(t, "data").stop(t) // a lock does not outlive its process
}

func TestServe_OfAFolderOfANewerFormat(t *testing.T) {
	t.Parallel()
	p := begin(t)
	n := p.serve(t, "data")
	tree{"index.html": "hello"}.write(t, p.file("www"))
	p.publish(t, n.url, "www", "1.0.0")
	n.stop(t)
	format := filepath.Join(p.file("data"), "FORMAT")
	known, err := os.ReadFile(format)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(format, []byte("brink-store 999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := readTree(t, p.file("data"))
	n, ready := p.tryServe(t, "data")
	if ready || n.code != 1 || !strings.Contains(n.log(), "format 999") || !strings.Contains(n.log(), "later") {
		t.Errorf("ready: %t, exit code %d: %s", ready, n.code, n.log())
	}
	for _, verb := range []string{"stats", "verify", "gc"} {
		if o := p.run(t, "store", verb, "--data", "data"); o.code == 0 || !strings.Contains(o.stderr, "format 999") {
			t.Errorf("store %s ended with %d: %s", verb, o.code, o.stderr)
		}
	}
	if after := readTree(t, p.file("data")); !after.equal(before) {
		t.Errorf("the folder was changed:\n%s", before.difference(after))
	}
	if err := os.WriteFile(format, known, 0o600); err != nil {
		t.Fatal(err)
	}
	n = p.serve(t, "data")
	p.fetch(t, n.url, "device")
}

// TestMemory_IsMeasured keeps the bounds above from holding because nobody measures.
func TestMemory_IsMeasured(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what others hold")
	}
	p := begin(t)
	n := p.serve(t, "data", operators...)
	if held, o := n.peak(t), p.measured(t, "version"); held < 1<<20 || o.peak < 1<<20 {
		t.Errorf("node %d bytes, brink version %d", held, o.peak)
	}
}
