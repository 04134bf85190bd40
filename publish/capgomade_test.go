package publish

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"brink/bench/cost"
	"brink/digest"
	"brink/protocol"
	"brink/protocol/capgo"
)

var (
	sealedHex    = strings.Repeat("0f", capgo.Sealed)
	sealedBase64 = base64.StdEncoding.EncodeToString(make([]byte, capgo.Sealed))
	sessionText  = base64.StdEncoding.EncodeToString(make([]byte, capgo.Block)) + ":" + sealedBase64
)

func TestCapgoMade_CheckSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	sum := digest.SumSHA256([]byte("zip")).String()
	for _, good := range []CapgoMade{
		{Checksum: sum},
		{Checksum: sealedHex, SessionKey: sessionText},
		{Checksum: sealedBase64, SessionKey: sessionText, KeyID: "MIIBCgKCAQEAxWG2AqMZ"},
	} {
		if err := good.Check(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, row := range []struct {
		made CapgoMade
		says string
	}{
		{CapgoMade{Checksum: "3885ee49"}, "CRC-32"},
		{CapgoMade{Checksum: "3885EE49", SessionKey: sessionText}, "CRC-32"},
		{CapgoMade{Checksum: strings.ToUpper(sum)}, "upper case"},
		{CapgoMade{Checksum: strings.ToUpper(sealedHex), SessionKey: sessionText}, "upper case"},
		{CapgoMade{Checksum: ""}, "no SHA-256"},
		{CapgoMade{Checksum: sum[1:]}, "no SHA-256"},
		{CapgoMade{Checksum: sealedHex}, "no session key"},
		{CapgoMade{Checksum: sum, SessionKey: sessionText}, "of a plain zip"},
		{CapgoMade{Checksum: sealedHex[2:], SessionKey: sessionText}, "512 lower-case hex digits"},
		{CapgoMade{Checksum: sealedHex, SessionKey: sessionText[1:]}, "16 bytes"},
		{CapgoMade{Checksum: sealedHex, SessionKey: sessionText + ":" + sessionText}, "16 bytes"},
		{CapgoMade{Checksum: sealedHex, SessionKey: sealedBase64 + ":" + sealedBase64}, "16 bytes"},
		{CapgoMade{Checksum: sealedHex, SessionKey: sessionText, KeyID: "-----BEGIN"}, "20 characters"},
	} {
		err := row.made.Check()
		refused, ok := errors.AsType[*AttachmentError](err)
		if !ok || refused.Hint == "" || !strings.Contains(refused.Reason, row.says) {
			t.Errorf("%+v: %v, want %q", row.made, err, row.says)
		}
	}
}

// writeTemp writes a file of a name.
func writeTemp(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestPublisher_TakesWhatOthersHaveEncrypted(t *testing.T) {
	n := newFakeNode(t)
	data := noise(16 * 500)
	made := &CapgoMade{
		Zip: writeTemp(t, "app.zip_encrypted.zip", data), Checksum: sealedHex, SessionKey: sessionText, KeyID: "MIIB",
	}
	if _, err := n.publish(withZip, func(_ *Config, r *Request) { r.CapgoMade = made }); err != nil {
		t.Fatal(err)
	}
	m := n.inForce()
	ix, files := n.files(m, capgo.Kind)
	c, err := capgo.Parse(files[capgo.Path].Data)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckIndex(ix); err != nil || !bytes.Equal(files[protocol.ZipPath].Data, data) || len(ix.Files) != 2 {
		t.Errorf("published %v, %v", ix.Files, err)
	}
	if c.Checksum != sealedHex || c.SessionKey != sessionText || c.KeyID != "MIIB" || c.Form != "hex" || c.Files != nil {
		t.Errorf("published %+v", c)
	}
	if m.Release.Attachment("zip") == nil {
		t.Error("the plain zip that was asked for is missing")
	}
}

func TestPublisher_RefusesWhatIsNotEncrypted(t *testing.T) {
	for name, data := range map[string][]byte{
		"a plain zip": append([]byte("PK\x03\x04"), make([]byte, 28)...),
		"nothing":     nil,
		"no blocks":   noise(1000),
	} {
		n := newFakeNode(t)
		made := &CapgoMade{Zip: writeTemp(t, "x.zip", data), Checksum: sealedHex, SessionKey: sessionText}
		_, err := n.publish(func(_ *Config, r *Request) { r.CapgoMade = made })
		if refused, ok := errors.AsType[*AttachmentError](err); !ok || refused.Hint == "" || n.called("POST") != 0 {
			t.Errorf("%s: %v, %v", name, err, n.calls)
		}
	}
	made := &CapgoMade{Zip: "nowhere.zip", Checksum: sealedHex, SessionKey: sessionText}
	if _, err := newFakeNode(t).publish(func(_ *Config, r *Request) { r.CapgoMade = made }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// entry is one of a zip that others made.
type entry struct {
	name string
	data string
	mode fs.FileMode
}

func theirZip(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	out := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(e.mode | 0o644)
		w, err := out.CreateHeader(h)
		if err == nil {
			_, err = w.Write([]byte(e.data))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPublisher_TakesAPlainZipOfTheSameFilesOnly(t *testing.T) {
	files := fstest.MapFS{"index.html": {Data: []byte("hello")}, "js/app.js": {Data: []byte("let a")}}
	page, script, folder := entry{name: "index.html", data: "hello"}, entry{name: "js/app.js", data: "let a"},
		entry{name: "js/", mode: fs.ModeDir}
	publish := func(n *fakeNode, data []byte, checksum string) error {
		made := &CapgoMade{Zip: writeTemp(t, "app.zip", data), Checksum: checksum}
		_, err := n.publish(func(_ *Config, r *Request) { r.Dir, r.CapgoMade = writeFiles(t, files), made })
		return err
	}
	n := newFakeNode(t)
	good := theirZip(t, script, folder, page)
	if err := publish(n, good, digest.SumSHA256(good).String()); err != nil {
		t.Fatal(err)
	}
	if ix, got := n.files(n.inForce(), protocol.AttachmentZip); !bytes.Equal(got[protocol.ZipPath].Data, good) ||
		ix.File(protocol.ZipPath).SHA256 != digest.SumSHA256(good) {
		t.Error("the zip that was published is another")
	}
	for name, bad := range map[string][]byte{
		"a file more":         theirZip(t, page, script, entry{name: "more.js", data: "x"}),
		"a file less":         theirZip(t, page),
		"other content":       theirZip(t, page, entry{name: "js/app.js", data: "let b"}),
		"longer content":      theirZip(t, page, entry{name: "js/app.js", data: "let a = 1"}),
		"a folder above":      theirZip(t, entry{name: "www/index.html", data: "hello"}, script),
		"a file twice":        theirZip(t, page, script, script),
		"a way out":           theirZip(t, page, script, entry{name: "../evil.js", data: "x"}),
		"a folder that is up": theirZip(t, page, script, entry{name: "../up/", mode: fs.ModeDir}),
		"an absolute path":    theirZip(t, page, script, entry{name: "/etc/passwd", data: "x"}),
		"a backslash":         theirZip(t, page, script, entry{name: `js\app.js`, data: "x"}),
		"a link":              theirZip(t, page, entry{name: "js/app.js", data: "let a", mode: fs.ModeSymlink}),
		"no zip":              []byte("PK, but that is all"),
		"a zip that was cut":  good[:len(good)-30],
		"nothing":             nil,
	} {
		n := newFakeNode(t)
		err := publish(n, bad, digest.SumSHA256(bad).String())
		if refused, ok := errors.AsType[*AttachmentError](err); !ok || refused.Hint == "" || n.called("POST") != 0 {
			t.Errorf("%s: %v, %v", name, err, n.calls)
		}
	}
	err := publish(newFakeNode(t), good, digest.SumSHA256([]byte("another")).String())
	if refused, ok := errors.AsType[*AttachmentError](err); !ok || !strings.Contains(refused.Reason, "SHA-256") {
		t.Errorf("a zip with another checksum: %v", err)
	}
}

func TestPublisher_RefusesWhatDoesNotGoTogether(t *testing.T) {
	for name, change := range map[string]func(*Request){
		"a key and what is encrypted": func(r *Request) {
			r.CapgoKey, r.CapgoMade = capgoKey(t), &CapgoMade{Checksum: sealedHex, SessionKey: sessionText}
		},
		"a zip and none": func(r *Request) {
			r.Zip, r.CapgoMade = Unwanted, &CapgoMade{Checksum: hex.EncodeToString(make([]byte, 32))}
		},
		"encrypted and not": func(r *Request) {
			r.NoCapgo, r.CapgoMade = true, &CapgoMade{Checksum: sealedHex, SessionKey: sessionText}
		},
		"a CRC-32": func(r *Request) { r.CapgoMade = &CapgoMade{Checksum: "3885ee49"} },
	} {
		n := newFakeNode(t)
		if _, err := n.publish(func(_ *Config, r *Request) { change(r) }); err == nil || len(n.calls) > 0 {
			t.Errorf("%s: %v, %v", name, err, n.calls)
		}
	}
}

func TestReadCapgoMade_FindsTheZipBesideTheFile(t *testing.T) {
	file := writeTemp(t, "out.json", []byte(`{"checksum":"c","filename":"app.zip_encrypted.zip","ivSessionKey":"s"}`))
	got, err := ReadCapgoMade(file)
	want := CapgoMade{Zip: filepath.Join(filepath.Dir(file), "app.zip_encrypted.zip"), Checksum: "c", SessionKey: "s"}
	if err != nil || *got != want {
		t.Errorf("read %+v, %v", got, err)
	}
	elsewhere := filepath.Join(t.TempDir(), "x.zip")
	name := strings.ReplaceAll(elsewhere, `\`, `\\`)
	file = writeTemp(t, "out.json", []byte(`{"bundle":"1.2.3","filename":"`+name+`","checksum":"c"}`))
	if got, err := ReadCapgoMade(file); err != nil || *got != (CapgoMade{Zip: elsewhere, Checksum: "c"}) {
		t.Errorf("read %+v, %v", got, err)
	}
	for _, bad := range []string{"", "{}", `{"filename":"x"}`, `{"checksum":"x"}`, `[1]`, `{"filename":"x","checksum":7}`} {
		if _, err := ReadCapgoMade(writeTemp(t, "out.json", []byte(bad))); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	if _, err := ReadCapgoMade(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func FuzzParseCapgoMade(f *testing.F) {
	f.Add([]byte(`{"checksum":"3885ee49","filename":"app.zip"}`))
	f.Add([]byte(`{"checksum":"` + sealedHex + `","filename":"app.zip","ivSessionKey":"` + sessionText + `"}`))
	f.Add([]byte(`{"checksum":"` + strings.Repeat(`\u0001`, 10_000) + `","filename":"app.zip"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var made *CapgoMade
		var err error
		cost.Check(t, len(raw), func() {
			if made, err = parseCapgoMade(raw); err == nil {
				err = made.Check()
			}
		})
		if err != nil {
			return
		}
		if made.SessionKey == "" && len(made.Checksum) != digest.TextSize {
			t.Fatalf("%+v has no SHA-256", made)
		}
		if made.SessionKey != "" {
			c := capgo.Description{Checksum: made.Checksum, SessionKey: made.SessionKey}
			if c.Form, err = capgo.FormOf(c.Checksum); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Encode(); err != nil {
				t.Fatalf("%+v passed and can not be published: %v", made, err)
			}
		}
	})
}
