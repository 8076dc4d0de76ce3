package train

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
	"mocostream/train/nn"
)

// ClassifierOptions describe linear classifiers of the same features, trained side by side on the same batches: they begin
// alike and differ in learning rate and weight decay. One is a classifier as any.
type ClassifierOptions struct {
	Dim     int // numbers a row of features
	Classes int
	Batch   int // rows a call of the compiled graph; what is shorter is filled up
	// Momentum and WeightDecay are torch.optim.SGD's. There is a weight decay for each classifier, on weight and bias.
	Momentum    float64
	WeightDecay []float64
	Seed        uint64 // of the initial weights
}

func (o ClassifierOptions) count() int { return len(o.WeightDecay) }

func (o ClassifierOptions) validate() error {
	switch {
	case o.Classes < 2:
		return fmt.Errorf("make classifier: %d classes; it takes two at least", o.Classes)
	case o.Dim < 1 || o.Batch < 1 || o.count() < 1:
		return fmt.Errorf("make classifier: features of %d numbers, batches of %d and %d weight decays; each must be at least 1",
			o.Dim, o.Batch, o.count())
	}
	return nil
}

// initialDeviation is that of the initial weights, as main_lincls.py of facebookresearch/moco has it; biases begin at 0.
const initialDeviation = 0.01

// Classifier is a set of linear classifiers with softmax and cross-entropy. It is used by one goroutine.
type Classifier struct {
	backend *Backend
	options ClassifierOptions
	store   *model.Store
	step    *model.Exec // features, labels, rates -> report [2, count]
	infer   *model.Exec // features -> logits
}

// The state of a classifier: weight [count x classes, dim], bias [count x classes, 1], and their momentum buffers.
const (
	classifierWeight = "/weight"
	classifierBias   = "/bias"
	classifierBuffer = "_momentum"
)

// NewClassifier makes untrained classifiers. Close frees them.
func NewClassifier(backend *Backend, o ClassifierOptions) (*Classifier, error) {
	h := fnv.New64a()
	h.Write([]byte("classifier"))
	rng := rand.New(rand.NewPCG(o.Seed, h.Sum64()))
	weight := make([]float32, max(o.Classes*o.Dim, 0))
	for i := range weight {
		weight[i] = float32(rng.NormFloat64() * initialDeviation)
	}
	return newClassifier(backend, o, weight, make([]float32, max(o.Classes, 0)))
}

// newClassifier makes classifiers that all begin with weight [classes, dim] and bias [classes].
func newClassifier(backend *Backend, o ClassifierOptions, weight, bias []float32) (c *Classifier, err error) {
	defer recovered(&err, "make classifier")
	if err := o.validate(); err != nil {
		return nil, err
	}
	c = &Classifier{backend: backend, options: o, store: model.NewStore()}
	for name, one := range map[string][]float32{classifierWeight: weight, classifierBias: bias} {
		all := slices.Repeat(one, o.count())
		shape := []int{o.count() * o.Classes, len(one) / o.Classes}
		if _, err := c.store.CreateVariable(name, tensors.FromFlatDataAndDimensions(all, shape...)); err != nil {
			return nil, fmt.Errorf("make classifier: %w", err)
		}
		if _, err := c.store.CreateVariable(name+classifierBuffer, tensors.FromFlatDataAndDimensions(make([]float32, len(all)), shape...)); err != nil {
			return nil, fmt.Errorf("make classifier: %w", err)
		}
	}
	return c, nil
}

// Close frees compiled graphs and memory.
func (c *Classifier) Close() {
	for _, exec := range []*model.Exec{c.step, c.infer} {
		if exec != nil {
			exec.Finalize()
		}
	}
	for v := range c.store.IterVariables() {
		_ = v.Finalize() // nothing is left to do about it
	}
}

// Fit is what one step says of each classifier, before it moved.
type Fit struct {
	Loss []float64 // mean cross-entropy of the batch
	Top1 []float64 // share of the batch that was right
}

// Step moves every classifier by one step of SGD on rows [n, Dim] of features, n at most Batch, with their labels and each
// classifier's learning rate.
func (c *Classifier) Step(rows []float32, labels []int32, rates []float64) (fit Fit, err error) {
	defer recovered(&err, "train classifier")
	o := c.options
	if len(rates) != o.count() {
		return fit, fmt.Errorf("train classifier: %d learning rates for %d classifiers", len(rates), o.count())
	}
	if err := c.check(rows, labels); err != nil {
		return fit, err
	}
	if c.step == nil {
		if c.step, err = model.NewExec(c.backend.Backend, c.store, c.buildStep); err != nil {
			return fit, fmt.Errorf("compile classifier: %w", err)
		}
	}
	lr := make([]float32, len(rates))
	for i, rate := range rates {
		lr[i] = float32(rate)
	}
	filled := append(slices.Clone(labels), slices.Repeat([]int32{-1}, o.Batch-len(labels))...)
	outputs, err := c.step.Exec(c.batch(rows), filled, lr)
	if err != nil {
		return fit, fmt.Errorf("train classifier: %w", err)
	}
	defer outputs[0].FinalizeAll()
	report := tensors.MustCopyFlatData[float32](outputs[0])
	return Fit{Loss: floats64(report[:o.count()]), Top1: floats64(report[o.count():])}, nil
}

func (c *Classifier) check(rows []float32, labels []int32) error {
	o := c.options
	if len(labels) < 1 || len(labels) > o.Batch || len(rows) != len(labels)*o.Dim {
		return fmt.Errorf("train classifier: %d numbers and %d labels are no batch of 1 to %d rows of %d", len(rows), len(labels), o.Batch, o.Dim)
	}
	for i, l := range labels {
		if l < 0 || int(l) >= o.Classes {
			return fmt.Errorf("train classifier: label %d of row %d is not in 0 to %d", l, i, o.Classes-1)
		}
	}
	return nil
}

// batch is rows, filled up with rows of zeros.
func (c *Classifier) batch(rows []float32) *tensors.Tensor {
	o := c.options
	if missing := o.Batch*o.Dim - len(rows); missing > 0 {
		rows = append(slices.Clone(rows), make([]float32, missing)...)
	}
	return tensors.FromFlatDataAndDimensions(rows, o.Batch, o.Dim)
}

func floats64(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// buildStep is one step of SGD: x is [B, dim], labels [B] with -1 for rows that only fill up, rates [count]. The gradient
// of softmax and cross-entropy is written out.
func (c *Classifier) buildStep(_ *model.Scope, x, labels, rates *Node) *Node {
	o := c.options
	g := x.Graph()
	counts := graph.ConvertDType(graph.GreaterOrEqual(labels, graph.ScalarZero(g, labels.DType())), dtypes.Float32)
	share := graph.Reshape(graph.Div(counts, graph.ReduceAllSum(counts)), o.Batch, 1, 1) // of a row in a mean over the batch
	truth := graph.Reshape(graph.OneHot(labels, o.Classes, dtypes.Float32), o.Batch, 1, o.Classes)

	logits := graph.Reshape(c.logits(x), o.Batch, o.count(), o.Classes)
	best := graph.ReduceAndKeep(logits, graph.ReduceMax, 2)
	exp := graph.Exp(graph.Sub(logits, best))
	sum := graph.ReduceAndKeep(exp, graph.ReduceSum, 2)
	own := graph.ReduceAndKeep(graph.Mul(logits, truth), graph.ReduceSum, 2) // the true class's logit
	loss := graph.Add(graph.Log(sum), graph.Sub(best, own))
	right := graph.ConvertDType(graph.Equal(own, best), dtypes.Float32)

	slope := graph.Reshape(graph.Mul(graph.Sub(graph.Div(exp, sum), truth), share), o.Batch, o.count()*o.Classes)
	slope = graph.Transpose(slope, 0, 1) // by itself: the Go backend multiplies what is in its natural order many times as fast
	c.move(classifierWeight, graph.DotGeneral(slope, []int{1}, nil, x, []int{0}, nil), rates)
	c.move(classifierBias, graph.ReduceAndKeep(slope, graph.ReduceSum, 1), rates)
	mean := func(x *Node) *Node { return graph.Reshape(graph.ReduceSum(graph.Mul(x, share), 0), 1, o.count()) }
	return graph.Concatenate([]*Node{mean(loss), mean(right)}, 0)
}

// logits is [B, count x classes].
func (c *Classifier) logits(x *Node) *Node {
	weight, bias := c.store.GetVariable(classifierWeight).NodeValue(x), c.store.GetVariable(classifierBias).NodeValue(x)
	return nn.Linear(x, weight, graph.Reshape(bias, bias.Shape().Dimensions[0]))
}

// move is torch.optim.SGD's step of a variable [count x classes, n].
func (c *Classifier) move(name string, gradient, rates *Node) {
	o := c.options
	variable, buffer := c.store.GetVariable(name), c.store.GetVariable(name+classifierBuffer)
	value := variable.NodeValue(gradient)
	byClassifier := func(x *Node) *Node { return graph.Reshape(x, o.count(), o.Classes, -1) }
	each := func(x *Node) *Node { return graph.Reshape(x, o.count(), 1, 1) }

	decay := make([]float32, o.count())
	for i, d := range o.WeightDecay {
		decay[i] = float32(d)
	}
	d := graph.Add(byClassifier(gradient), graph.Mul(byClassifier(value), each(graph.Const(gradient.Graph(), decay))))
	moved := graph.Add(graph.MulScalar(byClassifier(buffer.NodeValue(gradient)), o.Momentum), d)
	buffer.SetNodeValue(graph.Reshape(moved, value.Shape().Dimensions...))
	next := graph.Sub(byClassifier(value), graph.Mul(moved, each(rates)))
	variable.SetNodeValue(graph.Reshape(next, value.Shape().Dimensions...))
}

// Logits returns [n, count, classes] of rows [n, Dim] of features.
func (c *Classifier) Logits(rows []float32) (logits []float32, err error) {
	defer recovered(&err, "classify")
	o := c.options
	if len(rows)%o.Dim != 0 {
		return nil, fmt.Errorf("classify: %d numbers are no whole number of rows of %d", len(rows), o.Dim)
	}
	if c.infer == nil {
		c.infer, err = model.NewExec(c.backend.Backend, c.store, func(_ *model.Scope, x *Node) *Node { return c.logits(x) })
		if err != nil {
			return nil, fmt.Errorf("compile classifier: %w", err)
		}
	}
	for part := range slices.Chunk(rows, o.Batch*o.Dim) {
		outputs, err := c.infer.Exec(c.batch(part))
		if err != nil {
			return nil, fmt.Errorf("classify: %w", err)
		}
		logits = append(logits, firstRows(outputs[0], len(part)/o.Dim)...)
	}
	return logits, nil
}

// Weights returns the weight [classes, dim] and the bias [classes] of classifier i.
func (c *Classifier) Weights(i int) (weight, bias []float32, err error) {
	defer recovered(&err, "read classifier")
	o := c.options
	all := make([][]float32, 2)
	for j, name := range []string{classifierWeight, classifierBias} {
		value, err := c.store.GetVariable(name).Value()
		if err != nil {
			return nil, nil, fmt.Errorf("read classifier: %w", err)
		}
		if all[j], err = tensors.CopyFlatData[float32](value); err != nil {
			return nil, nil, fmt.Errorf("read classifier: %w", err)
		}
	}
	return all[0][i*o.Classes*o.Dim : (i+1)*o.Classes*o.Dim], all[1][i*o.Classes : (i+1)*o.Classes], nil
}
