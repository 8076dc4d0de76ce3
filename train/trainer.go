// Package train trains encoders by momentum contrast (MoCo, arXiv 1911.05722): encoders and heads, the compiled step,
// optimizers and schedules, the loop, and what is measured along the way. It alone knows GoMLX.
package train

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"mocostream/augment"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
)

// Options is everything that the compiled step depends on.
type Options struct {
	Encoder    EncoderOptions
	Mechanism  Mechanism
	Size       int         // height and width of a view, pixels
	Batch      int         // images a step
	K          int         // length of MoCo's queue: at least Batch, need not be a multiple; negatives that a step of MemoryBank draws
	M          float64     // momentum of MoCo's key encoder
	Bank       BankOptions // of MemoryBank
	T          float64     // temperature
	Mask       Mask        // which keys are no negatives of a query
	Duplicate  int         // in how many of 64 bits the hashes of near-duplicates differ at most, for MaskDuplicate
	WarmMasked bool        // rows of the queue that hold no key yet are no negatives; else they are, being random
	Align      AlignOptions
	Symmetric  bool      // both views are queries: the loss is the sum, and a step brings the keys of both
	Accumulate int       // parts of a batch, computed one after another before the one update; 0 is 1
	BN         BatchNorm // over which images activations are normalised
	Groups     int       // of BNGroups: how many in a part (shuffle-BN on one device); divides it
	Devices    int       // that share a batch; 0 is 1
	Precision  Precision // of activations and convolutions
	Mean, Std  [3]float32
	Optimizer  OptimizerOptions
	Schedule   ScheduleOptions
	Seed       uint64
	Queries    bool // steps return their queries' embeddings (StepResult.Queries)
}

// Validate names the first option that is out of range, with the remedy.
func (o Options) Validate() error {
	if err := o.Encoder.Validate(); err != nil {
		return err
	}
	if _, err := o.Optimizer.slots(); err != nil {
		return err
	}
	if err := o.Precision.validate(); err != nil {
		return err
	}
	switch {
	case o.Batch < 2:
		return fmt.Errorf("train: a batch of %d; use at least 2", o.Batch)
	case o.Size < 8:
		return fmt.Errorf("train: views of %d pixels; use at least 8", o.Size)
	case o.Accumulate < 0 || o.Batch%o.parts() != 0 || o.Batch/o.parts() < 2:
		return fmt.Errorf("train: a batch of %d cannot be cut into %d equal parts of 2 images or more; change train.accumulate", o.Batch, o.Accumulate)
	case o.T <= 0:
		return fmt.Errorf("train: the temperature must be above 0, got %v; change train.t", o.T)
	}
	if err := o.validateDevices(); err != nil {
		return err
	}
	if err := o.validateMechanism(); err != nil {
		return err
	}
	if err := errors.Join(o.validateMask(), o.Align.validate()); err != nil {
		return err
	}
	return o.Schedule.Validate()
}

// ErrNotFinite says that steps were discarded one after the other, because loss or gradient were no numbers, or that the
// weights are none: go on from a checkpoint.
var ErrNotFinite = errors.New("training diverged to numbers that are not finite")

// Trainer holds weights, queue and optimizer on a device and moves them by one compiled step. It is used by one
// goroutine.
type Trainer struct {
	backend    *Backend
	options    Options
	layout     Layout
	devices    devices
	parameters []Parameter // of an encoder
	mechanism  mechanism
	weights    []weight // what gradients move
	store      *model.Store
	exec       *model.Exec
	done       int64 // finished steps, discarded ones among them
	discards   Discards
	ahead      chan copied // what Ahead has copied, in the order of the batches
	ragged     bool        // the queue's pointer stands inside a batch's place
	traced     bool        // tests: the step returns q, k, logits and gradients too
}

// New makes a trainer with random weights (torchvision's initialisation), k equal to q, and a queue or bank of random
// unit vectors. Nothing is compiled yet.
func New(backend *Backend, o Options) (*Trainer, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := o.Precision.runsIn(backend.Layout()); err != nil {
		return nil, err
	}
	spread, err := newDevices(backend, o.devices())
	if err != nil {
		return nil, err
	}
	t := &Trainer{
		backend: backend, options: o, layout: backend.Layout(), devices: spread,
		parameters: o.Encoder.Parameters(), store: model.NewStore(),
		ahead: make(chan copied, 2), // of the batch handed over last, and of the one in Ahead's hand
	}
	t.mechanism = newMechanism(t)
	t.weights = t.trained()
	return t, t.initialise()
}

// trained lists what gradients move.
func (t *Trainer) trained() (list []weight) {
	for _, encoder := range t.mechanism.trained() {
		for _, p := range t.parameters {
			if p.Trainable() {
				list = append(list, weight{encoder, p})
			}
		}
	}
	if t.options.Align.on() {
		for _, p := range t.options.Encoder.predictorParameters() {
			list = append(list, weight{predictor, p})
		}
	}
	return list
}

// encoders names all encoders.
func (t *Trainer) encoders() []string {
	if t.options.Align.on() {
		return append(t.mechanism.encoders(), slowEncoder)
	}
	return t.mechanism.encoders()
}

// Steps is the number of finished steps.
func (t *Trainer) Steps() int64 { return t.done }

// Discards are the steps among them that changed nothing.
func (t *Trainer) Discards() Discards { return t.discards }

// Options returns what the trainer was made with.
func (t *Trainer) Options() Options { return t.options }

// Close frees the compiled step and the device's memory.
func (t *Trainer) Close() {
	t.discard()
	t.dropAhead()
	for v := range t.store.IterVariables() {
		_ = v.Finalize() // nothing is left to do about memory that was lost with a failed step
	}
}

func (t *Trainer) initialise() error {
	slots, err := t.options.Optimizer.slots()
	if err != nil {
		return err
	}
	for _, p := range t.parameters {
		values := p.Initial(t.options.Seed)
		for _, encoder := range t.encoders() {
			if err := t.create(encoder+"/"+p.Name, slices.Clone(values), p.Shape...); err != nil {
				return err
			}
		}
	}
	if t.options.Align.on() {
		if err := t.createPredictor(); err != nil {
			return err
		}
	}
	for _, slot := range slots {
		for _, w := range t.weights {
			if err := t.create(w.slot(slot), make([]float32, w.Size()), w.Shape...); err != nil {
				return err
			}
		}
	}
	return t.mechanism.reset()
}

// discard frees the compiled step.
func (t *Trainer) discard() {
	if t.exec != nil {
		t.exec.Finalize()
		t.exec = nil
	}
}

func (t *Trainer) create(name string, values []float32, shape ...int) error {
	return t.set(name, tensors.FromFlatDataAndDimensions(values, shape...))
}

// set creates the variable or replaces its value.
func (t *Trainer) set(name string, value *tensors.Tensor) error {
	if v := t.store.GetVariable("/" + name); v != nil {
		return v.SetValue(value)
	}
	v, err := t.store.CreateVariable("/"+name, value)
	if err != nil {
		return fmt.Errorf("create variable %s: %w", name, err)
	}
	v.SetTrainable(false) // GoMLX's own optimizers are not used; ours knows its parameters
	return nil
}

// variable finds what initialise made; a name that is not there is a mistake in this package.
func (t *Trainer) variable(name string) *model.Variable {
	v := t.store.GetVariable("/" + name)
	if v == nil {
		panic(fmt.Errorf("no variable %q", name))
	}
	return v
}

// weight is a parameter of an encoder, or of the predictor, that gradients move.
type weight struct {
	encoder string
	Parameter
}

// variable, tensor and slot name its variable, its tensor in a checkpoint, and the optimizer's variable of a slot.
func (w weight) variable() string { return w.encoder + "/" + w.Name }

func (w weight) tensor() string { return w.encoder + "." + w.Name }

func (w weight) slot(name string) string { return name + "/" + w.tensor() }

// slots returns the optimizer's state of a weight.
func (t *Trainer) slots(w weight) []*model.Variable {
	names, _ := t.options.Optimizer.slots() // validated
	found := make([]*model.Variable, len(names))
	for i, name := range names {
		found[i] = t.variable(w.slot(name))
	}
	return found
}

// values are the weights in a graph.
func (t *Trainer) values(g *graph.Graph) []*Node {
	values := make([]*Node, len(t.weights))
	for i, w := range t.weights {
		values[i] = t.variable(w.variable()).NodeValue(g)
	}
	return values
}

// Compile builds and compiles the step; Step does it on first use.
func (t *Trainer) Compile() (err error) {
	defer recovered(&err, "compile step")
	if t.exec != nil {
		return nil
	}
	exec, err := model.NewExec(t.backend.Backend, t.store, t.buildStep)
	if err != nil {
		return fmt.Errorf("compile step: %w", err)
	}
	if err := t.devices.distribute(exec, t.arguments()); err != nil {
		return fmt.Errorf("compile step: %w", err)
	}
	var inputs []shapes.Shape
	for _, a := range t.arguments() {
		inputs = append(inputs, a.shape)
	}
	inputs = append(inputs, shapes.Make(dtypes.Float32, 3))
	if _, err := exec.Compile(t.devices.shapes(inputs)...); err != nil {
		return t.failed("compile step", err, nil)
	}
	t.exec = exec
	return nil
}

// Step takes one optimisation step on b. It owns b, also on error, and releases it once the device has its copy. A
// step that fails loses the variables it was to change (ErrLost): go on from a checkpoint. Want of memory is an
// OutOfMemoryError. A step whose loss or gradient is not finite
// counts as a step and changes nothing (StepResult.Discarded); the third such within a hundred steps is ErrNotFinite, beside
// its result. StepResult's throughput is left to the loop.
func (t *Trainer) Step(ctx context.Context, b augment.Batch) (StepResult, error) {
	defer b.Release()
	if err := ctx.Err(); err != nil {
		return StepResult{}, err
	}
	if err := t.fits(&b); err != nil {
		return StepResult{}, err
	}
	if err := t.Compile(); err != nil {
		return StepResult{}, err
	}
	arguments, err := t.copy(&b)
	if err != nil {
		return StepResult{}, err
	}
	b.Release()
	rate := t.options.Schedule.Rate(t.done)
	outputs, err := t.execute(arguments, rate)
	if err != nil {
		return StepResult{}, err
	}
	return t.result(outputs, rate)
}

func (t *Trainer) fits(b *augment.Batch) error {
	if b.Len() != t.options.Batch || b.Size != t.options.Size {
		return fmt.Errorf("step: batch of %d views of %d pixels, compiled for %d of %d", b.Len(), b.Size, t.options.Batch, t.options.Size)
	}
	return nil
}

// copy brings what the step takes of a batch to the devices.
func (t *Trainer) copy(b *augment.Batch) ([]any, error) {
	values, err := t.feed(b)
	if err != nil {
		return nil, fmt.Errorf("step %d: %w", t.done+1, err)
	}
	views := t.copiedViews(b)
	for i, a := range t.arguments() {
		if view, ok := views[a.name]; ok {
			values[i] = view
			delete(views, a.name)
			continue
		}
		if values[i], err = t.devices.place(a.shape, values[i]); err != nil {
			free(values[:i])
			discardViews(views)
			return nil, t.failed(fmt.Sprintf("copy %s to the device", a.name), err, nil)
		}
	}
	return values, nil
}

// execute runs the compiled step on arguments as copy makes them, and frees them.
func (t *Trainer) execute(arguments []any, rate float64) (outputs []*tensors.Tensor, err error) {
	doing := fmt.Sprintf("step %d", t.done+1)
	defer free(arguments)
	hyper := t.options.Optimizer.hyper(rate, t.done-t.discards.Total)
	last, err := t.devices.numbers(hyper[:])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	defer free([]any{last})
	outputs, err = run(t.exec, append(slices.Clip(arguments), last))
	if err != nil {
		return nil, t.failed(doing, err, ErrLost)
	}
	t.done++
	each := len(outputs) / t.devices.n
	free(outputs[each:]) // the other devices' copies
	return outputs[:each], nil
}

// run executes; a panic within is an error too.
func run(exec *model.Exec, inputs []any) (outputs []*tensors.Tensor, err error) {
	defer recovered(&err, "execute")
	return exec.Exec(inputs...)
}

// order is the permutation in which this step's keys are encoded, one for each part of the batch: a function of seed and
// step alone.
func (t *Trainer) order() []int32 {
	rng := rand.New(rand.NewPCG(t.options.Seed^0x73687566, uint64(t.done))) // "shuf"
	order := make([]int32, 0, t.options.Batch)
	for range t.options.parts() {
		part := order[len(order):][:t.options.Batch/t.options.parts()]
		for i := range part {
			part[i] = int32(i)
		}
		rng.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
		order = order[:len(order)+len(part)]
	}
	return order
}
