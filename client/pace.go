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

// ErrSlow is returned if a node took too long to answer, or sent too slowly for too long.
var ErrSlow = errors.New("the node is too slow")

// A device waits for a node only as long as bytes arrive at a useful rate: otherwise one node could prevent it from
// using the others. Time that the device itself needs does not count.
const (
	// answerWait is the timeout for the head of a response, including connecting.
	answerWait = 10 * time.Second
	// silence is the maximum time without a byte of a response if there is another node, lastSilence if there is none.
	silence     = 15 * time.Second
	lastSilence = 30 * time.Second
	// minRate is the minimum rate of all concurrent responses together, in bytes per second, and grace is how long in
	// total they may stay below it. A node applies the same limits to a device (package node/internal/wire).
	minRate = 1 << 10
	grace   = 30 * time.Second
	// checkWait is the timeout for a whole check, whose answer is small.
	checkWait = 30 * time.Second
)

// pace measures how fast a response arrives. It does arithmetic only, and reads no clock.
type pace struct {
	silence time.Duration // maximum time without a byte
	quiet   time.Duration // time since the last byte
	credit  time.Duration // how long the rate may still be below the minimum; at most grace
}

func newPace(silence time.Duration) pace { return pace{silence: silence, credit: grace} }

// record records that n bytes arrived after waiting for d, with the given number of concurrent responses.
func (p *pace) record(d time.Duration, n int, answers int64) {
	p.quiet += d
	if n > 0 {
		p.quiet = 0
	}
	earned := time.Duration(n) * time.Second * time.Duration(answers) / minRate
	// The credit never exceeds the grace: otherwise a node that sends most of an archive fast could take hours for the
	// rest.
	p.credit = min(p.credit-d+earned, grace)
}

// left returns how long to wait for the next byte, and the error if none arrives.
func (p *pace) left() (time.Duration, error) {
	if still := p.silence - p.quiet; still <= p.credit {
		return still, fmt.Errorf("%w: it sent nothing for %v", ErrSlow, p.silence)
	}
	return p.credit, fmt.Errorf("%w: it sent less than %d bytes per second", ErrSlow, minRate)
}

// pacedBody is the body of a response. Reading it fails with [ErrSlow] if it arrives too slowly.
type pacedBody struct {
	io.ReadCloser

	ctx     context.Context
	cancel  context.CancelCauseFunc
	pace    pace
	answers *atomic.Int64 // number of concurrent responses, including this one until it has ended
	left    int64         // remaining bytes; negative if unknown
	ended   bool
}

// send sends a request and returns the response, with timeouts for its head and its body.
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
	limit := silence
	if t.last {
		limit = lastSilence
	}
	t.answers.Add(1)
	resp.Body = &pacedBody{
		ReadCloser: resp.Body, ctx: ctx, cancel: cancel, pace: newPace(limit), answers: &t.answers, left: resp.ContentLength,
	}
	return resp, nil
}

// reason returns the timeout that cancelled a request, or else err.
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
	b.pace.record(time.Since(start), n, b.answers.Load())
	if b.left -= int64(n); err != nil || b.left == 0 {
		b.end()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = reason(b.ctx, err)
	}
	return n, err
}

// end removes the response from the number of concurrent ones.
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
