package augment

import (
	"mocostream/loader"
)

// SingleViews draws one view of each sample for EvalBatches, as a recipe does: by seed, epoch and sample alone, whatever
// the number of workers.
func SingleViews(recipe Recipe, seed uint64) (renderer func() func(dst View, s *loader.Sample) error) {
	return func() func(View, *loader.Sample) error {
		own, generators := recipe.Clone(), NewGenerators(1)
		views := make([]View, 1)
		return func(dst View, s *loader.Sample) error {
			generators.Reset(NewKey(seed, s.Epoch, s.ID()))
			views[0] = dst
			_, err := own.Views(views, s.Image(), generators.Rand)
			return err
		}
	}
}
