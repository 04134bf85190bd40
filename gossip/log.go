package gossip

import (
	"context"
	"log/slog"
	"strings"

	"golang.org/x/time/rate"
)

// How many of memberlist's lines are handed on: a stranger with a wrong key causes one with each packet.
const (
	linesPerSecond = 5
	linesAtOnce    = 50
)

// lines is a handler for lines as memberlist writes them, "[WARN] memberlist: text". It gives them the level that they
// begin with, and lets those above debug through at a bounded rate.
type lines struct {
	slog.Handler
	limit *rate.Limiter
	count *counters
}

func (g *Gossip) lines() lines {
	return lines{g.config.Logger.Handler(), rate.NewLimiter(linesPerSecond, linesAtOnce), &g.count}
}

// Enabled implements [slog.Handler]. The level is not known yet.
func (h lines) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements [slog.Handler].
func (h lines) Handle(ctx context.Context, r slog.Record) error {
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

// splitLine takes the level from a line. Errors of memberlist's are warnings here: it is about one packet or one
// member, and goes on.
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
