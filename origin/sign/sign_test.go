package sign

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"brink/bench/cost"
	"brink/digest"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func ring(t testing.TB, keys ...[]byte) *Ring {
	t.Helper()
	r, err := NewRing("test", keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func request() Request {
	return Request{To: "edge-1", Method: "POST", Target: "/v1/chunks?x=1", Body: digest.Sum([]byte("body"))}
}

func TestRing_VerifiesWhatItSigned(t *testing.T) {
	r := ring(t, key(1))
	field := r.Sign(request(), now)
	for _, skew := range []time.Duration{0, Skew, -Skew} {
		if err := r.Verify(request(), field, now.Add(skew)); err != nil {
			t.Errorf("after %s: %v", skew, err)
		}
	}
	if len(field) > MaxField {
		t.Errorf("the field has %d bytes", len(field))
	}
	if again := r.Sign(request(), now); again == field {
		t.Error("two requests have the same field")
	}
}

func TestRing_RefusesWhatWasChanged(t *testing.T) {
	r := ring(t, key(1))
	field := r.Sign(request(), now)
	for name, change := range map[string]func(*Request){
		"node":   func(q *Request) { q.To = "edge-2" },
		"method": func(q *Request) { q.Method = "GET" },
		"path":   func(q *Request) { q.Target = "/v1/other?x=1" },
		"query":  func(q *Request) { q.Target = "/v1/chunks?x=2" },
		"body":   func(q *Request) { q.Body = digest.Sum([]byte("other")) },
		// The parts must not run into each other.
		"border": func(q *Request) { q.Method, q.Target = "POST/", "v1/chunks?x=1" },
	} {
		q := request()
		change(&q)
		if err := r.Verify(q, field, now); !errors.Is(err, ErrWrong) {
			t.Errorf("another %s: %v, want ErrWrong", name, err)
		}
	}
	stamp, _, _ := strings.Cut(strings.TrimPrefix(field, Scheme+" "), ".")
	later := strings.Replace(field, stamp, "1795435260", 1)
	if err := r.Verify(request(), later, time.Unix(1795435260, 0)); !errors.Is(err, ErrWrong) {
		t.Errorf("another time: %v, want ErrWrong", err)
	}
	if err := r.Verify(request(), field[:len(field)-1]+flip(field[len(field)-1]), now); !errors.Is(err, ErrWrong) {
		t.Errorf("another mac: %v, want ErrWrong", err)
	}
}

func flip(c byte) string {
	if c == '0' {
		return "1"
	}
	return "0"
}

func TestRing_BoundsReplayByTime(t *testing.T) {
	r := ring(t, key(1))
	field := r.Sign(request(), now)
	for _, skew := range []time.Duration{Skew + time.Second, -Skew - time.Second} {
		if err := r.Verify(request(), field, now.Add(skew)); !errors.Is(err, ErrSkew) {
			t.Errorf("after %s: %v, want ErrSkew", skew, err)
		}
	}
	// A stranger is told nothing of the clock.
	if err := ring(t, key(2)).Verify(request(), field, now.Add(time.Hour)); !errors.Is(err, ErrWrong) {
		t.Errorf("by another key, late: %v, want ErrWrong", err)
	}
}

func TestRing_KeysCanBeReplacedOneByOne(t *testing.T) {
	before, during, after := ring(t, key(1)), ring(t, key(2), key(1)), ring(t, key(2))
	for _, pair := range [][2]*Ring{{before, during}, {during, after}, {during, during}} {
		if err := pair[1].Verify(request(), pair[0].Sign(request(), now), now); err != nil {
			t.Errorf("a ring in the middle of a change: %v", err)
		}
	}
	if err := after.Verify(request(), before.Sign(request(), now), now); !errors.Is(err, ErrWrong) {
		t.Errorf("by a key that was taken out: %v", err)
	}
	if err := before.Replace(key(2)); err != nil {
		t.Fatal(err)
	}
	if err := after.Verify(request(), before.Sign(request(), now), now); err != nil {
		t.Errorf("after Replace: %v", err)
	}
	if err := before.Replace([]byte("short")); err == nil {
		t.Error("a key of 5 bytes was taken")
	}
	if err := after.Verify(request(), before.Sign(request(), now), now); err != nil {
		t.Errorf("after a Replace that failed: %v", err)
	}
	if _, err := NewRing("test"); err == nil {
		t.Error("a ring without a key was made")
	}
}

func TestRing_RefusesMalformedFields(t *testing.T) {
	r := ring(t, key(1))
	good := r.Sign(request(), now)
	for _, field := range []string{
		"", "Bearer x", Scheme, Scheme + " ", Scheme + " 1.2.3", good + ".", good + "0",
		strings.Replace(good, " 1", " +1", 1), strings.Replace(good, " 1", " 01", 1), strings.Repeat("x", MaxField+1),
	} {
		if err := r.Verify(request(), field, now); !errors.Is(err, ErrUnsigned) {
			t.Errorf("Verify(%q) = %v, want ErrUnsigned", field, err)
		}
	}
	if err := r.Verify(request(), strings.ToLower(Scheme)+good[len(Scheme):], now); err != nil {
		t.Errorf("a scheme in lower case: %v", err)
	}
}

// The bytes of the mac are what two versions of the program have in common: they must not change.
func TestRing_Golden(t *testing.T) {
	const field = "Brink-Fleet 1795435200.AAAAAAAAAAAAAAAAAAAAAAAAAA." + golden
	if err := ring(t, key(1)).Verify(request(), field, time.Unix(1795435200, 0)); err != nil {
		r := ring(t, key(1))
		mac := r.sum((*r.keys.Load())[0], request(), "1795435200", "AAAAAAAAAAAAAAAAAAAAAAAAAA")
		t.Errorf("%v: the mac is %x now", err, mac)
	}
}

const golden = "427ad8909de0bd3d23cd5ee29501aaee7d6f0bacf97dba3ebad5e03141cfe595"

func FuzzRing_Verify(f *testing.F) {
	r := ring(f, key(1))
	f.Add("POST", "/v1/chunks", r.Sign(request(), now))
	f.Add("GET", "/", "Brink-Fleet 1.2.3")
	f.Fuzz(func(t *testing.T, method, target, field string) {
		q := Request{Method: method, Target: target}
		// Nobody but the ring makes what it verifies; the requests of the corpus have no body.
		var err error
		cost.Check(t, len(method)+len(target)+len(field), func() { err = r.Verify(q, field, now) })
		if err == nil {
			t.Errorf("Verify(%q %q, %q) = nil", method, target, field)
		}
		if err := r.Verify(q, r.Sign(q, now), now); err != nil {
			t.Errorf("its own signature of %q %q: %v", method, target, err)
		}
	})
}

func TestRing_IsOfOneFleet(t *testing.T) {
	other, err := NewRing("other", key(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Verify(request(), ring(t, key(1)).Sign(request(), now), now); !errors.Is(err, ErrWrong) {
		t.Errorf("a request of a fleet with the same key: %v, want ErrWrong", err)
	}
}

func TestRing_SignsAnswers(t *testing.T) {
	r, body := ring(t, key(1)), digest.Sum([]byte("yes"))
	field := r.Sign(request(), now)
	signature := r.SignAnswer(field, body)
	if err := ring(t, key(2), key(1)).VerifyAnswer(field, body, signature); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"another key":     ring(t, key(2)).VerifyAnswer(field, body, signature),
		"another body":    r.VerifyAnswer(field, digest.Sum([]byte("no")), signature),
		"another request": r.VerifyAnswer(r.Sign(request(), now), body, signature),
		"a request's mac": r.VerifyAnswer(field, body, field[len(field)-digest.TextSize:]),
	} {
		if !errors.Is(err, ErrWrong) {
			t.Errorf("%s: %v, want ErrWrong", what, err)
		}
	}
	for _, none := range []string{"", "x", signature + "00", signature[2:]} {
		if err := r.VerifyAnswer(field, body, none); !errors.Is(err, ErrUnsigned) {
			t.Errorf("answer signed by %q: %v, want ErrUnsigned", none, err)
		}
	}
}

func TestOnce_RefusesRepeats(t *testing.T) {
	r := ring(t, key(1))
	var once Once
	field := r.Sign(request(), now)
	if err := once.Take(field, now); err != nil {
		t.Fatal(err)
	}
	// Until the last moment at which the ring takes it.
	for _, later := range []time.Duration{0, time.Second, Skew / 2, Skew} {
		if r.Verify(request(), field, now.Add(later)) != nil {
			t.Fatal("the ring does not take it any more")
		}
		if err := once.Take(field, now.Add(later)); !errors.Is(err, ErrRepeated) {
			t.Errorf("again after %s: %v, want ErrRepeated", later, err)
		}
		if err := once.Take(r.Sign(request(), now), now.Add(later)); err != nil {
			t.Errorf("another one: %v", err)
		}
	}
	if err := once.Take("Bearer x", now); !errors.Is(err, ErrUnsigned) {
		t.Errorf("what is not signed: %v", err)
	}
}

func TestOnce_IsBounded(t *testing.T) {
	r := ring(t, key(1))
	var once Once
	fill := func(at time.Time) (err error) {
		for range MaxOnce {
			if err = once.Take(r.Sign(Request{}, at), at); err != nil {
				break
			}
		}
		return err
	}
	if err := fill(now); err != nil {
		t.Fatal(err)
	}
	if err := once.Take(r.Sign(request(), now), now); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more than it remembers: %v, want ErrTooMany", err)
	}
	if err := fill(now.Add(Skew + time.Second)); err != nil || len(once.seen) > MaxOnce {
		t.Errorf("when the first do not count any more: %v, with %d", err, len(once.seen))
	}
}

func FuzzOnce(f *testing.F) {
	f.Add(ring(f, key(1)).Sign(request(), now))
	f.Add("Brink-Fleet 99999999999999999999.AAAAAAAAAAAAAAAAAAAAAAAAAA." + golden)
	f.Fuzz(func(t *testing.T, field string) {
		var err error
		var once Once
		cost.Check(t, len(field), func() {
			once = Once{}
			err = once.Take(field, now)
		})
		if err == nil && !errors.Is(once.Take(field, now), ErrRepeated) {
			t.Errorf("%q is taken twice", field)
		}
	})
}
