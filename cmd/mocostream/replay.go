package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"

	"mocostream/augment"
	"mocostream/loader"
	"mocostream/sink"
	"mocostream/train"

	"github.com/apache/arrow/go/v17/arrow/array"
	"go.uber.org/zap"
)

// replayDir is the sub-folder of a run folder with the images of the buffer; checkpoints have links to them.
const replayDir = "replay"

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
		return start, os.RemoveAll(filepath.Join(s.config.Sink.Dir, replayDir)) // of before: no checkpoint needs it
	}
	start.Admitted = start.Taken()
	o := replayOptions(s.config, start)
	o.Dir = filepath.Join(s.config.Sink.Dir, replayDir)
	buffer, err := loader.NewReplay(o)
	if err != nil {
		return start, usageError{err}
	}
	s.replay = &replay{Replay: buffer}
	s.onClose(buffer.Close)
	if err := readState(s.from, loader.ReplayFile, func(state io.Reader) error { return buffer.Restore(state, s.from.Open) }); err != nil {
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
func (r *replay) seal(c *train.Checkpoint) error {
	if r == nil {
		return nil
	}
	buffer, images, err := r.At(c.Token.Position)
	if err != nil {
		return err
	}
	addReplay(c, buffer, images)
	return nil
}

// addReplay adds a buffer and its segments to a checkpoint.
func addReplay(c *train.Checkpoint, buffer io.WriterTo, images []loader.Segment) {
	addFile(c, loader.ReplayFile, buffer)
	last := len(images) - 1
	addFile(c, loader.SegmentName(images[last].ID), images[last])
	c.Linked = map[string]train.LinkedFile{}
	for _, s := range images[:last] {
		c.Linked[loader.SegmentName(s.ID)] = train.LinkedFile{Path: s.Path, Bytes: s.Bytes, SHA256: s.SHA256}
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
