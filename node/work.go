package node

import (
	"fmt"
	"runtime/debug"
	"sync"
)

// group runs goroutines and waits for them. A panic in one of them is an error of the program: it ends that one piece
// of work, and not the node.
type group struct {
	sync.WaitGroup

	panicked func(cause any)
}

// Go runs do in a goroutine.
func (g *group) Go(do func()) {
	g.WaitGroup.Go(func() {
		defer func() {
			if cause := recover(); cause != nil {
				g.panicked(cause)
			}
		}()
		do()
	})
}

// group returns a group for a part of the node's work.
func (n *Node) group() *group { return &group{panicked: n.panicked} }

// guard returns what do returns, or an error if it panics.
func (n *Node) guard(do func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			n.panicked(cause)
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	return do()
}

// panicked counts and logs a panic. It is called while the stack still says where it happened.
func (n *Node) panicked(cause any) { n.panickedAt("", cause) }

func (n *Node) panickedAt(route string, cause any) {
	if n.metrics != nil {
		n.metrics.panicked()
	}
	n.config.Logger.Error("panic", "route", route, "cause", cause, "stack", string(debug.Stack()))
}
