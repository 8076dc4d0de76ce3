package train

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mocostream/internal/safetensors"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
)

// EmbedderOptions says how images are embedded.
type EmbedderOptions struct {
	Encoder   EncoderOptions
	Size      int // height and width of an image, pixels
	Batch     int // images a call of the compiled graph
	Mean, Std [3]float32
}

// Embedder computes features with an encoder in inference mode. It is used by one goroutine.
type Embedder struct {
	backend  *Backend
	options  EmbedderOptions
	tensors  []Parameter // without those of the head where the weights have none
	headless bool
	store    *model.Store
	infer    *model.Exec // images -> features, projections
	estimate *model.Exec // images, momentum -> 0; moves the running statistics
}

// NewEmbedder makes an embedder of random weights, drawn from seed as a trainer draws them: the untrained baseline.
func NewEmbedder(backend *Backend, o EmbedderOptions, seed uint64) (*Embedder, error) {
	weights := make([]safetensors.Tensor, 0)
	for _, p := range o.Encoder.Parameters() {
		weights = append(weights, safetensors.FromFloat32s(p.Name, p.Shape, p.Initial(seed)))
	}
	return newEmbedder(backend, o, "", weights)
}

// NewEmbedderFrom makes an embedder of a checkpoint's query ("q") or key ("k") encoder. One without any tensor of a head, as
// exports are, has no projections.
func NewEmbedderFrom(backend *Backend, o EmbedderOptions, c *Checkpoint, which string) (*Embedder, error) {
	prefix, ok := map[string]string{"q": queryEncoder + ".", "k": keyEncoder + "."}[which]
	if !ok {
		return nil, fmt.Errorf("encoder %q: use q (query) or k (key)", which)
	}
	if which == "k" && !c.HasKeyEncoder() {
		return nil, errors.New("the checkpoint has no key encoder: its run kept a memory bank in place of one; use q")
	}
	return newEmbedder(backend, o, prefix, c.Model)
}

func newEmbedder(backend *Backend, o EmbedderOptions, prefix string, weights []safetensors.Tensor) (*Embedder, error) {
	if err := o.Encoder.Validate(); err != nil {
		return nil, err
	}
	e := &Embedder{backend: backend, options: o, store: model.NewStore()}
	have := byName(weights)
	e.headless = !slices.ContainsFunc(weights, func(t safetensors.Tensor) bool { return strings.HasPrefix(t.Name, prefix+headPrefix) })
	for _, p := range o.Encoder.Parameters() {
		if e.headless && strings.HasPrefix(p.Name, headPrefix) {
			continue
		}
		e.tensors = append(e.tensors, p)
		values, err := floatsOf(have, prefix+p.Name, p.Shape)
		if err != nil {
			return nil, err
		}
		if _, err := e.store.CreateVariable("/"+p.Name, tensors.FromFlatDataAndDimensions(slices.Clone(values), p.Shape...)); err != nil {
			return nil, fmt.Errorf("create variable %s: %w", p.Name, err)
		}
	}
	return e, nil
}

// headPrefix begins the names of a head's tensors.
const headPrefix = "fc."

// HasHead says whether Embed gives projections.
func (e *Embedder) HasHead() bool { return !e.headless }

// Close frees compiled graphs and memory.
func (e *Embedder) Close() {
	for _, exec := range []*model.Exec{e.infer, e.estimate} {
		if exec != nil {
			exec.Finalize()
		}
	}
	for v := range e.store.IterVariables() {
		_ = v.Finalize() // nothing is left to do about it
	}
}

func (e *Embedder) pass(groups int, momentum *Node) forward {
	return forward{
		options:  e.options.Encoder,
		layers:   layersFor(e.backend.Layout(), Float32, false),
		lookup:   func(name string) *model.Variable { return e.store.GetVariable("/" + name) },
		groups:   groups,
		momentum: momentum,
	}
}

// outputs are the features and, with a head, the projections.
func (e *Embedder) outputs(f forward, images *Node) []*Node {
	features := f.features(images, e.options.Mean, e.options.Std)
	if e.headless {
		return []*Node{features}
	}
	return []*Node{features, f.head(features)}
}

// Embed returns features [n, F] of the backbone, before any normalisation, and projections [n, dim] of the head, none
// without a head, for n images pixels [n, Size, Size, 3].
func (e *Embedder) Embed(ctx context.Context, pixels []byte) (features, projections []float32, err error) {
	defer recovered(&err, "embed images")
	if e.infer == nil {
		e.infer, err = model.NewExec(e.backend.Backend, e.store, func(_ *model.Scope, images *Node) []*Node {
			return e.outputs(e.pass(0, nil), images)
		})
		if err != nil {
			return nil, nil, fmt.Errorf("compile encoder: %w", err)
		}
	}
	err = e.batches(ctx, pixels, func(images *tensors.Tensor, n int) error {
		outputs, err := e.infer.Exec(images)
		if err != nil {
			return err
		}
		features = append(features, firstRows(outputs[0], n)...)
		if !e.headless {
			projections = append(projections, firstRows(outputs[1], n)...)
		}
		return nil
	})
	return features, projections, err
}

// firstRows copies n rows of t to the host and frees it.
func firstRows(t *tensors.Tensor, n int) []float32 {
	defer t.FinalizeAll()
	return tensors.MustCopyFlatData[float32](t)[:n*t.Shape().Dimensions[1]]
}

// batches cuts images into full batches; the last is filled up with black images, n counts the real ones.
func (e *Embedder) batches(ctx context.Context, pixels []byte, do func(images *tensors.Tensor, n int) error) error {
	image := e.options.Size * e.options.Size * 3
	if len(pixels)%image != 0 {
		return fmt.Errorf("embed: %d bytes are no whole number of %dx%d images", len(pixels), e.options.Size, e.options.Size)
	}
	shape := shapes.Make(dtypes.Uint8, e.options.Batch, e.options.Size, e.options.Size, 3)
	for len(pixels) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(e.options.Batch, len(pixels)/image)
		part := pixels[:n*image]
		pixels = pixels[n*image:]
		if n < e.options.Batch {
			part = append(slices.Clone(part), make([]byte, (e.options.Batch-n)*image)...)
		}
		images, err := tensors.FromRaw(e.backend.Backend, 0, shape, part)
		if err != nil {
			return fmt.Errorf("copy images to the device: %w", err)
		}
		err = do(images, n)
		images.FinalizeAll()
		if err != nil {
			return err
		}
	}
	return nil
}

// Estimate replaces BatchNorm's running statistics by those of the images: the mean over whole batches of the statistics
// of each (as torch.optim.swa_utils.update_bn). next returns pixels [n, Size, Size, 3], empty at the end; a last part
// shorter than a batch is left out unless there is nothing else, in which case it is repeated to fill one.
func (e *Embedder) Estimate(ctx context.Context, next func() ([]byte, error)) (err error) {
	defer recovered(&err, "estimate BatchNorm statistics")
	if e.estimate == nil {
		e.estimate, err = model.NewExec(e.backend.Backend, e.store, func(_ *model.Scope, images, momentum *Node) *Node {
			outputs := e.outputs(e.pass(1, momentum), images)
			return graph.ReduceAllSum(outputs[len(outputs)-1])
		})
		if err != nil {
			return fmt.Errorf("compile encoder: %w", err)
		}
	}
	rest, count := []byte(nil), 0
	image := e.options.Size * e.options.Size * 3
	for {
		pixels, err := next()
		if err != nil {
			return err
		}
		rest = append(rest, pixels...)
		if len(pixels) == 0 && count == 0 && len(rest) > 0 {
			rest = repeated(rest, e.options.Batch*image)
		}
		whole := len(rest) / (e.options.Batch * image) * e.options.Batch * image
		err = e.batches(ctx, rest[:whole], func(images *tensors.Tensor, _ int) error {
			count++
			outputs, err := e.estimate.Exec(images, float32(1)/float32(count))
			if err == nil {
				outputs[0].FinalizeAll()
			}
			return err
		})
		if err != nil || len(pixels) == 0 {
			return err
		}
		rest = append(rest[:0], rest[whole:]...)
	}
}

// repeated fills n bytes with x over and over.
func repeated(x []byte, n int) []byte {
	y := make([]byte, 0, n)
	for len(y) < n {
		y = append(y, x[:min(len(x), n-len(y))]...)
	}
	return y
}

// Running returns BatchNorm's running statistics by torchvision's names.
func (e *Embedder) Running() ([]safetensors.Tensor, error) {
	var list []safetensors.Tensor
	for _, p := range e.tensors {
		if p.Trainable() {
			continue
		}
		value, err := e.store.GetVariable("/" + p.Name).Value()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", p.Name, err)
		}
		values, err := tensors.CopyFlatData[float32](value)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", p.Name, err)
		}
		list = append(list, safetensors.FromFloat32s(p.Name, p.Shape, values))
	}
	return list, nil
}
