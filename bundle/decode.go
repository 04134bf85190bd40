package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"brink/digest"
)

// DecodeIndex reads an index and checks everything about it that can be known without the files: canonical form,
// paths, order, sizes that add up, bounds. It returns [ErrMalformed], or a [*PathError] inside it, and never an index
// that [Index.Encode] would not turn into the same bytes.
//
// It stops at the first byte that is not as [Index.Encode] writes it, and allocates a small multiple of what it has
// read until then.
func DecodeIndex(raw []byte) (*Index, error) {
	if len(raw) > MaxIndex {
		return nil, fmt.Errorf("index: %w: longer than %d bytes", ErrMalformed, MaxIndex)
	}
	p := indexParser{raw: raw}
	ix, err := p.index()
	if err == nil {
		err = ix.check()
	}
	if err != nil {
		return nil, fmt.Errorf("index: %w: %w", ErrMalformed, err)
	}
	return ix, nil
}

// MaxIndexOf bounds the encoded index of an archive of size bytes, for a reader who knows nothing else of the index: a
// file takes at least a block of the archive, and more the longer its path is; a chunk but the last of a file takes
// MinChunk bytes.
func MaxIndexOf(size int64) int64 {
	return min(MaxIndex, 2*min(max(size, 0), MaxArchive)+4<<10)
}

// indexParser reads the one form that [Index.Encode] writes. A general JSON decoder would build whatever the bytes
// describe before anything could be checked: the 3 bytes of "{}," make a File of 112.
//
// The first error sticks: everything after it reads nothing.
type indexParser struct {
	raw []byte
	at  int // the next byte
	err error
}

func (p *indexParser) index() (*Index, error) {
	ix := new(Index)
	p.text(`{"schema":`)
	if schema := p.number(); p.err == nil && schema != Schema {
		return nil, fmt.Errorf("schema %d, this program knows %d", schema, Schema)
	}
	ix.Schema = Schema
	p.text(`,"archive":{"digest":`)
	p.hex(ix.Archive.Digest[:])
	p.text(`,"sha256":`)
	p.hex(ix.Archive.SHA256[:])
	p.text(`,"size":`)
	ix.Archive.Size = p.number()
	p.text(`},"files":[`)
	for more := p.err == nil; more; more = p.more() {
		if len(ix.Files) == MaxFiles {
			return nil, fmt.Errorf("more than %d files", MaxFiles)
		}
		ix.Files = append(ix.Files, p.file())
	}
	p.text("}\n")
	if p.at < len(p.raw) {
		p.refuse()
	}
	return ix, p.err
}

func (p *indexParser) file() (f File) {
	p.text(`{"path":`)
	f.Path = p.path()
	p.text(`,"size":`)
	f.Size = p.number()
	p.text(`,"digest":`)
	p.hex(f.Digest[:])
	p.text(`,"sha256":`)
	p.hex(f.SHA256[:])
	if p.has(`,"chunks":[`) {
		for more := true; more; more = p.more() {
			if int64(len(f.Chunks)) > f.Size/MinChunk {
				p.fail(fmt.Errorf("file %q: more chunks than a file of %d bytes has", f.Path, f.Size))
			}
			f.Chunks = append(f.Chunks, p.chunk())
		}
	}
	p.text("}")
	return f
}

func (p *indexParser) chunk() (c Chunk) {
	p.text(`{"digest":`)
	p.hex(c.Digest[:])
	p.text(`,"size":`)
	c.Size = p.number()
	p.text("}")
	return c
}

// more reads what follows an element of a list, and reports whether there is another element.
func (p *indexParser) more() bool {
	if p.has(",") {
		return true
	}
	p.text("]")
	return false
}

// has reads the text if it is next, and reports whether it was.
func (p *indexParser) has(text string) bool {
	if p.err != nil || len(p.raw)-p.at < len(text) || string(p.raw[p.at:p.at+len(text)]) != text {
		return false
	}
	p.at += len(text)
	return true
}

func (p *indexParser) text(text string) {
	if !p.has(text) {
		p.refuse()
	}
}

func (p *indexParser) refuse() { p.fail(fmt.Errorf("not in canonical form at byte %d", p.at)) }

func (p *indexParser) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// hex reads a digest in quotes.
func (p *indexParser) hex(into []byte) {
	const quoted = digest.TextSize + 2
	if p.err != nil || len(p.raw)-p.at < quoted || p.raw[p.at] != '"' || p.raw[p.at+quoted-1] != '"' {
		p.refuse()
		return
	}
	d, err := digest.Parse(string(p.raw[p.at+1 : p.at+quoted-1]))
	if err != nil {
		p.fail(err)
		return
	}
	copy(into, d[:])
	p.at += quoted
}

// number reads a number that is not negative, in its shortest spelling.
func (p *indexParser) number() (n int64) {
	if p.err != nil {
		return 0
	}
	begin := p.at
	for ; p.at < len(p.raw) && p.raw[p.at] >= '0' && p.raw[p.at] <= '9'; p.at++ {
		digit := int64(p.raw[p.at] - '0')
		if n > (math.MaxInt64-digit)/10 {
			p.fail(errors.New("a number is too large"))
			return 0
		}
		n = 10*n + digit
	}
	if p.at == begin || p.raw[begin] == '0' && p.at > begin+1 {
		p.at = begin
		p.refuse()
	}
	return n
}

// path reads a string. It bounds the length, and leaves to [CheckPaths] whether it is a path.
func (p *indexParser) path() string {
	if p.text(`"`); p.err != nil {
		return ""
	}
	begin, escaped := p.at, false
	for c := byte(0); c != '"'; {
		if p.at == len(p.raw) || p.raw[p.at] < 0x20 {
			p.refuse()
			return ""
		}
		if p.at-begin > 6*MaxPath { // no byte is escaped by more than six
			p.fail(fmt.Errorf("a path of more than %d bytes", MaxPath))
			return ""
		}
		c = p.raw[p.at]
		p.at++
		if c == '\\' && p.at < len(p.raw) {
			escaped = true
			p.at++
		}
	}
	if token := p.raw[begin : p.at-1]; !escaped && plain(token) {
		return string(token)
	}
	value, err := unquote(p.raw[begin-1 : p.at])
	if err != nil {
		p.fail(err)
	}
	return value
}

// plain reports whether a JSON string without a backslash is the one spelling of its value: valid UTF-8, and without
// the line separators that encoding/json escapes.
func plain(token []byte) bool {
	return utf8.Valid(token) && !bytes.Contains(token, []byte("\u2028")) && !bytes.Contains(token, []byte("\u2029"))
}

// unquote reads a JSON string that [Index.Encode] would write in the same way.
func unquote(quoted []byte) (string, error) {
	var value string
	if err := json.Unmarshal(quoted, &value); err != nil {
		return "", err
	}
	var again bytes.Buffer
	enc := json.NewEncoder(&again)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return "", err
	}
	if !bytes.Equal(bytes.TrimSuffix(again.Bytes(), []byte("\n")), quoted) {
		return "", errors.New("path " + strconv.Quote(value) + " is not spelt in its canonical form")
	}
	return value, nil
}
