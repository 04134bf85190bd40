package node

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"brink/node/internal/serve"
)

// access writes the access log: a share of the requests, and all answers with a server error.
type access struct {
	logger *slog.Logger
	share  float64
}

func newAccess(config Config) access {
	return access{logger: config.Logger, share: config.AccessLog}
}

func (a access) log(r *serve.Request, route string, took time.Duration) {
	status := r.Response.StatusCode()
	if status < 500 && (a.share == 0 || rand.Float64() >= a.share) {
		return
	}
	a.logger.Info("request",
		"method", string(r.Method()),
		"path", string(r.URI().PathOriginal()),
		"route", route,
		"status", status,
		"bytes", r.Response.Header.ContentLength(),
		"encoding", string(r.Response.Header.ContentEncoding()),
		"duration", took,
		"remote", r.RemoteAddr().String(),
		"agent", string(r.UserAgent()))
}

// serverLog logs the messages of fasthttp, mostly about connections that ended early.
type serverLog struct{ logger *slog.Logger }

// Printf implements fasthttp.Logger.
func (l serverLog) Printf(format string, args ...any) {
	l.logger.Debug(fmt.Sprintf(format, args...), "from", "http server")
}
