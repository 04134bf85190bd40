package capgo_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"brink/bench/cost"
	"brink/bundle"
	"brink/protocol"
	"brink/protocol/capgo"
)

func sealedHex(of byte) string {
	return hex.EncodeToString(bytes.Repeat([]byte{of}, capgo.Sealed))
}

func sealedBase64(of byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{of}, capgo.Sealed))
}

func sessionKey() string {
	return base64.StdEncoding.EncodeToString(make([]byte, capgo.Block)) + ":" + sealedBase64(9)
}

// description returns one with which nothing is wrong.
func description() *capgo.Description {
	return &capgo.Description{
		Checksum: sealedHex(1), SessionKey: sessionKey(), KeyID: "MIIBCgKCAQEA4pW9olT0", Form: capgo.Hex,
		Files: []capgo.File{
			{FileName: "index.html", FileHash: sealedHex(2), Path: "files/a", Size: 16},
			{FileName: "js/app.js.br", FileHash: sealedHex(3), Path: "files/b", Size: 4096},
		},
	}
}

func TestParse_ReadsWhatEncodeWrote(t *testing.T) {
	want := description()
	raw, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := capgo.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Files[1].Target() != "js/app.js" || got.Files[0].Target() != "index.html" {
		t.Errorf("targets %q and %q", got.Files[0].Target(), got.Files[1].Target())
	}
	if _, err := capgo.Parse(append(raw, make([]byte, capgo.MaxSize)...)); !errors.Is(err, capgo.ErrFormat) {
		t.Errorf("what is too long gives %v", err)
	}
}

func TestParse_RefusesWhatNoPluginTakes(t *testing.T) {
	for name, spoil := range map[string]func(*capgo.Description){
		"CRC32":                  func(c *capgo.Description) { c.Checksum = "3885ee49" },
		"a plain SHA-256":        func(c *capgo.Description) { c.Checksum = strings.Repeat("ab", 32) },
		"upper case":             func(c *capgo.Description) { c.Checksum = strings.ToUpper(sealedHex(0xab)) },
		"another form":           func(c *capgo.Description) { c.Form = capgo.Base64 },
		"no form":                func(c *capgo.Description) { c.Form = "" },
		"no session key":         func(c *capgo.Description) { c.SessionKey = "" },
		"a vector only":          func(c *capgo.Description) { c.SessionKey, _, _ = strings.Cut(c.SessionKey, ":") },
		"three parts":            func(c *capgo.Description) { c.SessionKey += ":" },
		"a key ID too long":      func(c *capgo.Description) { c.KeyID += "x" },
		"a key ID with a space":  func(c *capgo.Description) { c.KeyID = "a b" },
		"a path that leads out":  func(c *capgo.Description) { c.Files[0].Path = "../a" },
		"a name that leads out":  func(c *capgo.Description) { c.Files[0].FileName = "../a" },
		"no name but .br":        func(c *capgo.Description) { c.Files[0].FileName = ".br" },
		"the zip as a file":      func(c *capgo.Description) { c.Files[0].Path = protocol.ZipPath },
		"half a block":           func(c *capgo.Description) { c.Files[0].Size = 24 },
		"no block":               func(c *capgo.Description) { c.Files[0].Size = 0 },
		"less than none":         func(c *capgo.Description) { c.Files[0].Size = -16 },
		"a file's plain SHA-256": func(c *capgo.Description) { c.Files[0].FileHash = strings.Repeat("ab", 32) },
		"a file of another form": func(c *capgo.Description) { c.Files[0].FileHash = sealedBase64(1) },
		"two files of one name":  func(c *capgo.Description) { c.Files[0].FileName = "js/app.js" },
		"two names but for case": func(c *capgo.Description) { c.Files[0].FileName = "JS/app.js" },
		"too many files": func(c *capgo.Description) {
			c.Files = slices.Repeat(c.Files[:1], capgo.MaxFiles+1)
		},
	} {
		c := description()
		spoil(c)
		if _, err := c.Encode(); !errors.Is(err, capgo.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDescription_CheckIndexWantsEveryFile(t *testing.T) {
	c := description()
	whole := []bundle.File{{Path: "bundle.zip", Size: 32}, {Path: "files/a", Size: 16}, {Path: "files/b", Size: 4096}}
	if err := c.CheckIndex(&bundle.Index{Files: whole}); err != nil {
		t.Error(err)
	}
	for i := range whole {
		less := slices.Delete(slices.Clone(whole), i, i+1)
		if err := c.CheckIndex(&bundle.Index{Files: less}); !errors.Is(err, capgo.ErrFormat) {
			t.Errorf("without %s: %v", whole[i].Path, err)
		}
		other := slices.Clone(whole)
		other[i].Size++
		if err := c.CheckIndex(&bundle.Index{Files: other}); !errors.Is(err, capgo.ErrFormat) {
			t.Errorf("with %s of another size: %v", whole[i].Path, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	seed, err := description().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"checksum":"` + sealedBase64(1) + `","session_key":"` + sessionKey() + `","form":"base64","more":1}`))
	f.Add([]byte("null"))
	file := `{"file_name":"a","file_hash":"` + sealedBase64(1) + `","path":"b","size":16}`
	for _, element := range []string{"{}", "null", file} {
		list := strings.Repeat(element+",", 200_000/len(element)) + element
		f.Add([]byte(`{"files":[` + list + "]}"))
		f.Add([]byte(`{"checksum":"` + sealedBase64(1) + `","session_key":"` + sessionKey() + `","form":"base64","files":[` + list + "]}"))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c *capgo.Description
		var err error
		cost.Check(t, len(raw), func() { c, err = capgo.Parse(raw) })
		if err != nil {
			if !errors.Is(err, capgo.ErrFormat) {
				t.Fatalf("%v is not ErrCapgo", err)
			}
			return
		}
		again, err := c.Encode()
		if err != nil {
			t.Fatalf("what was read is not written: %v", err)
		}
		second, err := capgo.Parse(again)
		if diff := cmp.Diff(c, second); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
		for i := range c.Files {
			if bundle.CheckPath(c.Files[i].Target()) != nil || bundle.CheckPath(c.Files[i].Path) != nil {
				t.Fatalf("an unsafe path: %+v", c.Files[i])
			}
		}
	})
}
