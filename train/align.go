package train

import (
	"fmt"

	"mocostream/augment"
	"mocostream/internal/safetensors"
	"mocostream/train/nn"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
)

// What alignment adds: variables, and tensors of a checkpoint.
const (
	slowEncoder = "encoder_s" // follows the query encoder by AlignOptions.Momentum, parameters only
	predictor   = "predictor"
)

// AlignOptions keep an encoder near what it was: the queries of images that it met before are pulled, through a small
// predictor, to what an encoder makes of the same views that follows it slowly (CLA-E, arXiv 2507.10434). The loss gains
// Weight times the mean of 1 - cosine.
type AlignOptions struct {
	Weight   float64 // 0: no alignment, at no cost
	Momentum float64 // share of the slow encoder's parameters that a step keeps
	Replayed bool    // pull only images that a replay buffer gave before (augment.ColVisit), else all
}

func (o AlignOptions) on() bool { return o.Weight > 0 }

func (o AlignOptions) validate() error {
	switch {
	case o.Weight < 0 || !finite(o.Weight):
		return fmt.Errorf("train: the weight of the alignment must be 0 or more, got %v; change train.align.weight", o.Weight)
	case o.on() && !(o.Momentum >= 0 && o.Momentum <= 1):
		return fmt.Errorf("train: the slow encoder's momentum must be in [0, 1], got %v; change train.align.momentum", o.Momentum)
	}
	return nil
}

// predictorParameters are those of Linear, ReLU, Linear on embeddings, with torch.nn.Sequential's names.
func (o EncoderOptions) predictorParameters() []Parameter {
	const wider = 4 // hidden units for one dimension
	var l parameterList
	l.linear("0", wider*o.Dim, o.Dim)
	l.linear("2", o.Dim, wider*o.Dim)
	return l
}

// replayedArgument says of each image whether it counts in the alignment: 1, or 0.
const replayedArgument = "replayed images"

// replayedOf are that argument's values.
func replayedOf(b *augment.Batch) []int32 {
	visits := b.Record.Column(augment.ColVisit).(*array.Int64)
	flags := make([]int32, b.Len())
	for i := range flags {
		if visits.Value(i) > 0 {
			flags[i] = 1
		}
	}
	return flags
}

// apart is the mean of 1 - cosine of predicted queries q [b, dim] and what the slow encoder makes of their views, over the
// images that count, 0 without any.
func (t *Trainer) apart(q, views, replayed *Node) *Node {
	slow := graph.StopGradient(t.forward(q.Graph(), slowEncoder, false).embed(views, t.options.Mean, t.options.Std))
	distance := graph.OneMinus(rowwise(nn.Normalize(t.predict(q)), slow))
	if replayed == nil {
		return graph.ReduceAllMean(distance)
	}
	counts := graph.InsertAxes(graph.ConvertDType(replayed, dtypes.Float32), 1)
	return graph.Div(graph.ReduceAllSum(graph.Mul(distance, counts)), graph.MaxScalar(graph.ReduceAllSum(counts), 1))
}

func (t *Trainer) predict(q *Node) *Node {
	linear := func(layer string, x *Node) *Node {
		name := predictor + "/" + layer
		return nn.Linear(x, t.variable(name+".weight").NodeValue(x), t.variable(name+".bias").NodeValue(x))
	}
	return linear("2", nn.ReLU.Apply(linear("0", q)))
}

// align sets how far apart the contrasts' queries and the slow encoder are; query i is of view i of the arguments.
func (t *Trainer) align(all []contrast, arguments []*Node) {
	if !t.options.Align.on() {
		return
	}
	for i := range all {
		all[i].apart = t.apart(all[i].q, arguments[i], t.named(arguments, replayedArgument))
	}
}

// createPredictor makes it, drawn from the seed.
func (t *Trainer) createPredictor() error {
	for _, p := range t.options.Encoder.predictorParameters() {
		if err := t.create(predictor+"/"+p.Name, p.Initial(t.options.Seed), p.Shape...); err != nil {
			return err
		}
	}
	return nil
}

func (t *Trainer) predictorState() ([]safetensors.Tensor, error) {
	var list []safetensors.Tensor
	for _, p := range t.options.Encoder.predictorParameters() {
		tensor, err := t.read(predictor+"/"+p.Name, predictor+"."+p.Name, p.Shape)
		if err != nil {
			return nil, err
		}
		list = append(list, tensor)
	}
	return list, nil
}

// restoreAlignment puts slow encoder and predictor back. A run that takes alignment up begins with the query encoder of then
// and the predictor as drawn.
func (t *Trainer) restoreAlignment(have map[string]safetensors.Tensor) error {
	if !alignedIn(have) {
		return t.load(slowEncoder, t.parameters, have, func(p Parameter) string { return queryEncoder + "." + p.Name })
	}
	if err := t.load(slowEncoder, t.parameters, have, func(p Parameter) string { return slowEncoder + "." + p.Name }); err != nil {
		return err
	}
	return t.load(predictor, t.options.Encoder.predictorParameters(), have, func(p Parameter) string { return predictor + "." + p.Name })
}

// alignedIn says whether a checkpoint is of a run with alignment.
func alignedIn(have map[string]safetensors.Tensor) bool {
	_, ok := have[predictor+".0.weight"]
	return ok
}
