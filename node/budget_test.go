package node

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestBudget_OldestOfALargeAccountGoesFirst(t *testing.T) {
	b := newBudget(1000)
	var cut []string
	open := func(account, name string, n int64) *loan {
		l := b.open(account, func() { cut = append(cut, name) })
		if err := l.grow(n); err != nil {
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
	if first.keep() || first.grow(1) == nil {
		t.Error("a loan that was given up goes on")
	}
	first.close()
	first.close()
	if held, loans := b.stats(); held != 800 || loans != 3 {
		t.Errorf("%d bytes are held by %d loans", held, loans)
	}
}

func TestBudget_OldestGoesWhereNobodyHoldsMuch(t *testing.T) {
	b := newBudget(1000)
	var cut []int
	for i := range 11 {
		l := b.open(string(rune('a'+i)), func() { cut = append(cut, i) })
		if err := l.grow(100); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(cut, []int{0}) {
		t.Errorf("cut %v, want the oldest", cut)
	}
}

// What does not wait for the network will be done soon: it is not cut, and the next one is refused.
func TestBudget_CutsNothingThatIsBeingWorkedOn(t *testing.T) {
	b := newBudget(1000)
	l := b.open("a", func() { t.Error("cut") })
	if l.grow(1000) != nil || !l.keep() {
		t.Fatal("there is no room in an empty budget")
	}
	other := b.open("b", nil)
	if other.grow(1) == nil {
		t.Error("more is lent than there is")
	}
	l.close()
	if err := other.grow(1); err != nil {
		t.Errorf("after the other was closed: %v", err)
	}
}

func TestBudget_NeverLendsMoreThanThereIs(t *testing.T) {
	b := newBudget(10_000)
	random := rand.New(rand.NewPCG(1, 2))
	var loans []*loan
	for range 20_000 {
		switch n := random.IntN(10); {
		case n < 4 || len(loans) == 0:
			loans = append(loans, b.open(string(rune('a'+random.IntN(20))), func() {}))
		case n < 8:
			_ = loans[random.IntN(len(loans))].grow(random.Int64N(500))
		case n < 9:
			loans[random.IntN(len(loans))].keep()
		default:
			i := random.IntN(len(loans))
			loans[i].close()
			loans = slices.Delete(loans, i, i+1)
		}
		var sum int64
		for _, l := range loans {
			sum += l.held
		}
		if held, open := b.stats(); held != sum || held > 10_000 || held < 0 || open != len(loans) {
			t.Fatalf("%d bytes are held by %d loans, want %d by %d", held, open, sum, len(loans))
		}
	}
	for _, l := range loans {
		l.close()
	}
	if len(b.accounts) != 0 || b.held != 0 {
		t.Errorf("at the end %d accounts hold %d bytes", len(b.accounts), b.held)
	}
}
