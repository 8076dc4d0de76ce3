package main

import (
	"slices"

	"mocostream/augment"
	"mocostream/loader"
	"mocostream/sink"
	"mocostream/train"

	"github.com/apache/arrow/go/v17/arrow/array"
	"go.uber.org/zap"
)

// replayFile is the file of a checkpoint that holds the replay buffer.
const replayFile = "replay.arrow"

// replay is the buffer of a session, and what it has to be told of the step in hand. A nil one is none.
type replay struct {
	*loader.Replay
	positions []uint64 // of the batch in hand
}

// openReplay makes the buffer, with what the checkpoint holds of it, and returns the token as the input has to go on from
// it: a run may have been without a buffer before, or with one.
func (s *session) openReplay(start loader.Token) (loader.Token, error) {
	if !s.config.Loader.Replay.On() {
		start.Position, start.Admitted = start.Taken(), 0
		return start, nil
	}
	start.Admitted = start.Taken()
	o := replayOptions(s.config, start)
	buffer, err := loader.NewReplay(o)
	if err != nil {
		return start, usageError{err}
	}
	s.replay = &replay{Replay: buffer}
	if err := readState(s.from, replayFile, buffer.Restore); err != nil {
		return start, err
	}
	if buffer.Stats().Samples < o.Fill {
		s.log.Info("filling the replay buffer before the first step", zap.Int("samples", o.Fill))
	}
	return start, nil
}

// batch is shown what a step is about to take.
func (r *replay) batch(b *augment.Batch) {
	if r != nil {
		r.positions = slices.Clone(b.Record.Column(augment.ColPosition).(*array.Uint64).Uint64Values())
	}
}

// step tells the buffer of a finished step.
func (r *replay) step(token loader.Token, result train.StepResult) {
	if r != nil {
		r.Settle(token.Position, r.positions, result.Queries)
	}
}

// seal adds the buffer, as of the checkpoint's token, to it.
func (r *replay) seal(c *train.Checkpoint) {
	if r != nil {
		addFile(c, replayFile, r.At(c.Token.Position))
	}
}

// stats is where the buffer stands, for metrics and /status.
func (r *replay) stats() sink.ReplayStats {
	s := r.Stats()
	return sink.ReplayStats{
		Samples: s.Samples, Size: s.Size, Bytes: s.Bytes, Admitted: int64(s.Admitted), Evicted: int64(s.Evicted), Undrawn: int64(s.Undrawn),
		Draws: int64(s.Draws), PerTaken: float64(s.Draws) / float64(max(s.Admitted, 1)), Age: int64(s.Age),
	}
}
