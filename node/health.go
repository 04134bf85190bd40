package node

import (
	"net/http"
	"sync"

	"brink/node/internal/serve"
)

// health is whether the node is ready, and why not.
type health struct {
	mu     sync.Mutex
	phase  string // one of the phases below, or "" if it is ready
	reason func() []string
}

// The phases in which a node is not ready.
const (
	phaseStarting = "starting"
	phaseLearning = "learning what the fleet has"
	phaseDraining = "draining"
)

// Readiness is the body of /readyz.
type Readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"` // why not, or what is wrong while it still serves
}

func (h *health) setPhase(phase string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.phase = phase
}

// check returns whether the node is ready. A node whose store is read-only still serves devices: it is ready, and
// reports the problem.
func (h *health) check() Readiness {
	h.mu.Lock()
	phase := h.phase
	h.mu.Unlock()
	answer := Readiness{Ready: phase == "", Reasons: []string{}}
	if phase != "" {
		answer.Reasons = append(answer.Reasons, phase)
	}
	answer.Reasons = append(answer.Reasons, h.reason()...)
	return answer
}

func (n *Node) getLive(r *serve.Request) error {
	return r.WriteJSON(http.StatusOK, struct {
		Live bool `json:"live"`
	}{true})
}

func (n *Node) getReady(r *serve.Request) error {
	answer := n.health.check()
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	return r.WriteJSON(status, answer)
}
