package scan_test

import (
	"encoding/json"
	"errors"
	"testing"

	"brink/bench/cost"
	"brink/node/internal/scan"
)

// plain is read by both readers.
type plain struct {
	Text   string `json:"text"`
	Number int64  `json:"number"`
	Is     bool   `json:"is"`
	Inner  struct {
		Name string `json:"name"`
		Sum  hexed  `json:"sum"`
	} `json:"inner"`
}

// hexed is four bytes as lower-case hex.
type hexed [4]byte

func (h *hexed) UnmarshalText(text []byte) error {
	s := scan.New(`"` + string(text) + `"`)
	s.Hex(h[:])
	if !s.Done() {
		return errors.New("not eight lower-case hex digits")
	}
	return nil
}

func read(text string) (p plain, ok bool) {
	s := scan.New(text)
	var seen uint32
	s.Open()
	for s.Next() {
		switch s.Name() {
		case "text":
			s.Once(&seen, 0)
			p.Text = s.String()
		case "number":
			s.Once(&seen, 1)
			p.Number = s.Int()
		case "is":
			s.Once(&seen, 2)
			p.Is = s.Bool()
		case "inner":
			s.Once(&seen, 3)
			var inner uint32
			s.Open()
			for s.Next() {
				switch s.Name() {
				case "name":
					s.Once(&inner, 0)
					p.Inner.Name = s.String()
				case "sum":
					s.Once(&inner, 1)
					s.Hex(p.Inner.Sum[:])
				default:
					s.Skip("name", "sum")
				}
			}
		default:
			s.Skip("text", "number", "is", "inner")
		}
	}
	return p, s.Done()
}

func TestScanner_ReadsWhatIsPlain(t *testing.T) {
	for _, text := range []string{
		`{}`,
		` { } `,
		`{"text":"a b/~","number":0,"is":true,"inner":{"name":"x","sum":"00ff10af"}}`,
		"{\n\t\"number\" : 999999999999999999 ,\r \"is\":false, \"more\": 12, \"text\":\"\", \"other\":\"x\", \"last\":true}\n",
		`{"inner":{}}`,
		`{"inner":{"more":1},"text":"x"}`,
	} {
		var want plain
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got, ok := read(text); !ok || got != want {
			t.Errorf("%s is read as %+v, %v; want %+v", text, got, ok, want)
		}
	}
}

func TestScanner_LeavesTheRestToOthers(t *testing.T) {
	for _, text := range []string{
		``, `x`, `[]`, `{`, `{"text"`, `{"text":`, `{"text":"a`, `{"text":"a"`, `{"text":"a",}`, `{,}`, `{"text" "a"}`,
		`{}}`, `{} x`, `{"text":"a"}{"text":"b"}`, `{"inner":{"name":"x"}`, `{"inner":{"name":"x",}}`,
		`{"text":"a\u0041"}`, `{"text":"é"}`, "{\"text\":\"a\nb\"}", "{\"text\":\"\x7f\"}", `{"text":null}`, `{"text":1}`,
		`{"text":"a","text":"b"}`, `{"TEXT":"a"}`, `{"Inner":{}}`, `{"inner":{"Name":"x"}}`, `{"inner":{},"inner":{}}`,
		`{"number":-1}`, `{"number":01}`, `{"number":1.0}`, `{"number":1e3}`, `{"number":1000000000000000000}`, `{"number":}`,
		`{"is":tru}`, `{"is":truex}`, `{"is":1}`, `{"more":[]}`, `{"more":{}}`, `{"more":null}`, `{"more":}`, `{"more":`,
		`{"inner":{"sum":"00FF10AF"}}`, `{"inner":{"sum":"00ff10a"}}`, `{"inner":{"sum":"00ff10ag"}}`, `{"inner":{"sum":""}}`,
	} {
		if got, ok := read(text); ok {
			t.Errorf("%s is read as %+v", text, got)
		}
	}
}

// FuzzScanner checks that what is read is what encoding/json reads.
func FuzzScanner(f *testing.F) {
	f.Add(`{"text":"a","number":12,"is":true,"inner":{"name":"x","sum":"00ff10af"},"more":1}`)
	f.Add(`{"Text":"a","text":"b","inner":{"ſum":"00ff10af"}}`)
	f.Add(` {"more":false , "number":1 }` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		var got plain
		var ok bool
		cost.Check(t, len(text), func() { got, ok = read(text) })
		if !ok {
			return
		}
		var want plain
		if err := json.Unmarshal([]byte(text), &want); err != nil || got != want {
			t.Errorf("%q is read as %+v; encoding/json: %+v, %v", text, got, want, err)
		}
	})
}
