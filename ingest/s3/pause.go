package s3

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"mocostream/internal/objects"
)

// pauser waits while the server refuses the credentials.
type pauser struct {
	limit          time.Duration
	first, longest time.Duration // between two tries
	warn           func(text string)
	waiting        atomic.Int64
}

// patiently calls try until its error is not objects.ErrCredentials, for at most the limit.
func (p *pauser) patiently(ctx context.Context, try func() error) error {
	err := try()
	if !errors.Is(err, objects.ErrCredentials) {
		return err
	}
	if p.waiting.Add(1) == 1 {
		p.warn(fmt.Sprintf("reading pauses for up to %s: %v; it goes on by itself once valid credentials are where they come from", p.limit, err))
	}
	defer p.waiting.Add(-1)
	end := time.Now().Add(p.limit)
	for wait := p.first; errors.Is(err, objects.ErrCredentials); wait = min(2*wait, p.longest) {
		left := time.Until(end)
		if left <= 0 {
			return fmt.Errorf("%w; no valid ones came within %s: renew them and resume", err, p.limit)
		}
		if sleep(ctx, min(wait, left)) != nil {
			return ctx.Err()
		}
		err = try()
	}
	if err == nil && p.waiting.Load() == 1 {
		p.warn("reading goes on: the credentials are valid again")
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
