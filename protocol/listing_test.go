package protocol

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"brink/channel"
	"brink/digest"
)

func TestListed_FitsItsBound(t *testing.T) {
	one := ListedChannel{
		App: strings.Repeat("a", channel.MaxApp), Channel: strings.Repeat("c", channel.MaxChannel),
		Sequence: math.MaxUint64, Expires: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), Manifest: digest.Sum(nil),
	}
	page := Listed{Org: strings.Repeat("o", channel.MaxOrg), Next: Cursor{one.App, one.Channel}.String()}
	for range MaxListed {
		page.Channels = append(page.Channels, one)
	}
	raw, err := json.Marshal(page)
	if err != nil || len(raw) >= MaxListedAnswer {
		t.Errorf("a full page has %d bytes, want less than %d: %v", len(raw), MaxListedAnswer, err)
	}
}

func TestCursor_RoundTripAndOrder(t *testing.T) {
	order := []Cursor{{}, {"a", "x"}, {"a", "y"}, {"a-b", "a"}, {"a.b", "a"}, {"b", "a"}}
	for i, c := range order {
		text := ""
		if i > 0 {
			text = c.String()
		}
		if again, err := ParseCursor(text); err != nil || again != c {
			t.Errorf("%q is read as %v, %v", text, again, err)
		}
		for j, other := range order {
			if got, want := c.Compare(other), min(1, max(-1, i-j)); got != want {
				t.Errorf("%v compared to %v is %d, want %d", c, other, got, want)
			}
		}
	}
	for _, text := range []string{"a", "/", "a/", "/x", "a/b/c", "a/..", "../x", " a/b"} {
		if c, err := ParseCursor(text); err == nil {
			t.Errorf("%q is read as %v", text, c)
		}
	}
}

func FuzzListed(f *testing.F) {
	one := `{"app":"a","channel":"b","sequence":1,"manifest":"` + digest.Sum(nil).String() + `"}`
	fuzzJSON[Listed](f, `{"org":"acme","channels":[`+strings.Repeat(one+",", 1000)+one+`],"next":"a/b"}`,
		`{"channels":[`+strings.Repeat("null,", 20_000)+`null]}`)
}

func FuzzParseCursor(f *testing.F) {
	f.Add("com.acme.shop/production")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCursor(text)
		if err == nil && text != "" && (c.String() != text || channel.CheckApp(c.App) != nil || channel.CheckChannel(c.Channel) != nil) {
			t.Errorf("%q is read as %v", text, c)
		}
	})
}
