// Package admin serves the operators' listener: metrics, health, the store, statistics, the fleet, and profiles.
//
// The life of one request: the guard refuses requests that a foreign web page could have a browser send. There are no
// other restrictions, so strangers must not be able to reach the listener. It uses net/http, because the handlers of
// Prometheus and pprof need it and speed does not matter here.
//
// The invariant: the package has no state.
package admin

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"brink/node/internal/fleet"
	"brink/node/internal/serve"
	"brink/node/internal/stats"
	"brink/protocol"
	"brink/store"
)

// Config is what the handlers work with. All fields are required unless they say otherwise.
type Config struct {
	Address string   // of the listener
	Hosts   []string // additional names of the listener in lower case, besides its address and loopback

	Metrics *prometheus.Registry
	// Ready returns whether the node is ready, and the body of /readyz.
	Ready  func() (ready bool, body any)
	Store  *store.Store
	Stats  *stats.Stats
	Fleet  *fleet.Fleet // nil: the node has no fleet
	Node   string       // its name in the fleet
	Status func() protocol.NodeStatus
	Drain  func(drain bool)
	Logger *slog.Logger
}

// handlers answer operators.
type handlers struct {
	Config
}

// New returns the handler of the listener.
func New(config Config) http.Handler {
	h := &handlers{config}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", h.getLive)
	mux.HandleFunc("GET /readyz", h.getReady)
	mux.HandleFunc("GET /store", h.getStore)
	mux.HandleFunc("GET /stats", h.getStats)
	mux.HandleFunc("GET /fleet", h.getFleet)
	mux.HandleFunc("POST /fleet/drain", h.postDrain)
	mux.HandleFunc("POST /fleet/rotate", h.postRotate)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write([]byte(os.Args[0])) // the arguments may hold keys; pprof wants the program only
	})
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return newGuard(config, mux)
}

func (h *handlers) getLive(w http.ResponseWriter, _ *http.Request) {
	h.write(w, http.StatusOK, map[string]bool{"live": true})
}

func (h *handlers) getReady(w http.ResponseWriter, _ *http.Request) {
	ready, body := h.Ready()
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	h.write(w, status, body)
}

func (h *handlers) getStore(w http.ResponseWriter, _ *http.Request) {
	figures, err := h.Store.Stats()
	if err != nil {
		h.write(w, http.StatusInternalServerError, map[string]string{"message": err.Error()})
		return
	}
	h.write(w, http.StatusOK, figures)
}

// getStats answers GET /stats?app=, optionally with &days= and &version=, with the summary of all nodes of the fleet.
func (h *handlers) getStats(w http.ResponseWriter, r *http.Request) {
	summary, err := h.Stats.Sum(r.Context(), r.URL.Query().Get)
	if err != nil {
		h.refuse(w, err)
		return
	}
	h.write(w, http.StatusOK, summary)
}

// getFleet answers GET /fleet with the status of all nodes.
func (h *handlers) getFleet(w http.ResponseWriter, r *http.Request) {
	if h.Fleet != nil {
		h.write(w, http.StatusOK, h.Fleet.Survey(r.Context()))
		return
	}
	self := protocol.FleetMember{NodeStatus: h.Status()}
	count := len(self.Channels)
	self.Channels = nil
	h.write(w, http.StatusOK, protocol.FleetStatus{Nodes: []protocol.FleetMember{self}, Channels: count})
}

// postDrain answers POST /fleet/drain?node=NAME&undo=…. It can drain any node of the fleet.
func (h *handlers) postDrain(w http.ResponseWriter, r *http.Request) {
	name, drain := r.URL.Query().Get("node"), r.URL.Query().Get("undo") == ""
	if h.Fleet == nil {
		h.Drain(drain)
		h.write(w, http.StatusOK, h.Status())
		return
	}
	status, err := h.Fleet.DrainNode(r.Context(), cmp.Or(name, h.Node), drain)
	if err != nil {
		h.refuse(w, err)
		return
	}
	h.write(w, http.StatusOK, status)
}

// postRotate answers POST /fleet/rotate, which replaces the fleet key.
func (h *handlers) postRotate(w http.ResponseWriter, r *http.Request) {
	if h.Fleet == nil {
		h.refuse(w, serve.Problem(protocol.CodeNotFound, "this node has no fleet", ""))
		return
	}
	done, err := h.Fleet.Rotate(r.Context())
	if err != nil {
		h.refuse(w, &protocol.Problem{Status: http.StatusConflict, Code: protocol.CodeConflict, Message: err.Error()})
		return
	}
	h.write(w, http.StatusOK, done)
}

// refuse answers with the problem of an error.
func (h *handlers) refuse(w http.ResponseWriter, err error) {
	p := serve.AsProblem(err)
	h.write(w, p.Status, p)
}

func (h *handlers) write(w http.ResponseWriter, status int, what any) {
	if err := writeJSON(w, status, what); err != nil {
		h.Logger.Debug("cannot send answer to operator", "error", err)
	}
}

func writeJSON(w http.ResponseWriter, status int, what any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(what)
}
