package semantics

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"brink/bench/cost"
)

func TestConditions_IfNoneMatch(t *testing.T) {
	rows := []struct {
		section, field, tag string
		want                int
	}{
		{"13.1.2", `"a"`, `"a"`, 304},
		{"13.1.2", `"b"`, `"a"`, 200},
		{"13.1.2, list", `"x", "a" , "y"`, `"a"`, 304},
		{"13.1.2, asterisk", ` * `, `"a"`, 304},
		{"13.1.2, asterisk in a list is malformed", `*, "b"`, `"a"`, 200},
		{"8.8.3.2, weak comparison", `W/"a"`, `"a"`, 304},
		{"8.8.3.2, weak comparison", `"a"`, `W/"a"`, 304},
		{"8.8.3, mark is case-sensitive", `w/"a"`, `"a"`, 200},
		{"8.8.3, comma in a tag", `"x,"a"`, `"a"`, 200},
		{"8.8.3, comma in a tag", `"x,y", "a"`, `"a"`, 304},
		{"8.8.3, tag that looks like a list", `"b, \"a\""`, `"a"`, 200},
		{"8.8.3, no quotes", `a`, `"a"`, 200},
		{"8.8.3, no closing quote", `"a`, `"a"`, 200},
		{"8.8.3, empty tag", `""`, `""`, 304},
		{"8.8.3, space in a tag", `"a b", "a"`, `"a"`, 200},
		{"5.6.1.2, empty members", `,, "b",,"a",`, `"a"`, 304},
		{"no comma between", `"b" "a"`, `"a"`, 200},
		{"garbage after a match that is no list", `"a"x`, `"a"`, 200},
		{"empty field", ``, `"a"`, 200},
		{"no tag", `"a"`, ``, 200},
		{"no tag, asterisk", `*`, ``, 304},
	}
	for _, r := range rows {
		got := Conditions{IfNoneMatch: []byte(r.field)}.Evaluate([]byte(r.tag), 10)
		if got.Status != r.want {
			t.Errorf("%s: If-None-Match: %s for %s gives %d, want %d", r.section, r.field, r.tag, got.Status, r.want)
		}
	}
}

func TestConditions_IfMatch(t *testing.T) {
	rows := []struct {
		section, field, tag string
		want                int
	}{
		{"13.1.1", `"a"`, `"a"`, 200},
		{"13.1.1", `"b"`, `"a"`, 412},
		{"13.1.1, list", `"b", "a"`, `"a"`, 200},
		{"13.1.1, asterisk", `*`, `"a"`, 200},
		{"8.8.3.2, strong comparison", `W/"a"`, `"a"`, 412},
		{"8.8.3.2, strong comparison", `W/"a"`, `W/"a"`, 412},
		{"8.8.3.2, weak and strong in one list", `W/"a", "a"`, `"a"`, 200},
		{"malformed", `a`, `"a"`, 412},
		{"empty field", ``, `"a"`, 412},
	}
	for _, r := range rows {
		got := Conditions{IfMatch: []byte(r.field)}.Evaluate([]byte(r.tag), 10)
		if got.Status != r.want {
			t.Errorf("%s: If-Match: %s for %s gives %d, want %d", r.section, r.field, r.tag, got.Status, r.want)
		}
	}
}

func TestConditions_Range(t *testing.T) {
	const largest = "9223372036854775807"
	rows := []struct {
		section, field string
		size           int64
		want           string // status and Content-Range
	}{
		{"14.1.2, first and last", "bytes=0-4", 10, "206 bytes 0-4/10"},
		{"14.1.2, one byte", "bytes=9-9", 10, "206 bytes 9-9/10"},
		{"14.1.2, open end", "bytes=3-", 10, "206 bytes 3-9/10"},
		{"14.1.2, all by an open end", "bytes=0-", 10, "206 bytes 0-9/10"},
		{"14.1.2, last beyond the end", "bytes=3-99", 10, "206 bytes 3-9/10"},
		{"14.1.2, suffix", "bytes=-3", 10, "206 bytes 7-9/10"},
		{"14.1.2, suffix longer than all", "bytes=-99", 10, "206 bytes 0-9/10"},
		{"14.1.2, first at the end", "bytes=10-", 10, "416 bytes */10"},
		{"14.1.2, first beyond the end", "bytes=11-12", 10, "416 bytes */10"},
		{"14.1.2, suffix of nothing", "bytes=-0", 10, "416 bytes */10"},
		{"14.1.2, last before first", "bytes=5-4", 10, "200 "},
		{"14.1, unit in any case", "BYTES=0-0", 10, "206 bytes 0-0/10"},
		{"14.1, other unit", "chunks=0-4", 10, "200 "},
		{"14.2, several ranges", "bytes=0-1,3-4", 10, "200 "},
		{"14.2, several ranges, one outside", "bytes=0-1, 30-40", 10, "200 "},
		{"5.6.1.2, empty members", "bytes=, 0-4 ,", 10, "206 bytes 0-4/10"},
		{"malformed", "", 10, "200 "},
		{"malformed", "bytes", 10, "200 "},
		{"malformed", "bytes=", 10, "200 "},
		{"malformed", "bytes=-", 10, "200 "},
		{"malformed", "bytes=5", 10, "200 "},
		{"malformed", "bytes=a-b", 10, "200 "},
		{"malformed", "bytes=0-4x", 10, "200 "},
		{"malformed", "bytes=0x0-4", 10, "200 "},
		{"malformed", "bytes=--1", 10, "200 "},
		{"malformed", "bytes=+1-2", 10, "200 "},
		{"malformed", "bytes=1 - 2", 10, "200 "},
		{"malformed", "bytes =1-2", 10, "200 "},
		{"malformed", "bytes 1-2", 10, "200 "},
		{"more than int64, last", "bytes=0-99999999999999999999", 10, "206 bytes 0-9/10"},
		{"more than int64, first", "bytes=99999999999999999999-", 10, "416 bytes */10"},
		{"more than int64, suffix", "bytes=-99999999999999999999", 10, "206 bytes 0-9/10"},
		{"more than int64, first only", "bytes=99999999999999999999-1", 10, "200 "},
		{"the largest int64", "bytes=" + largest + "-" + largest, 10, "416 bytes */10"},
		{"the largest int64", "bytes=1-" + largest, math.MaxInt64, "206 bytes 1-9223372036854775806/" + largest},
		{"empty representation", "bytes=0-", 0, "200 "},
		{"empty representation", "bytes=-1", 0, "200 "},
		{"size not known", "bytes=0-4", -1, "200 "},
	}
	for _, r := range rows {
		a := Conditions{Range: []byte(r.field)}.Evaluate([]byte(`"a"`), r.size)
		if got := fmt.Sprintf("%d %s", a.Status, a.AppendContentRange(nil)); got != r.want {
			t.Errorf("%s: Range: %s of %d gives %q, want %q", r.section, r.field, r.size, got, r.want)
		}
		if a.Status == 200 && (a.Start != 0 || a.Length != r.size) {
			t.Errorf("%s: Range: %s of %d is not answered in full: %+v", r.section, r.field, r.size, a)
		}
	}
}

func TestConditions_IfRange(t *testing.T) {
	rows := []struct {
		section, field, tag string
		want                int
	}{
		{"13.1.5", `"a"`, `"a"`, 206},
		{"13.1.5, white space around", ` "a" `, `"a"`, 206},
		{"13.1.5, another tag", `"b"`, `"a"`, 200},
		{"13.1.5, weak tag", `W/"a"`, `"a"`, 200},
		{"13.1.5, weak tag", `W/"a"`, `W/"a"`, 200},
		{"13.1.5, weak representation", `"a"`, `W/"a"`, 200},
		{"13.1.5, date", `Tue, 15 Nov 1994 12:45:26 GMT`, `"a"`, 200},
		{"13.1.5, no list", `"a", "a"`, `"a"`, 200},
		{"13.1.5, no asterisk", `*`, `"a"`, 200},
		{"empty field", ``, `"a"`, 200},
		{"empty field, no tag", ``, ``, 200},
	}
	for _, r := range rows {
		got := Conditions{IfRange: []byte(r.field), Range: []byte("bytes=2-")}.Evaluate([]byte(r.tag), 10)
		if got.Status != r.want {
			t.Errorf("%s: If-Range: %s for %s gives %d, want %d", r.section, r.field, r.tag, got.Status, r.want)
		}
	}
}

// Section 13.2.2 says in which order the conditions count.
func TestConditions_Order(t *testing.T) {
	yes, no := []byte(`"a"`), []byte(`"b"`)
	outside := []byte("bytes=10-")
	rows := []struct {
		step string
		have Conditions
		want Answer
	}{
		{"no conditions", Conditions{}, Answer{Status: 200, Length: 10, Size: 10}},
		{"1, If-Match first", Conditions{IfMatch: no, IfNoneMatch: yes, Range: outside}, Answer{Status: 412, Size: 10}},
		{"3, If-None-Match next", Conditions{IfMatch: yes, IfNoneMatch: yes, Range: outside}, Answer{Status: 304, Size: 10}},
		{"3, also for HEAD", Conditions{Head: true, IfNoneMatch: yes}, Answer{Status: 304, Size: 10}},
		{"5, Range last", Conditions{IfMatch: yes, IfNoneMatch: no, Range: outside}, Answer{Status: 416, Size: 10}},
		{
			"5, a stale If-Range hides a bad Range",
			Conditions{IfRange: no, Range: outside},
			Answer{Status: 200, Length: 10, Size: 10},
		},
		{"5, If-Range without Range", Conditions{IfRange: no}, Answer{Status: 200, Length: 10, Size: 10}},
		{
			"5, Range and If-Range",
			Conditions{IfRange: yes, Range: []byte("bytes=2-3")},
			Answer{Status: 206, Start: 2, Length: 2, Size: 10},
		},
		{"14.2, HEAD has no ranges", Conditions{Head: true, Range: outside}, Answer{Status: 200, Length: 10, Size: 10}},
	}
	for _, r := range rows {
		if diff := cmp.Diff(r.want, r.have.Evaluate(yes, 10)); diff != "" {
			t.Errorf("step %s (-want +got):\n%s", r.step, diff)
		}
	}
}

func TestJoin_ManyLinesAreOneList(t *testing.T) {
	if Join(nil) != nil {
		t.Error("a field that is absent is present")
	}
	if Join([][]byte{nil}) == nil {
		t.Error("an empty line makes the field look absent")
	}
	lines := [][]byte{[]byte(`"a"`), []byte(`"b"`)}
	if got := (Conditions{IfNoneMatch: Join(lines)}).Evaluate([]byte(`"b"`), 1).Status; got != 304 {
		t.Errorf("a tag in the second line gives %d, want 304", got)
	}
	ranges := [][]byte{[]byte("bytes=0-0"), []byte("bytes=1-1")}
	if got := (Conditions{Range: Join(ranges)}).Evaluate(nil, 9).Status; got != 200 {
		t.Errorf("two Range lines give %d, want 200", got)
	}
}

func TestConditions_SpanIsInside(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(-1, 1<<40).Draw(t, "size")
		low := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[0-9]{1,25}`)).Draw(t, "low")
		high := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[0-9]{1,25}`)).Draw(t, "high")
		checkSpan(t, Conditions{Range: []byte("bytes=" + low + "-" + high)}, size)
	})
}

func checkSpan(t interface{ Fatalf(string, ...any) }, c Conditions, size int64) {
	a := c.Evaluate([]byte(`"a"`), size)
	inside := a.Start >= 0 && a.Length > 0 && a.Start+a.Length > 0 && a.Start+a.Length <= size
	switch {
	case a.Size != size:
		t.Fatalf("%q of %d tells a size of %d", c.Range, size, a.Size)
	case a.Status == 206 && inside:
	case a.Status == 200 && a.Start == 0 && a.Length == size:
	case a.Status == 416 && size > 0 && a.Start == 0 && a.Length == 0:
	default:
		t.Fatalf("%q of %d gives %+v", c.Range, size, a)
	}
}

func TestSemantics_DoNotAllocate(t *testing.T) {
	accept := []byte("gzip, deflate, br;q=0.9, zstd, dcz")
	offers := []Coding{DCZ, Zstd, Brotli, Gzip, Identity}
	line := [][]byte{[]byte(`W/"x", "y", "z"`)}
	tag, buf := []byte(`"tag"`), make([]byte, 0, 64)
	n := testing.AllocsPerRun(100, func() {
		if c, _ := ParseAccept(accept).Choose(offers...); c != DCZ {
			t.Fatal(c)
		}
		a := Conditions{IfNoneMatch: Join(line), IfRange: tag, Range: []byte("bytes=5-")}.Evaluate(tag, 100)
		if buf = a.AppendContentRange(buf[:0]); a.Status != 206 {
			t.Fatal(a)
		}
	})
	if n != 0 {
		t.Errorf("one request allocates %v times", n)
	}
}

func FuzzConditions_Tags(f *testing.F) {
	f.Add([]byte(`W/"a", "b,c" ,, "d"`), []byte(`"a"`))
	f.Add([]byte(`*`), []byte(`W/"a"`))
	f.Add([]byte("\"\x80\""), []byte("\"\x80\""))
	f.Fuzz(func(t *testing.T, field, tag []byte) {
		var weak, strong bool
		cost.Check(t, len(field)+len(tag), func() {
			weak, strong = matchTags(field, tag, false), matchTags(field, tag, true)
		})
		if strong && !weak {
			t.Fatalf("%q matches %q strongly and not weakly", field, tag)
		}
		if string(trim(field)) == "*" {
			return
		}
		if weak && !bytes.Contains(field, opaque(tag)) || strong && !bytes.Contains(field, tag) {
			t.Fatalf("%q matches %q without having it", field, tag)
		}
		if ValidTag(tag) && !bytes.HasPrefix(tag, []byte("W/")) && !matchTags(tag, tag, true) {
			t.Fatalf("%q does not match itself", tag)
		}
		list := append([]byte(`"other", `), field...)
		if ValidTag(tag) && string(opaque(tag)) != `"other"` && matchTags(list, tag, false) != weak {
			t.Fatalf("one more tag before %q changes whether %q matches", field, tag)
		}
	})
}

func FuzzConditions_Range(f *testing.F) {
	f.Add([]byte("bytes=0-4"), int64(10))
	f.Add([]byte("bytes=-5, "), int64(3))
	f.Add([]byte("bytes="+strings.Repeat("9", 30)+"-"), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, field []byte, size int64) {
		if size < -1 {
			return
		}
		cost.Check(t, len(field), func() { checkSpan(t, Conditions{Range: field}, size) })
	})
}
