package main

import (
	"bytes"
	"io"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// printable escapes everything in text that a terminal could interpret as a command or that could disguise the text:
// control characters including line breaks, direction marks, invisible characters, and bytes that are not UTF-8. Most
// text comes from nodes, buckets and bundles, and is not trusted.
func printable(text string) string { return string(appendPrintable(nil, []byte(text))) }

func appendPrintable(b, text []byte) []byte {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if r != utf8.RuneError && unicode.IsPrint(r) || size > 1 && r == utf8.RuneError {
			b = append(b, text[:size]...)
		} else {
			quoted := strconv.AppendQuoteToASCII(nil, string(text[:size]))
			b = append(b, quoted[1:len(quoted)-1]...)
		}
		text = text[size:]
	}
	return b
}

// screen is the writer for output in text form. Each call of Write is one line or the end of one; everything else that
// is not printable is escaped, so that untrusted text cannot start a new line.
type screen struct{ w io.Writer }

// Write implements [io.Writer].
func (s screen) Write(b []byte) (int, error) {
	line := bytes.TrimRight(b, "\n")
	if _, err := s.w.Write(append(appendPrintable(nil, line), b[len(line):]...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// escapeJSON returns equivalent JSON in which all characters but line breaks are printable: encoding/json escapes
// neither DEL, nor control characters above ASCII, nor direction marks.
func escapeJSON(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out = append(out, b[:size]...)
		case r <= 0xffff:
			out = appendUnit(out, r)
		default:
			out = appendUnit(appendUnit(out, 0xd800+(r-0x10000)>>10), 0xdc00+(r-0x10000)&0x3ff)
		}
		b = b[size:]
	}
	return out
}

func appendUnit(b []byte, unit rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[unit>>12&15], digits[unit>>8&15], digits[unit>>4&15], digits[unit&15])
}
