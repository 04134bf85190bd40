package semantics

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"brink/bench/cost"
)

func TestParseAccept_RFC9110Section12(t *testing.T) {
	all := []Coding{DCZ, Zstd, Brotli, Gzip, Identity}
	const none = Coding(99)
	rows := []struct {
		section, field string
		offers         []Coding
		want           Coding
	}{
		{"12.5.3, order of preference is the server's", "gzip, deflate, br, zstd", all, Zstd},
		{"12.5.3, higher weight first", "gzip;q=1.0, zstd;q=0.8, br;q=0.9", all, Gzip},
		{"12.5.3, example", "compress;q=0.5, gzip;q=1.0", all, Gzip},
		{"12.5.3, example", "gzip;q=1.0, identity; q=0.5, *;q=0", all, Gzip},
		{"12.5.3, example, only identity left", "gzip;q=1.0, identity; q=0.5, *;q=0", []Coding{Zstd, Identity}, Identity},
		{"12.5.3, asterisk is every coding not named", "*", all, Zstd},
		{"12.5.3, asterisk does not stand for a named one", "zstd;q=0, *", all, Brotli},
		{"12.5.3, asterisk does not stand for a patch", "*", []Coding{DCZ, Identity}, Identity},
		{"12.5.3, asterisk refuses identity", "*;q=0, gzip", []Coding{Zstd, Identity}, none},
		{"12.5.3, asterisk weighs identity", "gzip;q=0.1, *;q=0.2", []Coding{Gzip, Identity}, Identity},
		{"12.5.3, identity refused", "identity;q=0, zstd", []Coding{Identity}, none},
		{"12.5.3, identity refused and nothing else", "identity;q=0", all, none},
		{"12.5.3, identity is the last resort when not named", "gzip;q=0.001", []Coding{Identity, Gzip}, Gzip},
		{"12.5.3, identity acceptable when not named", "deflate", all, Identity},
		{"12.5.3, identity named is weighed", "identity, gzip;q=0.5", all, Identity},
		{"12.5.3, identity offered last loses a tie", "identity, gzip", all, Gzip},
		{"12.5.3, empty field", "", all, Identity},
		{"12.5.3, empty field, nothing plain", "", []Coding{Zstd, Gzip}, none},
		{"12.5.3, all refused", "zstd;q=0", []Coding{Zstd}, none},
		{"8.4.1.3, x-gzip", "x-gzip", all, Gzip},
		{"8.4.1.3, x-gzip and gzip are one", "gzip, x-gzip;q=0", []Coding{Gzip}, none},
		{"8.4.1, names in any case", "GZip;Q=0.2, ZSTD;q=0.1", all, Gzip},
		{"8.4.1, a longer name is another name", "gzipped, zst, brotli", all, Identity},
		{"5.6.1.2, empty members", " ,, gzip ,\t,", all, Gzip},
		{"5.6.3, white space", "gzip \t; \tq=0.3 ,br ; q=0.2", all, Gzip},
		{"12.4.2, three decimals", "gzip;q=0.501,br;q=0.5", all, Gzip},
		{"12.4.2, dot without decimals", "gzip;q=1.,br;q=0.", all, Gzip},
		{"12.4.2, four decimals", "gzip;q=0.5000", all, Identity},
		{"12.4.2, above one", "gzip;q=1.001", all, Identity},
		{"12.4.2, not a number", "gzip;q=a, br;q=, zstd;q=-1", all, Identity},
		{"12.4.2, no leading digit", "gzip;q=.5", all, Identity},
		{"12.4.2, not a weight", "gzip;level=9", all, Identity},
		{"12.4.2, white space around the equals sign", "gzip;q =1, br;q= 1", all, Identity},
		{"RFC 9842 section 6, patch named", "gzip, br, zstd, dcb, dcz", all, DCZ},
		{"RFC 9842 section 6, patch named and not offered", "zstd, dcz", []Coding{Zstd}, Zstd},
		{"no name", ";q=1", all, Identity},
	}
	for _, r := range rows {
		got, ok := ParseAccept([]byte(r.field)).Choose(r.offers...)
		if ok != (r.want != none) || ok && got != r.want {
			t.Errorf("%s: %q of %v gives %v, %v, want %v", r.section, r.field, r.offers, got, ok, r.want)
		}
	}
}

func TestParseAccept_FieldAbsent(t *testing.T) {
	a := ParseAccept(nil)
	if got, ok := a.Choose(DCZ, Zstd, Gzip, Identity); !ok || got != Identity {
		t.Errorf("without a field %v, %v is chosen, want identity", got, ok)
	}
	if got, ok := a.Choose(DCZ, Zstd, Gzip); !ok || got != Zstd {
		t.Errorf("without a field and plain bytes %v, %v is chosen, want zstd", got, ok)
	}
	if a.Accepts(DCZ) {
		t.Error("a client that sent no field is taken to know patches")
	}
}

func TestParseAccept_ReadsNoMoreThanTheBound(t *testing.T) {
	field := strings.Repeat("x,", MaxCodings-1) + "gzip"
	if !ParseAccept([]byte(field)).Accepts(Gzip) {
		t.Errorf("the member number %d is not read", MaxCodings)
	}
	if ParseAccept([]byte("x," + field)).Accepts(Gzip) {
		t.Errorf("the member number %d is read", MaxCodings+1)
	}
}

func TestAccept_ZeroAndUnknown(t *testing.T) {
	if _, ok := (Accept{}).Choose(Identity, Gzip); ok {
		t.Error("the zero Accept accepts something")
	}
	a := ParseAccept([]byte("*, unknown"))
	if _, ok := a.Choose(codings, 200); ok || a.Accepts(codings) {
		t.Error("a coding that does not exist is accepted")
	}
	if _, ok := a.Choose(); ok {
		t.Error("something is chosen from nothing")
	}
}

// The field is written from a model of what each coding weighs, in any order; the model knows what is acceptable.
func TestAccept_ChoosesTheBestOfTheAcceptable(t *testing.T) {
	every := []Coding{Identity, Gzip, Brotli, Zstd, DCZ}
	rapid.Check(t, func(t *rapid.T) {
		named := rapid.MapOf(rapid.SampledFrom(every), rapid.IntRange(0, 1000)).Draw(t, "named")
		star := rapid.IntRange(-1, 1000).Draw(t, "star") // -1 is no asterisk
		offers := rapid.Permutation(every).Draw(t, "order")[:rapid.IntRange(0, len(every)).Draw(t, "offered")]

		members := []string{"deflate;q=0.7"}
		weight := func(q int) string { return fmt.Sprintf(";q=%d.%03d", q/1000, q%1000) }
		for c, q := range named {
			members = append(members, c.String()+weight(q))
		}
		if star >= 0 {
			members = append(members, "*"+weight(star))
		}
		field := strings.Join(rapid.Permutation(members).Draw(t, "members"), ", ")

		model := func(c Coding) float64 {
			if q, ok := named[c]; ok {
				return float64(q)
			}
			switch {
			case c == DCZ:
				return 0
			case star >= 0:
				return float64(star)
			case c == Identity:
				return 0.5
			}
			return 0
		}
		best, found := Identity, false
		for _, c := range offers {
			if model(c) > 0 && (!found || model(c) > model(best)) {
				best, found = c, true
			}
		}
		a := ParseAccept([]byte(field))
		if got, ok := a.Choose(offers...); ok != found || ok && got != best {
			t.Fatalf("%q of %v gives %v, %v, want %v, %v", field, offers, got, ok, best, found)
		}
		for _, c := range every {
			if a.Accepts(c) != (model(c) > 0) {
				t.Fatalf("%q accepts %v: %v", field, c, a.Accepts(c))
			}
		}
	})
}

func FuzzParseAccept(f *testing.F) {
	f.Add([]byte("gzip, deflate, br, zstd, dcb, dcz"))
	f.Add([]byte("gzip;q=1.0, identity; q=0.5, *;q=0"))
	f.Add([]byte(",;q=,*;q=0.0001"))
	f.Fuzz(func(t *testing.T, field []byte) {
		var a Accept
		cost.Check(t, len(field), func() { a = ParseAccept(field) })
		for _, w := range a.weights {
			if w > 2000 {
				t.Fatalf("%q gives a weight of %d", field, w)
			}
		}
		got, ok := a.Choose(DCZ, Zstd, Brotli, Gzip, Identity)
		if ok && !a.Accepts(got) {
			t.Fatalf("%q gives %v, which it does not accept", field, got)
		}
		if !ok && len(field) == 0 {
			t.Fatal("an empty field accepts nothing")
		}
		if a.Accepts(DCZ) && !strings.Contains(strings.ToLower(string(field)), "dcz") {
			t.Fatalf("%q accepts a patch without naming it", field)
		}
	})
}
