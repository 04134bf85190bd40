package node

import (
	"sync"

	"brink/protocol"
)

// budget bounds the bytes that requests hold in memory for as long as somebody on the network takes: bodies that are
// not here yet, and answers that are not taken yet.
//
// It is shared by accounts: client addresses, or orgs once they are known. When it is short, an account with a large
// part of it gives up the loan that it has had longest, and without such an account the oldest loan of all goes. So
// whoever is fast is served, however much slow clients have taken before.
type budget struct {
	size int64

	mu       sync.Mutex
	held     int64
	opened   uint64 // loans so far, to tell the older of two
	accounts map[string]*account
}

// account is what one client address or org holds.
type account struct {
	held  int64
	loans map[*loan]struct{}
}

// loan is what one request holds.
type loan struct {
	budget  *budget
	account string
	cut     func() // ends the request's wait for the network; nil: it does not wait
	order   uint64
	held    int64
	lost    bool
}

// largeShare is the part of a budget above which an account gives up first.
const largeShare = 8

func newBudget(size int64) *budget {
	return &budget{size: size, accounts: map[string]*account{}}
}

// open returns a loan of nothing yet. cut has to end the request's wait for the network; it must not block, and is
// called at most once and never after close. Close the loan.
func (b *budget) open(name string, cut func()) *loan {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened++
	l := &loan{budget: b, account: name, cut: cut, order: b.opened}
	a := b.accounts[name]
	if a == nil {
		a = &account{loans: map[*loan]struct{}{}}
		b.accounts[name] = a
	}
	a.loans[l] = struct{}{}
	return l
}

// grow takes n more bytes, at the cost of others if need be. It returns errBusy if there are none to be had, or if this
// loan was given up itself.
func (l *loan) grow(n int64) error {
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	for !l.lost && b.held+n > b.size && b.giveUp(l) {
		continue
	}
	if l.lost || b.held+n > b.size {
		return errCrowded
	}
	l.held += n
	b.held += n
	b.accounts[l.account].held += n
	return nil
}

var errCrowded = problem(protocol.CodeBusy, "too much is being sent at the same time", "try again in a moment")

// giveUp ends one loan, and reports whether there was any that could be ended. It may be the one that asks, which grow
// sees. The caller holds mu.
func (b *budget) giveUp(asks *loan) bool {
	var most *account
	for _, a := range b.accounts {
		if a.held > b.size/largeShare && (most == nil || a.held > most.held) {
			most = a
		}
	}
	var oldest *loan
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
func (b *budget) take(l *loan) {
	b.held -= l.held
	b.accounts[l.account].held -= l.held
	l.held = 0
}

// keep says that the request does not wait for the network any more: the loan is not given up until close. It reports
// whether the loan is still there.
func (l *loan) keep() bool {
	l.budget.mu.Lock()
	defer l.budget.mu.Unlock()
	l.cut = nil
	return !l.lost
}

// close gives everything back. It may be called twice.
func (l *loan) close() {
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

// stats returns how many bytes are held, by how many loans.
func (b *budget) stats() (held int64, loans int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.accounts {
		loans += len(a.loans)
	}
	return b.held, loans
}
