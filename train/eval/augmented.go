package eval

import (
	"context"

	"mocostream/augment"
	"mocostream/ingest"
	"mocostream/loader"
)

// Augmented reads an epoch of a source, from 0, and hands over batches of randomly augmented images, the last one shorter:
// order and views are functions of seed, epoch and sample. Options.Max is no part of it.
func Augmented(ctx context.Context, src ingest.Bounded, o Options, recipe augment.Recipe, seed uint64, epoch int64,
	emit func(augment.EvalBatch) error,
) ([]loader.DeadLetter, error) {
	m, err := src.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	l := loader.Options{Seed: seed, Shuffle: true, Epochs: epoch + 1}
	l.Start.Progress.Bounded = &ingest.Position{Source: m.Hash(), Epoch: epoch}
	return o.read(ctx, src, l, augment.SingleViews(recipe, seed), emit)
}
