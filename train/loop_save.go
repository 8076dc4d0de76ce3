package train

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Save makes the last finished step durable and returns its checkpoint's name. One that has a checkpoint already gets no
// second one. A checkpoint that would hold numbers that are none is refused (ErrNotFinite): a run could never go on from
// it, and would pass over the good one before.
func (l *Loop) Save(ctx context.Context) (name string, err error) {
	step := l.trainer.Steps()
	if l.saved == step {
		return l.name, nil
	}
	started := time.Now()
	if name, err = l.save(ctx); err != nil {
		return "", fmt.Errorf("checkpoint of step %d: %w", step, err)
	}
	l.name, l.saved, l.unsaved, l.took = name, step, time.Time{}, time.Since(started)
	if l.hooks.Saved != nil {
		return name, l.hooks.Saved(name, step)
	}
	return name, nil
}

func (l *Loop) save(ctx context.Context) (name string, err error) {
	c, err := l.Checkpoint()
	if err != nil {
		return "", err
	}
	if name := NotFinite(slices.Concat(c.Model, c.Optimizer)); name != "" {
		return "", fmt.Errorf("%w (%s); lower train.optimizer.lr or lengthen train.schedule.warmup_steps", ErrNotFinite, name)
	}
	if l.hooks.Seal != nil {
		if err := l.hooks.Seal(c); err != nil {
			return "", err
		}
	}
	return l.store.Save(ctx, c)
}

// SaveTook is how long the last checkpoint of this process took, from the copy to the host until it was durable.
func (l *Loop) SaveTook() time.Duration { return l.took }

// untilSave is the time left until a checkpoint is due by time; false if none will be, for want of an interval or of
// anything to save.
func (l *Loop) untilSave() (time.Duration, bool) {
	if l.options.CheckpointInterval <= 0 || l.unsaved.IsZero() {
		return 0, false
	}
	return l.options.CheckpointInterval - time.Since(l.unsaved), true
}

// Checkpoint copies the state of the last finished step to the host.
func (l *Loop) Checkpoint() (*Checkpoint, error) {
	weights, optimizer, err := l.trainer.State()
	if err != nil {
		return nil, err
	}
	o, extra := l.trainer.Options(), map[string]json.RawMessage{}
	if err := l.trainer.Discards().seal(extra); err != nil {
		return nil, err
	}
	return &Checkpoint{
		Step: l.trainer.Steps(), Samples: l.samples, Token: l.token, Seed: o.Seed, Encoder: o.Encoder,
		Extra: extra,
		Model: weights, Optimizer: optimizer,
	}, nil
}
