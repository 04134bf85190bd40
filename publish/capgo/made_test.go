package capgo

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"brink/bench/cost"
	"brink/digest"
	"brink/protocol"
	format "brink/protocol/capgo"
	"brink/publish"
)

var (
	sealedHex    = strings.Repeat("0f", format.Sealed)
	sealedBase64 = base64.StdEncoding.EncodeToString(make([]byte, format.Sealed))
	sessionText  = base64.StdEncoding.EncodeToString(make([]byte, format.Block)) + ":" + sealedBase64
)

func TestMade_CheckSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	sum := digest.SumSHA256([]byte("zip")).String()
	for _, good := range []Made{
		{Checksum: sum},
		{Checksum: sealedHex, SessionKey: sessionText},
		{Checksum: sealedBase64, SessionKey: sessionText, KeyID: "MIIBCgKCAQEAxWG2AqMZ"},
	} {
		if err := good.Check(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, row := range []struct {
		made Made
		says string
	}{
		{Made{Checksum: "3885ee49"}, "CRC-32"},
		{Made{Checksum: "3885EE49", SessionKey: sessionText}, "CRC-32"},
		{Made{Checksum: strings.ToUpper(sum)}, "upper case"},
		{Made{Checksum: strings.ToUpper(sealedHex), SessionKey: sessionText}, "upper case"},
		{Made{Checksum: ""}, "not a SHA-256"},
		{Made{Checksum: sum[1:]}, "not a SHA-256"},
		{Made{Checksum: sealedHex}, "session key is missing"},
		{Made{Checksum: sum, SessionKey: sessionText}, "of a plain zip"},
		{Made{Checksum: sealedHex[2:], SessionKey: sessionText}, "512 lower-case hex digits"},
		{Made{Checksum: sealedHex, SessionKey: sessionText[1:]}, "16 bytes"},
		{Made{Checksum: sealedHex, SessionKey: sessionText + ":" + sessionText}, "16 bytes"},
		{Made{Checksum: sealedHex, SessionKey: sealedBase64 + ":" + sealedBase64}, "16 bytes"},
		{Made{Checksum: sealedHex, SessionKey: sessionText, KeyID: "-----BEGIN"}, "20 characters"},
	} {
		err := row.made.Check()
		refused, ok := errors.AsType[*publish.AttachmentError](err)
		if !ok || refused.Hint == "" || !strings.Contains(refused.Reason, row.says) {
			t.Errorf("%+v: %v, want %q", row.made, err, row.says)
		}
	}
}

func TestAttacher_TakesWhatOthersHaveEncrypted(t *testing.T) {
	n := newPlace(t)
	data := noise(16 * 500)
	made := &Made{
		Zip: writeTemp(t, "app.zip_encrypted.zip", data), Checksum: sealedHex, SessionKey: sessionText, KeyID: "MIIB",
	}
	if _, err := n.publish(withZip, func(r *request) { r.take(t, made) }); err != nil {
		t.Fatal(err)
	}
	m := n.inForce()
	ix, files := n.files(m, format.Kind)
	c, err := format.Parse(files[format.Path].Data)
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

func TestAttacher_RefusesWhatIsNotEncrypted(t *testing.T) {
	for name, data := range map[string][]byte{
		"a plain zip": append([]byte("PK\x03\x04"), make([]byte, 28)...),
		"nothing":     nil,
		"no blocks":   noise(1000),
	} {
		n := newPlace(t)
		made := &Made{Zip: writeTemp(t, "x.zip", data), Checksum: sealedHex, SessionKey: sessionText}
		_, err := n.publish(func(r *request) { r.take(t, made) })
		if refused, ok := errors.AsType[*publish.AttachmentError](err); !ok || refused.Hint == "" || len(n.offered) != 0 {
			t.Errorf("%s: %v, %v", name, err, n.offered)
		}
	}
	made := &Made{Zip: "nowhere.zip", Checksum: sealedHex, SessionKey: sessionText}
	if _, err := newPlace(t).publish(func(r *request) { r.take(t, made) }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestAttacher_RefusesWhatDoesNotGoTogether(t *testing.T) {
	sealed := &Made{Checksum: sealedHex, SessionKey: sessionText}
	for name, bad := range map[string]Attacher{
		"a key and what is encrypted": {Key: testKey(t), Made: sealed},
		"encrypted and not":           {None: true, Made: sealed},
		"a key and not":               {None: true, Key: testKey(t)},
		"what is not encrypted":       {Made: &Made{Checksum: hex.EncodeToString(make([]byte, 32))}},
		"a CRC-32":                    {Made: &Made{Checksum: "3885ee49", SessionKey: sessionText}},
	} {
		n := newPlace(t)
		if _, err := n.publish(func(r *request) { r.capgo = bad }); err == nil || n.calls > 0 {
			t.Errorf("%s: %v after %d calls", name, err, n.calls)
		}
	}
}

func TestMade_GivenIsAPlainZipOnly(t *testing.T) {
	sum := digest.SumSHA256([]byte("zip"))
	got, err := (&Made{Zip: "app.zip", Checksum: sum.String()}).Given()
	if err != nil || *got != (publish.GivenZip{File: "app.zip", SHA256: sum}) {
		t.Errorf("given %+v, %v", got, err)
	}
	for name, bad := range map[string]Made{
		"a CRC-32":          {Zip: "app.zip", Checksum: "3885ee49"},
		"what is encrypted": {Zip: "app.zip", Checksum: sealedHex, SessionKey: sessionText},
	} {
		if got, err := bad.Given(); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestReadMade_FindsTheZipBesideTheFile(t *testing.T) {
	file := writeTemp(t, "out.json", []byte(`{"checksum":"c","filename":"app.zip_encrypted.zip","ivSessionKey":"s"}`))
	got, err := ReadMade(file)
	want := Made{Zip: filepath.Join(filepath.Dir(file), "app.zip_encrypted.zip"), Checksum: "c", SessionKey: "s"}
	if err != nil || *got != want {
		t.Errorf("read %+v, %v", got, err)
	}
	elsewhere := filepath.Join(t.TempDir(), "x.zip")
	name := strings.ReplaceAll(elsewhere, `\`, `\\`)
	file = writeTemp(t, "out.json", []byte(`{"bundle":"1.2.3","filename":"`+name+`","checksum":"c"}`))
	if got, err := ReadMade(file); err != nil || *got != (Made{Zip: elsewhere, Checksum: "c"}) {
		t.Errorf("read %+v, %v", got, err)
	}
	for _, bad := range []string{"", "{}", `{"filename":"x"}`, `{"checksum":"x"}`, `[1]`, `{"filename":"x","checksum":7}`} {
		if _, err := ReadMade(writeTemp(t, "out.json", []byte(bad))); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	if _, err := ReadMade(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func FuzzParseMade(f *testing.F) {
	f.Add([]byte(`{"checksum":"3885ee49","filename":"app.zip"}`))
	f.Add([]byte(`{"checksum":"` + sealedHex + `","filename":"app.zip","ivSessionKey":"` + sessionText + `"}`))
	f.Add([]byte(`{"checksum":"` + strings.Repeat(`\u0001`, 10_000) + `","filename":"app.zip"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var made *Made
		var err error
		cost.Check(t, len(raw), func() {
			if made, err = parseMade(raw); err == nil {
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
			c := format.Description{Checksum: made.Checksum, SessionKey: made.SessionKey}
			if c.Form, err = format.FormOf(c.Checksum); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Encode(); err != nil {
				t.Fatalf("%+v passed and cannot be published: %v", made, err)
			}
		}
	})
}
