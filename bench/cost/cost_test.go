package cost

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// recorder is a test that may fail.
type recorder struct{ said []string }

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

// allocate allocates so many bytes, without regard to the race detector, and returns something of them.
func allocate(bytes int) byte {
	b := make([]byte, bytes*raceFactor)
	return b[len(b)/2]
}

func TestCheck_FailsWhereInputCostsMuch(t *testing.T) {
	type empty struct{ A, B, C, D, E, F, G, H string }
	list := []byte("[" + strings.Repeat("{},", 20_000) + "{}]")
	for name, test := range map[string]struct {
		input int
		f     func()
	}{
		"a list of empty objects": {len(list), func() {
			var all []empty
			for range raceFactor {
				if err := json.Unmarshal(list, &all); err != nil {
					t.Error(err)
				}
				all = nil
			}
		}},
		"a length that nothing follows": {8, func() { allocate(2 << 20) }},
		"what is not kept": {1000, func() {
			for range 40 {
				allocate(64 << 10)
			}
		}},
		"another goroutine": {0, func() {
			done := make(chan byte)
			go func() { done <- allocate(2 << 20) }()
			<-done
		}},
	} {
		r := &recorder{}
		if Check(r, test.input, test.f); len(r.said) != 1 {
			t.Errorf("%s: it says %q", name, r.said)
		}
	}
}

func TestCheck_PassesWhatTheInputAccountsFor(t *testing.T) {
	text := bytes.Repeat([]byte("some text "), 1<<18)
	for name, f := range map[string]func(){
		"nothing":  func() {},
		"a copy":   func() { allocate(len(text)) },
		"the most": func() { allocate(15 * len(text)) },
	} {
		r := &recorder{}
		if Check(r, len(text), f); len(r.said) != 0 {
			t.Errorf("%s: it says %q", name, r.said)
		}
	}
}

// What only the first call allocates, a table or a pool, is not the input's.
func TestAtMost_ForgivesTheFirstCall(t *testing.T) {
	r, calls := &recorder{}, 0
	AtMost(r, 1<<20, func() {
		if calls++; calls == 1 {
			allocate(2 << 20)
		}
	})
	if calls != 2 || len(r.said) != 0 {
		t.Errorf("%d calls, and it says %q", calls, r.said)
	}
}

func TestOf_CountsTheBytes(t *testing.T) {
	if got := Of(func() { allocate(10 << 20) }); got < 10<<20 || got > 11<<20 {
		t.Errorf("10 MiB count as %d bytes", got)
	}
}
