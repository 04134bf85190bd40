package wire

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The server that some tests run keeps one goroutine for its Date and one that ends seconds after the server.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

func TestConfig_Validate(t *testing.T) {
	for _, bad := range []struct {
		config Config
		word   string
	}{
		{Config{SendBuffer: -1}, "send buffer"},
		{Config{Unsent: -1}, "unsent"},
		{Config{Grace: -1, ReadRate: 1}, "grace"},
		{Config{Grace: -1, WriteRate: 1}, "grace"},
	} {
		if _, err := New(nil, bad.config); err == nil || !strings.Contains(err.Error(), bad.word) {
			t.Errorf("%+v: %v, want a word about the %s", bad.config, err, bad.word)
		}
	}
	for _, good := range []Config{{}, {Grace: -1}, {Idle: -1, Stall: -1, ReadRate: -1, WriteRate: -1}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
}

func TestConfig_ZeroIsTheDefaultAndNegativeIsNone(t *testing.T) {
	want := Config{
		Idle: DefaultIdle, Stall: DefaultStall, Grace: DefaultGrace,
		ReadRate: DefaultReadRate, WriteRate: DefaultWriteRate,
	}
	if diff := cmp.Diff(want, Config{}.withDefaults()); diff != "" {
		t.Errorf("zero (-want +got):\n%s", diff)
	}
	got := Config{Idle: -1, Stall: -time.Second, Grace: -1, SendBuffer: 5}.withDefaults()
	if diff := cmp.Diff(Config{SendBuffer: 5}, got); diff != "" {
		t.Errorf("negative (-want +got):\n%s", diff)
	}
}

// A peer at the minimum rate that never pauses as long as a stall is never cut. One at half the rate is cut, but not
// within the grace.
func TestPace_LimitsTheAverageRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := limits{
			stall: time.Duration(rapid.IntRange(2, 60).Draw(t, "stall")) * time.Second,
			grace: time.Duration(rapid.IntRange(1, 60).Draw(t, "grace")) * time.Second,
			rate:  rapid.Int64Range(2, 1<<30).Draw(t, "rate"),
		}
		step := time.Duration(rapid.Int64Range(1, int64(min(l.stall, l.grace))-1).Draw(t, "step"))
		due := func(n int) int64 { // bytes after n steps, at the rate
			return int64(float64(n)*step.Seconds()*float64(l.rate)) + 1
		}
		var good, bad pace
		for n := 1; n <= 200; n++ {
			good.add(step, due(n)-due(n-1)+l.rate/1000)
			// A second is what the rounding to whole seconds may cost.
			if left, cause := good.left(limits{l.stall, l.grace + time.Second, l.rate}); left <= 0 {
				t.Fatalf("%v after %v at the full rate", cause, good.waited)
			}
			bad.add(step, due(n)/2-bad.moved)
			left, cause := bad.left(limits{0, l.grace, l.rate})
			if left <= 0 && bad.waited < l.grace {
				t.Fatalf("%v after %v, in the grace", cause, bad.waited)
			}
			if left > 0 && bad.waited > 2*l.grace+2*time.Second {
				t.Fatalf("nothing after %v at half the rate", bad.waited)
			}
		}
	})
}

func TestPace_LargeResponsesDoNotOverflow(t *testing.T) {
	p := pace{moved: 1 << 62, waited: time.Hour}
	if left, _ := p.left(limits{0, time.Second, 1}); left <= 0 {
		t.Errorf("%v left after moving a lot", left)
	}
}
