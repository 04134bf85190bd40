package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// ErrSlow is returned when a node took too long to answer, or sent too little for too long.
var ErrSlow = errors.New("the node is too slow")

// A device waits for a node as long as bytes come at a rate that is of use, and not for ever: otherwise one node could
// keep it from asking the others. Time that the device itself takes does not count.
const (
	// answerWait is how long a node may take to begin an answer, with the connection that it takes.
	answerWait = 10 * time.Second
	// silence is how long nothing may come of an answer while another node is known, lastSilence with the last one.
	silence     = 15 * time.Second
	lastSilence = 30 * time.Second
	// leastRate is the rate in bytes per second that all answers under way have to keep up together, and grace for how
	// long in all they may stay below it. They are those by which a node judges a device (package node/internal/wire).
	leastRate = 1 << 10
	grace     = 30 * time.Second
	// checkWait bounds the whole of a check, whose answer is small.
	checkWait = 30 * time.Second
)

// pace is how an answer comes in. It is arithmetic only and reads no clock.
type pace struct {
	silence time.Duration // that is borne
	quiet   time.Duration // since something last came
	credit  time.Duration // that may still be waited for below the least rate; never more than grace
}

func newPace(silence time.Duration) pace { return pace{silence: silence, credit: grace} }

// add takes note that waiting for d brought n bytes, while so many answers were under way.
func (p *pace) add(d time.Duration, n int, answers int64) {
	p.quiet += d
	if n > 0 {
		p.quiet = 0
	}
	earned := time.Duration(n) * time.Second * time.Duration(answers) / leastRate
	// What came fast once earns nothing beyond the grace: a node could send most of an archive at once, and the rest in
	// as many hours as that took in kilobytes.
	p.credit = min(p.credit-d+earned, grace)
}

// left returns how long may be waited without a byte, and the error if none comes.
func (p *pace) left() (time.Duration, error) {
	if still := p.silence - p.quiet; still <= p.credit {
		return still, fmt.Errorf("%w: nothing came for %v", ErrSlow, p.silence)
	}
	return p.credit, fmt.Errorf("%w: less than %d bytes a second", ErrSlow, leastRate)
}

// pacedBody is the body of an answer, which ends with [ErrSlow] when it comes too slowly.
type pacedBody struct {
	io.ReadCloser

	ctx     context.Context
	cancel  context.CancelCauseFunc
	pace    pace
	answers *atomic.Int64 // under way, this one among them until it has ended
	left    int64         // bytes to come; negative if that is not known
	ended   bool
}

// send sends a request and returns the answer, both within the limits of time.
func (t *transfer) send(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	late := fmt.Errorf("%w: no answer within %v", ErrSlow, answerWait)
	timer := time.AfterFunc(answerWait, func() { cancel(late) })
	resp, err := t.client.http.Do(req.WithContext(ctx))
	timer.Stop()
	if err != nil {
		err = reason(ctx, err)
		cancel(nil)
		return nil, err
	}
	most := silence
	if t.last {
		most = lastSilence
	}
	t.answers.Add(1)
	resp.Body = &pacedBody{
		ReadCloser: resp.Body, ctx: ctx, cancel: cancel, pace: newPace(most), answers: &t.answers, left: resp.ContentLength,
	}
	return resp, nil
}

// reason returns why a request failed with err: the limit that ended it, if one did.
func reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrSlow) {
		return cause
	}
	return err
}

func (b *pacedBody) Read(p []byte) (int, error) {
	wait, slow := b.pace.left()
	if wait <= 0 {
		b.cancel(slow)
		return 0, slow
	}
	timer := time.AfterFunc(wait, func() { b.cancel(slow) })
	start := time.Now()
	n, err := b.ReadCloser.Read(p)
	timer.Stop()
	b.pace.add(time.Since(start), n, b.answers.Load())
	if b.left -= int64(n); err != nil || b.left == 0 {
		b.end()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = reason(b.ctx, err)
	}
	return n, err
}

// end has the answer count no more.
func (b *pacedBody) end() {
	if !b.ended {
		b.ended = true
		b.answers.Add(-1)
	}
}

// Close ends the request.
func (b *pacedBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	b.end()
	return err
}
