package node

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"os"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// adminHandler serves operators. It runs on net/http, because both Prometheus and pprof come for it and speed does not
// matter here.
func (n *Node) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		n.answer(w, http.StatusOK, map[string]bool{"live": true})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		readiness := n.health.check()
		status := http.StatusOK
		if !readiness.Ready {
			status = http.StatusServiceUnavailable
		}
		n.answer(w, status, readiness)
	})
	mux.HandleFunc("GET /store", func(w http.ResponseWriter, _ *http.Request) {
		stats, err := n.store.Stats()
		if err != nil {
			n.answer(w, http.StatusInternalServerError, map[string]string{"message": err.Error()})
			return
		}
		n.answer(w, http.StatusOK, stats)
	})
	mux.HandleFunc("GET /stats", n.serveStats)
	mux.HandleFunc("GET /fleet", n.serveFleet)
	mux.HandleFunc("POST /fleet/drain", n.serveDrain)
	mux.HandleFunc("POST /fleet/rotate", n.serveRotate)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write([]byte(os.Args[0])) // the arguments may hold keys; pprof wants the program only
	})
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return n.guardAdmin(mux)
}

func (n *Node) answer(w http.ResponseWriter, status int, what any) {
	if err := writeJSON(w, status, what); err != nil {
		n.config.Logger.Debug("operator went away", "error", err)
	}
}

func writeJSON(w http.ResponseWriter, status int, what any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(what)
}
