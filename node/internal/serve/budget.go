package serve

import (
	"sync"

	"brink/protocol"
)

// Budget bounds the bytes that requests hold in memory for as long as somebody on the network takes: bodies that are
// not here yet, and answers that are not taken yet.
//
// It is shared by accounts: client addresses, or orgs once they are known. When it is short, an account with a large
// part of it gives up the loan that it has had longest, and without such an account the oldest loan of all goes. So
// whoever is fast is served, however much slow clients have taken before.
type Budget struct {
	size int64

	mu       sync.Mutex
	held     int64
	opened   uint64 // loans so far, to tell the older of two
	accounts map[string]*account
}

// account is what one client address or org holds.
type account struct {
	held  int64
	loans map[*Loan]struct{}
}

// Loan is what one request holds.
type Loan struct {
	budget  *Budget
	account string
	cut     func() // ends the request's wait for the network; nil: it does not wait
	order   uint64
	held    int64
	lost    bool
}

// largeShare is the part of a budget above which an account gives up first.
const largeShare = 8

// NewBudget returns a budget of so many bytes.
func NewBudget(size int64) *Budget {
	return &Budget{size: size, accounts: map[string]*account{}}
}

// Open returns a loan of nothing yet. cut has to end the request's wait for the network; it must not block, and is
// called at most once and never after Close. Close the loan.
func (b *Budget) Open(name string, cut func()) *Loan {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened++
	l := &Loan{budget: b, account: name, cut: cut, order: b.opened}
	a := b.accounts[name]
	if a == nil {
		a = &account{loans: map[*Loan]struct{}{}}
		b.accounts[name] = a
	}
	a.loans[l] = struct{}{}
	return l
}

// Grow takes n more bytes, at the cost of others if need be. It returns ErrCrowded if there are none to be had, or if
// this loan was given up itself.
func (l *Loan) Grow(n int64) error {
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	for !l.lost && b.held+n > b.size && b.giveUp(l) {
		continue
	}
	if l.lost || b.held+n > b.size {
		return ErrCrowded
	}
	l.held += n
	b.held += n
	b.accounts[l.account].held += n
	return nil
}

// ErrCrowded is the problem of a request for which no memory is left.
var ErrCrowded = Problem(protocol.CodeBusy, "too much is being sent at the same time", "try again in a moment")

// giveUp ends one loan, and reports whether there was any that could be ended. It may be the one that asks, which Grow
// sees. The caller holds mu.
func (b *Budget) giveUp(asks *Loan) bool {
	var most *account
	for _, a := range b.accounts {
		if a.held > b.size/largeShare && (most == nil || a.held > most.held) {
			most = a
		}
	}
	var oldest *Loan
	for _, a := range b.accounts {
		if most != nil && a != most {
			continue
		}
		for l := range a.loans {
			if l.held > 0 && l.cut != nil && (oldest == nil || l.order < oldest.order) {
				oldest = l
			}
		}
	}
	if oldest == nil {
		return false
	}
	oldest.lost = true
	b.take(oldest)
	if oldest != asks {
		oldest.cut()
	}
	return true
}

// take takes back what a loan holds. The caller holds mu.
func (b *Budget) take(l *Loan) {
	b.held -= l.held
	b.accounts[l.account].held -= l.held
	l.held = 0
}

// Keep says that the request does not wait for the network any more: the loan is not given up until Close. It reports
// whether the loan is still there.
func (l *Loan) Keep() bool {
	l.budget.mu.Lock()
	defer l.budget.mu.Unlock()
	l.cut = nil
	return !l.lost
}

// Close gives everything back. It may be called twice.
func (l *Loan) Close() {
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.accounts[l.account]
	if a == nil {
		return
	}
	if _, open := a.loans[l]; !open {
		return
	}
	b.take(l)
	l.cut = nil
	delete(a.loans, l)
	if len(a.loans) == 0 {
		delete(b.accounts, l.account)
	}
}

// Stats returns how many bytes are held, by how many loans.
func (b *Budget) Stats() (held int64, loans int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.accounts {
		loans += len(a.loans)
	}
	return b.held, loans
}
