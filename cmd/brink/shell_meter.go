package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	// patience is how long work may last before it shows its progress.
	patience = time.Second
	// refresh is the least time between two pictures of it.
	refresh = 100 * time.Millisecond
)

// meter shows on a terminal how far work has come that lasts longer than [patience]: a bar where the end is known, a
// line where it is not. It is not safe for concurrent use. Call done at the end.
type meter struct {
	sh    *shell // nil: nobody looks
	items bool   // it counts things, not bytes
	since time.Time

	what  string
	shown time.Time // when the line was written last
	bar   *progressbar.ProgressBar
}

// meter returns the meter of work that begins now. Where nobody looks it stays silent.
func (sh *shell) meter() *meter {
	m := &meter{since: time.Now()}
	if isTerminal(sh.stderr) {
		m.sh = sh
	}
	return m
}

// show tells what is being done, and how much of it is done and there. A total of -1 is not known.
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
			// The bar begins with the work, so that its rate is right, and is seen only when it takes long.
			progressbar.OptionSetWriter(&patient{w: m.sh.stderr, until: m.since.Add(patience)}),
			progressbar.OptionSetDescription(m.what),
			progressbar.OptionShowBytes(!m.items),
			progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(30),
			progressbar.OptionThrottle(refresh),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionClearOnFinish(),
		)
	}
	_ = m.bar.Set64(done) // what cannot be shown is no reason to stop the work
}

// done takes the meter off the screen.
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

// patient is a writer that lets nothing through until a time.
type patient struct {
	w     io.Writer
	until time.Time
}

func (p *patient) Write(b []byte) (int, error) {
	if time.Now().Before(p.until) {
		return len(b), nil
	}
	return p.w.Write(b)
}

// status tells on a terminal what is being done, in a line that the next one replaces; an empty one takes it away.
func (sh *shell) status(what string) {
	if !isTerminal(sh.stderr) {
		return
	}
	fmt.Fprint(sh.stderr, "\r\x1b[K") // to the line's start, and clear it
	if what != "" {
		fmt.Fprintf(sh.stderr, "%s …", what)
	}
}
