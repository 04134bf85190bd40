package serve

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestBudget_OldestOfALargeAccountGoesFirst(t *testing.T) {
	b := NewBudget(1000)
	var cut []string
	open := func(account, name string, n int64) *Loan {
		l := b.Open(account, func() { cut = append(cut, name) })
		if err := l.Grow(n); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return l
	}
	open("few", "old", 100)
	first := open("many", "first", 400)
	open("many", "second", 400)
	open("few", "new", 300) // goes beyond the budget by 200
	if !slices.Equal(cut, []string{"first"}) {
		t.Errorf("cut %v, want the oldest of the account that holds most", cut)
	}
	if first.Pin() || first.Grow(1) == nil {
		t.Error("a loan that was given up goes on")
	}
	first.Close()
	first.Close()
	if held, loans := b.Stats(); held != 800 || loans != 3 {
		t.Errorf("%d bytes are held by %d loans", held, loans)
	}
}

func TestBudget_OldestGoesWhereNobodyHoldsMuch(t *testing.T) {
	b := NewBudget(1000)
	var cut []int
	for i := range 11 {
		l := b.Open(string(rune('a'+i)), func() { cut = append(cut, i) })
		if err := l.Grow(100); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(cut, []int{0}) {
		t.Errorf("cut %v, want the oldest", cut)
	}
}

// What does not wait for the network will be done soon: it is not cut, and the next one is refused.
func TestBudget_CutsNothingThatIsBeingWorkedOn(t *testing.T) {
	b := NewBudget(1000)
	l := b.Open("a", func() { t.Error("cut") })
	if l.Grow(1000) != nil || !l.Pin() {
		t.Fatal("there is no room in an empty budget")
	}
	other := b.Open("b", nil)
	if other.Grow(1) == nil {
		t.Error("more is lent than there is")
	}
	l.Close()
	if err := other.Grow(1); err != nil {
		t.Errorf("after the other was closed: %v", err)
	}
}

func TestBudget_NeverLendsMoreThanThereIs(t *testing.T) {
	b := NewBudget(10_000)
	random := rand.New(rand.NewPCG(1, 2))
	var loans []*Loan
	for range 20_000 {
		switch n := random.IntN(10); {
		case n < 4 || len(loans) == 0:
			loans = append(loans, b.Open(string(rune('a'+random.IntN(20))), func() {}))
		case n < 8:
			_ = loans[random.IntN(len(loans))].Grow(random.Int64N(500))
		case n < 9:
			loans[random.IntN(len(loans))].Pin()
		default:
			i := random.IntN(len(loans))
			loans[i].Close()
			loans = slices.Delete(loans, i, i+1)
		}
		var sum int64
		for _, l := range loans {
			sum += l.held
		}
		if held, open := b.Stats(); held != sum || held > 10_000 || held < 0 || open != len(loans) {
			t.Fatalf("%d bytes are held by %d loans, want %d by %d", held, open, sum, len(loans))
		}
	}
	for _, l := range loans {
		l.Close()
	}
	if len(b.accounts) != 0 || b.held != 0 {
		t.Errorf("at the end %d accounts hold %d bytes", len(b.accounts), b.held)
	}
}
