package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// scripts are file names as people all over the world write them, and as programs do who think of nobody.
func scripts() tree {
	names := []string{
		"latin/Straße, Œuvre & naïveté.html", "кириллица/Щедрый.js", "ελληνικά/Ὀδυσσεύς.css", "עברית/שלום.txt",
		"العربية/مرحبا.txt", "हिन्दी/नमस्ते.txt", "বাংলা/নমস্কার", "தமிழ்/வணக்கம்", "ไทย/สวัสดี", "ქართული/გამარჯობა",
		"հայերեն/բարև", "አማርኛ/ሰላም", "中文/你好.html", "日本語/こんにちは.html", "日本語/コンニチハ.html", "한국어/안녕하세요",
		"монгол/ᠮᠣᠩᠭᠣᠯ", "ᏣᎳᎩ/ᎣᏏᏲ", "emoji/👩‍👩‍👧‍👦🏳️‍🌈.png", "math/𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "rtl/\u202egnp.exe", "zero\u200bwidth", "nbsp\u00a0.txt",
		"nfc/caf\u00e9.txt", "nfd-alone/cafe\u0301.txt",
		" leading and trailing ", "dots/...", "dots/.hidden", "dots/a..b", "percent/100%25.txt", "query/a?b=c&d#e",
		"quote/it's \"so\"", "shell/$(rm -rf ~);`id`|x>y", "glob/*[a-z]{1,2}", "tilde/~", "dash/-rf", "plus/a+b c",
		"CON", "aux.txt", "colon/a:b", "@scope/package/index.js", "__MACOSX/._x", "long/" + strings.Repeat("語", 85),
		"deep/" + strings.Repeat("d/", 62) + "end",
	}
	files := tree{}
	for i, name := range names {
		files[name] = strconv.Itoa(i) + " " + name
	}
	return files
}

func TestNames_OfEveryScriptComeThrough(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the file systems of other systems do not take all of these names")
	}
	p := begin(t)
	n := p.serve(t, "data")
	files := scripts()
	files.write(t, p.file("www"))
	made := p.publish(t, n.url, "www", "1.0.0")
	p.fetch(t, n.url, "device")
	wantTree(t, p.file("device"), files)
	for name, content := range files {
		body, status := get(t, n.url+"/v1/bundles/"+made.Bundle+"/files/"+escape(name))
		if status != http.StatusOK || body != content {
			t.Errorf("%q is answered with %d and %q", name, status, body)
		}
	}
	if o := p.must(t, "bundle", "inspect", "www", "--json"); !strings.Contains(o.stdout, "コンニチハ.html") {
		t.Errorf("bundle inspect does not name the files as they are:\n%s", o.stdout)
	}
}

func TestNames_ThatNoDeviceCouldKeepAreRefused(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the file systems of other systems do not take these names in the first place")
	}
	p := begin(t)
	n := p.serve(t, "data")
	outside := filepath.Join(p.file("secret"), "key")
	tree{"key": "nobody's business"}.write(t, p.file("secret"))
	for name, test := range map[string]struct {
		files tree
		links map[string]string // by name, where they lead
		named string            // in the error
	}{
		"NFC and NFD":          {files: tree{"caf\u00e9.txt": "a", "cafe\u0301.txt": "b"}, named: "café.txt"},
		"hangul":               {files: tree{"\uac00": "a", "\u1100\u1161": "b"}, named: "가"},
		"case":                 {files: tree{"img/Logo.png": "a", "img/logo.png": "b"}, named: "img/logo.png"},
		"case of a folder":     {files: tree{"IMG/a.png": "a", "img/a.png": "b"}, named: "img/a.png"},
		"case beyond ASCII":    {files: tree{"ЯБЛОКО": "a", "яблоко": "b"}, named: "яблоко"},
		"sharp s":              {files: tree{"STRASSE": "a", "straße": "b"}, named: "straße"},
		"file and folder":      {files: tree{"Readme": "a", "readme/x": "b"}, named: "readme/x"},
		"backslash":            {files: tree{`..\..\evil`: "a"}, named: `..\..\evil`},
		"control character":    {files: tree{"a\nb": "a"}, named: "a\nb"},
		"not UTF-8":            {files: tree{"a\xff": "a"}, named: "a\xff"},
		"drive letter":         {files: tree{"C:": "a"}, named: "C:"},
		"link out":             {files: tree{"ok": "a"}, links: map[string]string{"leak": outside}, named: "leak"},
		"relative link out":    {files: tree{"ok": "a"}, links: map[string]string{"leak": "../secret/key"}, named: "leak"},
		"link to nowhere":      {files: tree{"ok": "a"}, links: map[string]string{"gone": "missing"}, named: "gone"},
		"link to a folder":     {files: tree{"d/ok": "a"}, links: map[string]string{"e": "d"}, named: "e"},
		"link to a folder out": {files: tree{"ok": "a"}, links: map[string]string{"all": "../secret"}, named: "all"},
		"link in a circle":     {files: tree{"ok": "a"}, links: map[string]string{"me": "me"}, named: "me"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := test.files.write(t, filepath.Join(p.dir, "bad", name))
			for link, to := range test.links {
				if err := os.Symlink(strings.Replace(to, "../", "../../", 1), filepath.Join(dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			o := p.run(t, p.publishArgs(n.url, dir, "1.0.0", production)...)
			if o.code != 3 {
				t.Fatalf("publish ended with %d: %s", o.code, o.stderr)
			}
			if said := failureOf(t, o); said.Code != "bad_path" || said.Hint == "" || !strings.Contains(said.Message, strconv.Quote(test.named)) {
				t.Errorf("the error is %+v, want one that names %q", said, test.named)
			}
		})
	}
	if _, status := get(t, n.url+"/v1/apps/"+app+"/channels/"+production); status != http.StatusNotFound {
		t.Errorf("something was published: %d", status)
	}

	// A link to a file inside is followed, and what devices get is a file.
	dir := tree{"real.txt": "text"}.write(t, p.file("linked"))
	if err := os.Symlink("real.txt", filepath.Join(dir, "alias.txt")); err != nil {
		t.Fatal(err)
	}
	p.publish(t, n.url, dir, "1.0.0")
	p.fetch(t, n.url, "device")
	wantTree(t, p.file("device"), tree{"real.txt": "text", "alias.txt": "text"})
}
