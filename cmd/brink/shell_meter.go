package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	// patience is how long work runs before its progress is shown.
	patience = time.Second
	// refresh is the minimum time between two updates of the display.
	refresh = 100 * time.Millisecond
)

// meter shows the progress of work that lasts longer than [patience] on a terminal: a bar when the total is known, a
// line of text otherwise. It is not safe for concurrent use. Call done at the end.
type meter struct {
	sh    *shell // nil: stderr is not a terminal
	items bool   // it counts items, not bytes
	since time.Time

	what  string
	shown time.Time // when the line was last written
	bar   *progressbar.ProgressBar
}

// meter returns the meter of work that starts now. It prints nothing unless stderr is a terminal.
func (sh *shell) meter() *meter {
	m := &meter{since: time.Now()}
	if isTerminal(sh.stderr) {
		m.sh = sh
	}
	return m
}

// show displays what is being done, and how much of the total is done. A total of -1 is unknown.
func (m *meter) show(what string, done, total int64) {
	if m.sh == nil {
		return
	}
	if m.what != what {
		m.done()
		m.what = what
	}
	if total > 0 {
		m.showBar(done, total)
		return
	}
	now := time.Now()
	if now.Sub(m.since) < patience || now.Sub(m.shown) < refresh {
		return
	}
	m.shown = now
	if done > 0 {
		what += " " + human(done)
	}
	m.sh.status(what)
}

func (m *meter) showBar(done, total int64) {
	if m.bar == nil {
		m.bar = progressbar.NewOptions64(total,
			// The bar starts with the work, so that its rate is correct, but is only displayed after a while.
			progressbar.OptionSetWriter(&delayedWriter{w: m.sh.stderr, until: m.since.Add(patience)}),
			progressbar.OptionSetDescription(m.what),
			progressbar.OptionShowBytes(!m.items),
			progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(30),
			progressbar.OptionThrottle(refresh),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionClearOnFinish(),
		)
	}
	_ = m.bar.Set64(done) // an error of the display must not stop the work
}

// done removes the meter from the screen.
func (m *meter) done() {
	if m.bar != nil {
		_ = m.bar.Clear()
		m.bar = nil
	}
	if !m.shown.IsZero() {
		m.sh.status("")
		m.shown = time.Time{}
	}
}

// delayedWriter discards what is written before a time.
type delayedWriter struct {
	w     io.Writer
	until time.Time
}

// Write implements [io.Writer].
func (d *delayedWriter) Write(b []byte) (int, error) {
	if time.Now().Before(d.until) {
		return len(b), nil
	}
	return d.w.Write(b)
}

// status displays on a terminal what is being done, in a line that the next call replaces; an empty text clears it.
func (sh *shell) status(what string) {
	if !isTerminal(sh.stderr) {
		return
	}
	fmt.Fprint(sh.stderr, "\r\x1b[K") // to the line's start, and clear it
	if what != "" {
		fmt.Fprintf(sh.stderr, "%s …", what)
	}
}
