package digest

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"brink/bench/cost"
)

// The value is from the official test vectors of BLAKE3 for an input of no bytes.
const emptyDigest = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"

func TestSum_KnownVectors(t *testing.T) {
	if got := Sum(nil).String(); got != emptyDigest {
		t.Errorf("Sum(nil) = %s, want %s", got, emptyDigest)
	}
	const empty256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if got := SumSHA256(nil).String(); got != empty256 {
		t.Errorf("SumSHA256(nil) = %s, want %s", got, empty256)
	}
}

func TestHasher_EqualsSumWhateverTheWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 2000)).Draw(t, "parts")
		h := NewHasher()
		var whole []byte
		for _, p := range parts {
			h.Write(p)
			whole = append(whole, p...)
		}
		if h.Digest() != Sum(whole) || h.SHA256() != SumSHA256(whole) || h.Size() != int64(len(whole)) {
			t.Fatalf("a stream in %d writes has another digest than its bytes", len(parts))
		}
		h.Reset()
		if h.Digest() != Sum(nil) || h.Size() != 0 {
			t.Fatal("Reset left something behind")
		}
	})
}

func TestParse_RefusesAllButTheTextForm(t *testing.T) {
	good := Sum([]byte("brink")).String()
	if _, err := Parse(good); err != nil {
		t.Fatalf("Parse(%q): %v", good, err)
	}
	for _, bad := range []string{"", good[1:], good + "0", strings.ToUpper(good), good[:63] + "g", good[:62] + "é"} {
		if _, err := Parse(bad); !errors.Is(err, ErrSyntax) {
			t.Errorf("Parse(%q) = %v, want ErrSyntax", bad, err)
		}
	}
}

func TestDigest_TextRoundTrip(t *testing.T) {
	type both struct {
		B Digest
		S SHA256
	}
	want := both{Sum([]byte("x")), SumSHA256([]byte("x"))}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got both
	if err := json.Unmarshal(text, &got); err != nil || got != want {
		t.Fatalf("round trip of %s = %v, %v", text, got, err)
	}
}

func TestParseField_RoundTrip(t *testing.T) {
	want := SumSHA256([]byte("dictionary"))
	if got, err := ParseField(" " + want.Field() + " "); err != nil || got != want {
		t.Fatalf("ParseField(%q) = %v, %v", want.Field(), got, err)
	}
	for _, bad := range []string{"", ":", "::", want.String(), want.Field()[1:], ":AAAA:"} {
		if _, err := ParseField(bad); !errors.Is(err, ErrSyntax) {
			t.Errorf("ParseField(%q) = %v, want ErrSyntax", bad, err)
		}
	}
}

func TestSum_DoesNotAllocate(t *testing.T) {
	b := make([]byte, 64<<10)
	if n := testing.AllocsPerRun(20, func() { Sum(b) }); n != 0 {
		t.Errorf("Sum allocates %v times", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(emptyDigest)
	f.Add(SumSHA256(nil).Field())
	f.Fuzz(func(t *testing.T, text string) {
		cost.Check(t, len(text), func() {
			_, _ = Parse(text)
			_, _ = ParseField(text)
		})
		if d, err := Parse(text); err == nil && d.String() != text {
			t.Errorf("Parse(%q).String() = %q", text, d)
		}
		if s, err := ParseField(text); err == nil {
			if again, err := ParseField(s.Field()); err != nil || again != s {
				t.Errorf("ParseField(%q) does not survive Field()", text)
			}
		}
	})
}
