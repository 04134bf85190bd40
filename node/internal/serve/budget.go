package serve

import (
	"sync"

	"brink/protocol"
)

// Budget bounds the memory that requests occupy while they wait for the network: bodies that are still arriving, and
// answers that are still being sent.
//
// It is divided between accounts: client addresses, or orgs once they are known. When it is exhausted, the oldest loan
// of the account with the largest share above 1/largeShare is revoked; if there is no such account, the oldest loan of
// all. So fast clients are served, however much memory slow ones have occupied.
type Budget struct {
	size int64

	mu       sync.Mutex
	held     int64
	opened   uint64 // loans so far; orders them by age
	accounts map[string]*account
}

// account is what one client address or org has borrowed.
type account struct {
	held  int64
	loans map[*Loan]struct{}
}

// Loan is what one request has borrowed.
type Loan struct {
	budget  *Budget
	account string
	cut     func() // ends the request's wait for the network; nil: it does not wait
	order   uint64
	held    int64
	revoked bool
}

// largeShare is the fraction of a budget above which loans of an account are revoked first.
const largeShare = 8

// NewBudget returns a budget of size bytes.
func NewBudget(size int64) *Budget {
	return &Budget{size: size, accounts: map[string]*account{}}
}

// Open returns an empty loan, which the caller closes. cut is called if the loan is revoked, and has to end the
// request's wait for the network. It must not block, and is called at most once and never after Close.
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

// Grow borrows n more bytes, and revokes other loans for them if necessary. It returns ErrNoMemory if that does not
// suffice, or if this loan was revoked.
func (l *Loan) Grow(n int64) error {
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	for !l.revoked && b.held+n > b.size && b.revokeOne(l) {
		continue
	}
	if l.revoked || b.held+n > b.size {
		return ErrNoMemory
	}
	l.held += n
	b.held += n
	b.accounts[l.account].held += n
	return nil
}

// ErrNoMemory is the problem of a request for which no memory is left.
var ErrNoMemory = Problem(protocol.CodeBusy, "too much is being sent at the same time", "try again in a moment")

// revokeOne revokes one loan, and reports whether there was one that could be revoked. It may be asking itself, which
// Grow checks. The caller holds mu.
func (b *Budget) revokeOne(asking *Loan) bool {
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
	oldest.revoked = true
	b.reclaim(oldest)
	if oldest != asking {
		oldest.cut()
	}
	return true
}

// reclaim returns the bytes of a loan to the budget. The caller holds mu.
func (b *Budget) reclaim(l *Loan) {
	b.held -= l.held
	b.accounts[l.account].held -= l.held
	l.held = 0
}

// Pin keeps the loan from being revoked until Close: the request no longer waits for the network. It reports whether
// the loan has not been revoked before.
func (l *Loan) Pin() bool {
	l.budget.mu.Lock()
	defer l.budget.mu.Unlock()
	l.cut = nil
	return !l.revoked
}

// Close returns all bytes of the loan to the budget. It may be called twice.
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
	b.reclaim(l)
	l.cut = nil
	delete(a.loans, l)
	if len(a.loans) == 0 {
		delete(b.accounts, l.account)
	}
}

// Stats returns how many bytes are borrowed, in how many loans.
func (b *Budget) Stats() (held int64, loans int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.accounts {
		loans += len(a.loans)
	}
	return b.held, loans
}
