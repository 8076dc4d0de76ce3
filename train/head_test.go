package train

import (
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
)

// The BatchNorm of a head is one like the backbone's: a step moves each encoder's running statistics by the mean over its
// groups, and an estimate replaces them by those of the images.
func TestHeadBatchNorm(t *testing.T) {
	o := tiny()
	o.Encoder.Head = headMLPBN
	trainer := newTrainer(t, o)
	steps(t, trainer, input{images: 10}.open(t), 2)
	c := checkpointOf(t, trainer)
	for _, name := range []string{"fc.1.running_mean", "fc.1.running_var"} {
		q, k := tensorValues(t, c.Model, "encoder_q."+name), tensorValues(t, c.Model, "encoder_k."+name)
		if slices.Equal(q, k) || slices.ContainsFunc(slices.Concat(q, k), func(v float32) bool { return v == 0 || v == 1 }) {
			t.Errorf("%s is %v and %v", name, q, k)
		}
	}
	images := EmbedderOptions{Encoder: o.Encoder, Size: o.Size, Batch: 4, Mean: o.Mean, Std: o.Std}
	e := openEmbedder(t, images, c, "q")
	pixels := randomImages(4)
	estimate(t, e, pixels, []int{4})
	running, err := e.Running()
	if err != nil {
		t.Fatal(err)
	}
	mean := tensorValues(t, running, "fc.1.running_mean")
	want, err := model.CallOnce(e.backend.Backend, e.store, func(_ *model.Scope, images *Node) *Node {
		pass := e.pass(1, nil) // a batch by its own statistics, as the estimate sees it
		return graph.ReduceMean(pass.linear("fc.0", pass.features(images, o.Mean, o.Std)), 0)
	}, tensors.FromFlatDataAndDimensions(pixels, 4, o.Size, o.Size, 3))
	if err != nil {
		t.Fatal(err)
	}
	nearly(t, "the estimated mean", mean, tensors.MustCopyFlatData[float32](want), 1e-5)
}
