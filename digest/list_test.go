package digest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"brink/bench/cost"
)

func TestList_ReadsDigestsAndNothingElse(t *testing.T) {
	one, two := Sum([]byte("1")), Sum([]byte("2"))
	raw, err := json.Marshal(List{one, two})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]Digest{
		string(raw): {one, two},
		" [ \"" + one.String() + "\" ,\n\"" + two.String() + "\" ] ": {one, two},
		"[]":   {},
		"null": nil,
	} {
		var got List
		if err := json.Unmarshal([]byte(text), &got); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is read as %v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		`[null]`, `[""]`, `[{}]`, `{}`, `"x"`, `["` + one.String() + `",null]`, `["` + strings.ToUpper(one.String()) + `"]`,
		`["` + one.String() + `" "` + two.String() + `"]`, `["` + one.String() + `",]`,
	} {
		var got List
		if err := new(List).UnmarshalJSON([]byte(text)); err == nil {
			t.Errorf("%s is taken", text)
		}
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s is taken by encoding/json", text)
		}
	}
}

func FuzzList(f *testing.F) {
	f.Add([]byte(`["` + Sum(nil).String() + `"]`))
	f.Add([]byte("[" + strings.Repeat("null,", 1000) + "null]"))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var list List
		var err error
		cost.Check(t, len(raw), func() { err = json.Unmarshal(raw, &list) })
		var general []Digest
		if err == nil && (json.Unmarshal(raw, &general) != nil || !slices.Equal(general, list)) {
			t.Errorf("read as %v, by a general decoder as %v", list, general)
		}
	})
}
