package main

import (
	"errors"
	"fmt"

	"mocostream/train"

	"go.uber.org/zap"
)

// runSessions runs a session to its end, and another from the newest checkpoint when the device failed: weights and the
// position in the data go back together. A device that fails again before there is another checkpoint ends the run. opened,
// if not nil, is told of each session before it runs, finish as in pretrain.
func runSessions(term *terminal, o sessionOptions, opened func(*session), finish func(*session) error) (outcome, error) {
	for failures := 1; ; failures++ {
		s, err := openSession(term.ctx, o)
		if err != nil {
			return outcome{}, err
		}
		if opened != nil {
			opened(s)
		}
		result, err := s.pretrain(term, finish)
		err = errors.Join(err, s.close())
		if !errors.Is(err, train.ErrLost) {
			return result, err
		}
		if s.progressed {
			failures = 1
		}
		if failures > 1 {
			return result, fmt.Errorf("twice in a row, without a checkpoint in between: %w", err)
		}
		o.log.Warn("a step failed; going on from the newest checkpoint", zap.Error(err))
	}
}
