package gossip

import (
	"context"
	"log/slog"
	"strings"

	"golang.org/x/time/rate"
)

// Limits of memberlist's log lines: a stranger with a wrong key causes one with each packet.
const (
	linesPerSecond = 5
	linesAtOnce    = 50
)

// logHandler is an [slog.Handler] for lines as memberlist writes them, "[WARN] memberlist: text". It logs each line at
// the level that the line starts with, and limits the rate of lines above debug.
type logHandler struct {
	slog.Handler
	limit *rate.Limiter
	count *counters
}

func (g *Gossip) newLogHandler() logHandler {
	return logHandler{g.config.Logger.Handler(), rate.NewLimiter(linesPerSecond, linesAtOnce), &g.count}
}

// Enabled implements [slog.Handler]. The level is only known in Handle.
func (h logHandler) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements [slog.Handler].
func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	level, text := splitLine(r.Message)
	if !h.Handler.Enabled(ctx, level) {
		return nil
	}
	if level > slog.LevelDebug && !h.limit.Allow() {
		h.count.muted.Add(1)
		return nil
	}
	h.count.logged.Add(1)
	line := slog.NewRecord(r.Time, level, text, 0)
	line.AddAttrs(slog.String("of", "memberlist"))
	return h.Handler.Handle(ctx, line)
}

// splitLine splits a line into its level and text. Memberlist's errors become warnings: they are about one packet or
// one member, and memberlist continues.
func splitLine(line string) (slog.Level, string) {
	level := slog.LevelInfo
	if rest, ok := strings.CutPrefix(line, "["); ok {
		if name, text, ok := strings.Cut(rest, "] "); ok {
			switch name {
			case "DEBUG":
				level = slog.LevelDebug
			case "WARN", "ERR", "ERROR":
				level = slog.LevelWarn
			}
			line = text
		}
	}
	return level, strings.TrimPrefix(line, "memberlist: ")
}
