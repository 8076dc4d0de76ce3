package objects

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// call names an operation for errors, and what it moves for its time limit.
type call struct {
	verb, bucket, key string
	size              int64 // bytes of the request's body
}

func (w call) String() string { return w.verb + " " + URL(w.bucket, w.key) }

var errStalled = errors.New("no byte moved for too long")

// slowest is the upload speed, in bytes/s, below which a try counts as stalled.
const slowest = 64 << 10

// do tries an operation until it succeeds, is refused for good or has failed for Options.Deadline. Each try has a time
// limit of its own, so that a silent server cannot hold the call.
func (c *Client) do(ctx context.Context, what call, try func(ctx context.Context) error) error {
	p := c.patience(what)
	limit := c.opts.Stall + time.Duration(what.size/slowest)*time.Second
	for {
		generation := c.creds.current()
		err := limited(ctx, limit, try)
		if err == nil {
			c.answered.Store(true)
			return nil
		}
		if err := p.again(ctx, err, generation); err != nil {
			return err
		}
	}
}

func limited(ctx context.Context, limit time.Duration, try func(ctx context.Context) error) error {
	tryCtx, cancel := context.WithTimeoutCause(ctx, limit, errStalled)
	defer cancel()
	err := try(tryCtx)
	if err != nil && ctx.Err() == nil && context.Cause(tryCtx) == errStalled {
		return errStalled
	}
	return err
}

// patience decides after a failed try whether there is another one, and waits for it.
type patience struct {
	c       *Client
	what    call
	since   time.Time // of the first failure since progress, zero without one
	tries   int
	renewed bool // credentials, since progress
}

func (c *Client) patience(what call) *patience { return &patience{c: c, what: what} }

// progress starts the deadline anew.
func (p *patience) progress() { p.since, p.tries, p.renewed = time.Time{}, 0, false }

// again returns nil when the operation is to be tried again, after a wait; else the error for the caller. The try used
// the credentials of the given generation.
func (p *patience) again(ctx context.Context, err error, generation int) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", p.what, context.Cause(ctx))
	}
	p.tries++
	if p.since.IsZero() {
		p.since = time.Now()
	}
	found := p.c.judge(p.what, err)
	switch found.verdict {
	case fatal:
		return found.err
	case refused:
		if p.renewed || p.c.creds.renew(ctx, generation) != nil {
			return found.err
		}
		p.renewed = true
		p.c.retries.Add(1)
		return nil
	case throttled:
		p.c.throttled.Add(1)
		p.c.warnOnce("throttled", "%s: the server asks for fewer requests; waiting longer between them", p.what)
	}
	if time.Since(p.since) > p.c.opts.Deadline {
		return &failure{kind: ErrUnavailable, text: fmt.Sprintf("%s: gave up after %d tries in %s: %s",
			p.what, p.tries, time.Since(p.since).Round(time.Millisecond), found.reason)}
	}
	if p.tries == 3 && found.verdict != throttled {
		p.c.warnOnce("unreachable", "%s: %s; trying for up to %s", p.what, found.reason, p.c.opts.Deadline)
	}
	p.c.retries.Add(1)
	return p.wait(ctx, found.verdict == throttled, found.after)
}

// wait sleeps for a random part of a time that doubles with each try, or as long as the server asked for.
func (p *patience) wait(ctx context.Context, throttled bool, asked time.Duration) error {
	base := 50 * time.Millisecond
	if throttled {
		base = 200 * time.Millisecond
	}
	longest := min(p.c.opts.MaxBackoff, base<<min(p.tries-1, 10))
	d := longest/4 + rand.N(longest-longest/4+1)
	timer := time.NewTimer(max(d, min(asked, p.c.opts.MaxBackoff)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", p.what, context.Cause(ctx))
	}
}
