// Package background runs the background work of a node: goroutines that are waited for, and whose panics do not end
// the process.
package background

import (
	"fmt"
	"sync"
)

// Group runs goroutines and waits for them. It recovers from their panics.
type Group struct {
	sync.WaitGroup

	// Panicked is called for each panic, on the stack of the panic.
	Panicked func(cause any)
}

// Go runs do in a goroutine.
func (g *Group) Go(do func()) {
	g.WaitGroup.Go(func() {
		defer func() {
			if cause := recover(); cause != nil {
				g.Panicked(cause)
			}
		}()
		do()
	})
}

// Part returns a new group with the same Panicked, which can be waited for separately.
func (g *Group) Part() *Group { return &Group{Panicked: g.Panicked} }

// Guard returns the result of do, or an error if it panics.
func (g *Group) Guard(do func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			g.Panicked(cause)
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	return do()
}
