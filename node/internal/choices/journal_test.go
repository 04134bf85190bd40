package choices

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"brink/bench/cost"
)

func TestJournal_TellsWhatIsNewOrAll(t *testing.T) {
	var j journal
	first := j.start(time.Now())
	if changes, sequence, enough := j.after(first); !enough || len(changes) != 0 || sequence != first {
		t.Errorf("at its start it is %v at %d, %v", changes, sequence, enough)
	}
	if _, _, enough := j.after(first - 1); enough {
		t.Error("what was before a restart is not in RAM")
	}
	for i := range 3 * recentChoices {
		j.add(entry{Device: fmt.Sprint(i)})
	}
	changes, last, enough := j.after(first + 3*recentChoices - 2)
	if !enough || len(changes) != 2 || changes[1].Device != fmt.Sprint(3*recentChoices-1) {
		t.Errorf("the last two are %v at %d, %v", changes, last, enough)
	}
	if _, _, enough := j.after(first + 1); enough || len(j.recent) > recentChoices {
		t.Errorf("it keeps %d changes", len(j.recent))
	}
}

func FuzzPage(f *testing.F) {
	f.Add([]byte(`{"choices":[{"app":"com.acme.shop","device":"d","channel":"beta","since":"2026-01-01T00:00:00Z"}],"sequence":7}`))
	f.Add([]byte(`{"choices":[{}],"next":"x"}`))
	f.Add([]byte(`{"choices":[` + strings.Repeat("{},", 400_000) + `{}]}`))
	f.Add([]byte(`{"choices":[` + strings.Repeat(`{"device":"d"},`, 80_000) + `{"device":"d"}]}`))
	one := `{"app":"a","device":"d","since":"2026-01-01T00:00:00Z"}`
	f.Add([]byte(`{"choices":[` + strings.Repeat(one+",", 20_000) + one + `]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var answer page
		var err error
		cost.Check(t, len(raw), func() {
			answer = page{}
			err = json.Unmarshal(raw, &answer)
		})
		if err != nil {
			return
		}
		for _, one := range answer.Choices {
			if one.check() == nil && (one.Device == "" || len(one.Device) > maxDevice) {
				t.Errorf("%q passes", one.Device)
			}
		}
	})
}
