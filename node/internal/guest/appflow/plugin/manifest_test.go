package plugin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"brink/bench/cost"
	"brink/bundle"

	"github.com/google/go-cmp/cmp"
)

// list returns a live-update-manifest.json for an index, as Appflow's CLI makes one without a key.
func list(t testing.TB, ix *bundle.Index, change ...func(*Entry)) string {
	t.Helper()
	var entries []Entry
	for i := range ix.Files {
		f := &ix.Files[i]
		e := Entry{Href: f.Path, Size: f.Size, Integrity: "sha256-" + base64.StdEncoding.EncodeToString(f.SHA256[:])}
		for _, c := range change {
			c(&e)
		}
		entries = append(entries, e)
	}
	payload, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return `{"payload":"` + base64.RawURLEncoding.EncodeToString(payload) + `","signatures":[]}`
}

func written(t *testing.T, e *fakeEdge, ix *bundle.Index) (entries []json.RawMessage) {
	t.Helper()
	var b bytes.Buffer
	if err := WriteManifest(&b, ix, e.open); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b.Bytes(), &entries); err != nil || entries == nil {
		t.Fatalf("%v\n%s", err, &b)
	}
	return entries
}

// The text is that of `ionic live-update manifest` (@ionic/cli 7.2.1) for the same file, without its white space.
func TestWriteManifest_IsWhatTheCLIWrites(t *testing.T) {
	e := newEdge()
	got := written(t, e, e.add(t, map[string]string{"sp ace/ü.txt": "hello\n"}))
	want := `{"href":"sp ace/ü.txt","size":6,"integrity":"` +
		`sha256-WJG1tSLV3whtD/CxEPvZ0hu0/HFjrzTQgoai6Eb2vgM= ` +
		`sha384-HQ8oTv4+3qS5yjvVFPoTSxfq42HMx6Hu/v+AG5vWYE4B8h9r8knvAwWZ8MIY8rqM ` +
		`sha512-58IrmUxZ2c8rSOVJseJGZmNgRZMNPafBrLKZ0cO3+TH5Sq5B7dosKyB6NuEPi8uNRSI+VIePWzFufOO2vAGWKQ=="}`
	if len(got) != 1 || string(got[0]) != want {
		t.Errorf("the list is %s, want %s", got, want)
	}
}

func TestWriteManifest_LeavesOutWhatTheCLILeavesOut(t *testing.T) {
	e := newEdge()
	var got []string
	for _, raw := range written(t, e, e.add(t, map[string]string{
		ManifestFile: "[]", "js/app.js": "1", "js/app.js.map": "2", "css/a.css.map": "3", "m.mjs.map": "4", "x.map": "5",
		"sub/" + ManifestFile: "6", SignedFile: "7", "empty": "",
	})) {
		var one Entry
		if err := json.Unmarshal(raw, &one); err != nil {
			t.Fatal(err)
		}
		got = append(got, one.Href)
	}
	want := []string{"empty", "js/app.js", SignedFile, "sub/" + ManifestFile, "x.map"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestWriteManifest_OfNothingIsAnEmptyList(t *testing.T) {
	e := newEdge()
	if got := written(t, e, e.add(t, map[string]string{ManifestFile: "[]"})); len(got) != 0 {
		t.Errorf("the list is %s", got)
	}
}

func TestWriteManifest_TellsEveryFault(t *testing.T) {
	e := newEdge()
	ix := e.add(t, page("1"))
	fault := errors.New("a fault")
	for name, open := range map[string]func(*bundle.File) io.Reader{
		"a file that cannot be read": func(*bundle.File) io.Reader { return iotest.ErrReader(fault) },
		"a file that is cut":         func(*bundle.File) io.Reader { return strings.NewReader("") },
	} {
		if err := WriteManifest(io.Discard, ix, open); err == nil {
			t.Errorf("%s is listed", name)
		}
	}
	if err := WriteManifest(failing{fault}, ix, e.open); !errors.Is(err, fault) {
		t.Errorf("a list that cannot be written: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// What new URL(path, base) makes of these was seen with Node 20.
func TestFetchable_IsWhatAURLKeeps(t *testing.T) {
	for path, want := range map[string]bool{
		"index.html": true, "a/b.js": true, "sp ace/ü.txt": true, "a/b:c.js": true, "~$&'()*+,;=@!.js": true, `"<>^{|}.js`: true,
		"a#b": false, "a?b": false, "100%.txt": false, "%2e%2e/x": false, "x:y.js": false, " a": false, "a ": false,
	} {
		if fetchable(path) != want {
			t.Errorf("fetchable(%q) = %t", path, !want)
		}
	}
}

func TestCheckSigned_HoldsTheListAgainstTheFiles(t *testing.T) {
	ix := index(t, map[string]string{"index.html": "1", "js/app.js": "2"})
	encode := func(payload string) string {
		return `{"payload":"` + base64.RawURLEncoding.EncodeToString([]byte(payload)) + `"}`
	}
	for name, good := range map[string]string{
		"a list":                 list(t, ix),
		"with three sums":        list(t, ix, func(e *Entry) { e.Integrity = "sha512-x sha384-y " + e.Integrity }),
		"with an unknown sum":    list(t, ix, func(e *Entry) { e.Integrity = "d41d8cd98f00b204e9800998ecf8427e" }),
		"with dots":              list(t, ix, func(e *Entry) { e.Href = "./" + e.Href }),
		"an unknown payload":     encode(`{"version":2,"files":{}}`),
		"a part of the files":    list(t, index(t, map[string]string{"index.html": "1"})),
		"with padding behind it": `{"payload":"W10="}`,
	} {
		if err := CheckSigned([]byte(good), ix); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, bad := range map[string]string{
		"no JSON":            "x",
		"another JSON":       `[{"href":"index.html"}]`,
		"no payload":         `{"signatures":[]}`,
		"a payload of bytes": `{"payload":"%%"}`,
		"another file":       list(t, index(t, map[string]string{"old.js": "1"})),
		"another size":       list(t, ix, func(e *Entry) { e.Size++ }),
		"other content":      list(t, index(t, map[string]string{"index.html": "9"})),
	} {
		if err := CheckSigned([]byte(bad), ix); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func FuzzCheckSigned(f *testing.F) {
	ix := index(f, map[string]string{"index.html": "1"})
	f.Add([]byte(list(f, ix)))
	f.Add([]byte(`{"payload":"W10"}`))
	for _, element := range []string{"{}", "null", `{"href":"index.html","size":1}` + strings.Repeat(" ", 300)} {
		payload := "[" + strings.Repeat(element+",", 20_000/len(element)) + element + "]"
		f.Add([]byte(`{"payload":"` + base64.RawURLEncoding.EncodeToString([]byte(payload)) + `"}`))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var err error
		cost.Check(t, len(raw), func() { err = CheckSigned(raw, ix) })
		if err == nil && !json.Valid(raw) {
			t.Errorf("%q is taken", raw)
		}
	})
}
