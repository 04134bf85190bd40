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

// DecodeIndex decodes an index and checks all that can be checked without the files: canonical form, paths, order, sums
// of sizes, bounds. Errors wrap [ErrMalformed] and, for a path, a [*PathError]. [Index.Encode] returns the same bytes
// for every index that DecodeIndex accepts.
//
// It stops at the first byte that differs from what [Index.Encode] writes, and allocates a small multiple of what it
// has read until then.
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

// MaxIndexOf returns a bound, in bytes, for the encoded index of an archive of size bytes, for readers that do not know
// the size of the index: each file takes at least one block of the archive, more with a longer path, and each chunk but
// the last of a file has at least MinChunk bytes.
func MaxIndexOf(size int64) int64 {
	return min(MaxIndex, 2*min(max(size, 0), MaxArchive)+4<<10)
}

// indexParser reads only the form that [Index.Encode] writes. A general JSON decoder would allocate whatever the bytes
// describe before anything could be checked: the 3 bytes of "{}," become a File of 112.
//
// The first error is kept; methods called after it read nothing.
type indexParser struct {
	raw []byte
	at  int // the next byte
	err error
}

func (p *indexParser) index() (*Index, error) {
	ix := new(Index)
	p.text(`{"schema":`)
	if schema := p.number(); p.err == nil && schema != Schema {
		return nil, fmt.Errorf("schema %d is not supported, want %d", schema, Schema)
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
	if p.accept(`,"chunks":[`) {
		for more := true; more; more = p.more() {
			if int64(len(f.Chunks)) > f.Size/MinChunk {
				p.fail(fmt.Errorf("file %q: too many chunks for a file of %d bytes", f.Path, f.Size))
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

// more reads the comma or bracket after an element of a list, and reports whether another element follows.
func (p *indexParser) more() bool {
	if p.accept(",") {
		return true
	}
	p.text("]")
	return false
}

// accept reads the text if it comes next, and reports whether it did.
func (p *indexParser) accept(text string) bool {
	if p.err != nil || len(p.raw)-p.at < len(text) || string(p.raw[p.at:p.at+len(text)]) != text {
		return false
	}
	p.at += len(text)
	return true
}

func (p *indexParser) text(text string) {
	if !p.accept(text) {
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

// number reads a non-negative integer without leading zeros.
func (p *indexParser) number() (n int64) {
	if p.err != nil {
		return 0
	}
	start := p.at
	for ; p.at < len(p.raw) && p.raw[p.at] >= '0' && p.raw[p.at] <= '9'; p.at++ {
		digit := int64(p.raw[p.at] - '0')
		if n > (math.MaxInt64-digit)/10 {
			p.fail(errors.New("a number is too large"))
			return 0
		}
		n = 10*n + digit
	}
	if p.at == start || p.raw[start] == '0' && p.at > start+1 {
		p.at = start
		p.refuse()
	}
	return n
}

// path reads a string of bounded length. It does not check that it is a path: [CheckPaths] does.
func (p *indexParser) path() string {
	if p.text(`"`); p.err != nil {
		return ""
	}
	start, escaped := p.at, false
	for c := byte(0); c != '"'; {
		if p.at == len(p.raw) || p.raw[p.at] < 0x20 {
			p.refuse()
			return ""
		}
		if p.at-start > 6*MaxPath { // an escaped byte takes at most six
			p.fail(fmt.Errorf("a path is longer than %d bytes", MaxPath))
			return ""
		}
		c = p.raw[p.at]
		p.at++
		if c == '\\' && p.at < len(p.raw) {
			escaped = true
			p.at++
		}
	}
	if token := p.raw[start : p.at-1]; !escaped && isCanonical(token) {
		return string(token)
	}
	value, err := unquote(p.raw[start-1 : p.at])
	if err != nil {
		p.fail(err)
	}
	return value
}

// isCanonical reports whether a JSON string without a backslash is in canonical form: valid UTF-8, and without the line
// separators that encoding/json escapes.
func isCanonical(token []byte) bool {
	return utf8.Valid(token) && !bytes.Contains(token, []byte("\u2028")) && !bytes.Contains(token, []byte("\u2029"))
}

// unquote decodes a JSON string, and refuses one that [Index.Encode] would write differently.
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
		return "", errors.New("path " + strconv.Quote(value) + " is not in canonical form")
	}
	return value, nil
}
