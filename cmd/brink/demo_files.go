package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"brink/digest"
)

// demoApp is a generated web app of about 5 MB, the same on every machine. It has minified scripts and style sheets,
// which are text, and images and fonts, which are incompressible. File names contain part of a digest, as those of
// bundlers do, so that a file that changes gets a new name.
type demoApp struct {
	files map[string][]byte
}

// The numbers of files in the generated app are typical of web apps of its size.
const (
	demoChunks  = 24 // script files besides the entry and vendor code
	demoLocales = 8
	demoImages  = 14
)

// newDemoApp generates the files of the first version or the next, which changes one function of the entry, one rule of
// the style sheet and one sentence in each language.
func newDemoApp(next bool) demoApp {
	app := demoApp{files: map[string][]byte{}}
	random := rand.New(rand.NewPCG(2, 5)) // any fixed seed will do

	vendor := app.add("assets/vendor", ".js", script(random, 1400<<10))
	var chunks []string
	for i := range demoChunks {
		content := script(random, (20+random.IntN(60))<<10)
		chunks = append(chunks, app.add(fmt.Sprintf("assets/page-%02d", i), ".js", content))
	}
	entry := script(random, 600<<10)
	style := styleSheet(random, 220<<10)
	if next {
		entry = replaceMiddle(entry, `if(s.retries<3){s.retries++;return q(s.next)}`)
		style = replaceMiddle(style, `.cart-total{font-weight:600}`)
	}
	main := app.add("assets/index", ".js", entry)
	css := app.add("assets/index", ".css", style)
	for i := range demoLocales {
		sentence := "Your order is on its way."
		if next {
			sentence = "Your order is on its way!"
		}
		app.files[fmt.Sprintf("locales/%02d.json", i)] = locale(random, sentence)
	}
	for i := range demoImages {
		kind := ".webp"
		if i < 4 {
			kind = ".woff2"
		}
		app.add(fmt.Sprintf("media/%02d", i), kind, noise(random, (40+random.IntN(120))<<10))
	}
	app.files["index.html"] = page(main, css, vendor, chunks)
	return app
}

// add adds a file under a name that contains part of its digest, and returns that name.
func (a demoApp) add(stem, kind string, content []byte) string {
	name := stem + "-" + digest.Sum(content).Short()[:8] + kind
	a.files[name] = content
	return name
}

// write writes the files to a folder.
func (a demoApp) write(dir string) error {
	for name, content := range a.files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func replaceMiddle(content []byte, fix string) []byte {
	changed := bytes.Clone(content)
	copy(changed[len(changed)/2:], fix)
	return changed
}

// script returns about size bytes that look like a minified script.
func script(random *rand.Rand, size int) []byte {
	words := strings.Fields(`state props value index items length target current children effect render update config
		options handler listener request response status message error result cache queue token session user order
		cart price total amount product category filter search router history location params query theme layout`)
	calls := strings.Fields(`map filter reduce push slice concat forEach includes indexOf join split then catch bind apply
		addEventListener dispatch subscribe setState createElement querySelector assign keys entries`)
	name := func() string {
		const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ$_"
		return string(letters[random.IntN(len(letters))]) + []string{"", "", string(letters[random.IntN(52)])}[random.IntN(3)]
	}
	word := func() string { return words[random.IntN(len(words))] }
	call := func() string { return calls[random.IntN(len(calls))] }
	var b bytes.Buffer
	out := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	for b.Len() < size {
		switch n, m := name(), name(); random.IntN(8) {
		case 0:
			out("function %s(%s,%s){var %s=", name(), n, m, name())
			out("%s.%s;return %s?%s.%s(%s):null}", n, word(), m, name(), call(), n)
		case 1:
			out("const %s=(%s,%s)=>%s.%s(%s=>", name(), n, m, n, call(), name())
			out("%s.%s===%d);", m, word(), random.IntN(4096))
		case 2:
			out("%s.exports={%s:%q,%s:%t,", n, word(), word()+"-"+word(), word(), random.IntN(2) == 0)
			out("%s:%d};", word(), random.IntN(1e6))
		case 3:
			out("if(!%s||%s.%s>%d)", n, n, word(), random.IntN(512))
			out("throw new Error(%q);", "unexpected "+word()+" in "+word())
		case 4:
			out("(0,%s.%s)(%s,{%s:%s=>", name(), call(), n, word(), m)
			out("%s.%s(%s.%s)});", m, call(), n, word())
		case 5:
			out("for(let %s=0;%s<%s.length;%s++)", n, n, m, n)
			out("%s[%s]=%s.%s^%#x;", m, n, name(), word(), random.Uint32())
		case 6:
			out("async function %s(){try{await %s.%s(", name(), n, call())
			out("`/api/%s/${%s}`)}catch(%s){%s(%s)}}", word(), m, name(), name(), m)
		case 7:
			out("%d:(%s,%s,%s)=>{%s.d(%s,", random.IntN(1e5), name(), n, m, m, n)
			out("{%s:()=>%s});var %s=%s(%d)},", name(), name(), name(), m, random.IntN(1e5))
		}
	}
	return b.Bytes()
}

// styleSheet returns about size bytes of style sheet.
func styleSheet(random *rand.Rand, size int) []byte {
	parts := strings.Fields("card nav list button header footer modal input badge menu cart price grid hero tab chip")
	var b bytes.Buffer
	for b.Len() < size {
		part := func() string { return parts[random.IntN(len(parts))] }
		fmt.Fprintf(&b, ".%s-%s[data-v-%06x]{padding:%dpx %dpx;", part(), part(),
			random.IntN(1<<24), random.IntN(48), random.IntN(48))
		fmt.Fprintf(&b, "color:#%06x;margin:%d.%drem auto;border-radius:%dpx}",
			random.IntN(1<<24), random.IntN(4), random.IntN(10), random.IntN(24))
	}
	return b.Bytes()
}

// locale returns the sentences of one language.
func locale(random *rand.Rand, sentence string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n  \"order.sent\": %q", sentence)
	for i := range 300 {
		fmt.Fprintf(&b, ",\n  \"text.%03d\": \"", i)
		for range 3 + random.IntN(8) {
			for range 2 + random.IntN(7) {
				b.WriteByte("etaoinshrdlucmfwypvbgk"[random.IntN(22)])
			}
			b.WriteByte(' ')
		}
		b.WriteByte('"')
	}
	b.WriteString("\n}\n")
	return b.Bytes()
}

// noise returns incompressible bytes, like those of images and fonts.
func noise(random *rand.Rand, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func page(main, css, vendor string, chunks []string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>Brink demo</title>\n")
	fmt.Fprintf(&b, "<link rel=stylesheet href=%q>\n", css)
	fmt.Fprintf(&b, "<script src=%q></script>\n<script type=module src=%q></script>\n", vendor, main)
	for _, chunk := range chunks {
		fmt.Fprintf(&b, "<link rel=modulepreload href=%q>\n", chunk)
	}
	b.WriteString("<h1>It works.</h1>\n")
	return b.Bytes()
}
