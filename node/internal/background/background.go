// Package background runs the background work of a node: goroutines that are waited for, and whose panics cost one
// piece of work and not the node.
package background

import (
	"fmt"
	"sync"
)

// Group runs goroutines and waits for them. A panic in one of them is an error of the program.
type Group struct {
	sync.WaitGroup

	// Panicked is told of each panic, while the stack still says where it happened.
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

// Part returns a group of its own for a part of the work.
func (g *Group) Part() *Group { return &Group{Panicked: g.Panicked} }

// Guard returns what do returns, or an error if it panics.
func (g *Group) Guard(do func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			g.Panicked(cause)
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	return do()
}
