// Package eval judges an encoder: it brings labelled images through the evaluation transform and an encoder in
// inference mode, and asks how well the features tell the classes apart.
package eval

import (
	"context"
	"errors"
	"fmt"

	"mocostream/augment"
	"mocostream/ingest"
	"mocostream/loader"
	"mocostream/train"
	"mocostream/train/knn"

	"golang.org/x/sync/errgroup"
)

// Options says how images are read for evaluation.
type Options struct {
	Size        int // height and width after the transform, pixels
	Batch       int // images a batch
	Limits      augment.Limits
	Workers     int   // 0: one a processor
	MemoryLimit int64 // bytes of encoded images in flight; 0: the loader's default
	// Max takes so many images of the source, chosen by a fixed shuffle; 0 takes all in their order.
	Max int
	// Progress is told, after each batch, how many images have passed; nil: nobody is.
	Progress func(images int)
}

// Source is a bounded source with the names of its classes: label i is Classes[i].
type Source struct {
	ingest.Bounded
	Classes []string
}

// Features are the images of a source as an encoder sees them.
type Features struct {
	Backbone knn.Features // before any normalisation
	Head     knn.Features // the projection; empty where the encoder has no head
	Keys     []string
	SHA256   [][32]byte
	Bad      []loader.DeadLetter // images that could not be decoded, left out
}

// Pass reads a source once and hands over batches of transformed images. Shuffled passes take a fixed random order:
// folders are sorted by class, and statistics of a batch of one class are no statistics of the set.
func Pass(ctx context.Context, src ingest.Bounded, o Options, shuffled bool, emit func(augment.EvalBatch) error) ([]loader.DeadLetter, error) {
	transform, err := augment.NewEval(o.Size, o.Limits)
	if err != nil {
		return nil, err
	}
	bad, err := o.read(ctx, src, loader.Options{Shuffle: shuffled || o.Max > 0}, transform.Renderer, limited(o.Max, emit))
	if errors.Is(err, errEnough) {
		return before(bad, o.Max), nil
	}
	return bad, err
}

// read brings one epoch of a source, in the order that l chooses, through a renderer.
func (o Options) read(ctx context.Context, src ingest.Bounded, l loader.Options, renderer func() func(augment.View, *loader.Sample) error,
	emit func(augment.EvalBatch) error,
) (bad []loader.DeadLetter, err error) {
	l.ShuffleWindow, l.ShuffleBuffer = 8, 1024
	l.MemoryLimit, l.MaxBytes = o.MemoryLimit, int64(o.Limits.WithDefaults().MaxBytes)
	l.Epochs = max(l.Epochs, 1)
	group, ctx := errgroup.WithContext(ctx)
	samples := make(chan loader.Sample, 64)
	group.Go(func() error { return loader.NewBounded(src, l).Run(ctx, samples) })
	group.Go(func() (err error) {
		bad, err = augment.EvalBatches(ctx, samples, renderer, o.Size, o.Batch, o.Workers, o.counted(emit))
		if err != nil {
			drain(samples)
		}
		return err
	})
	err = group.Wait()
	return bad, err
}

// counted tells Progress of what passes.
func (o Options) counted(emit func(augment.EvalBatch) error) func(augment.EvalBatch) error {
	if o.Progress == nil {
		return emit
	}
	images := 0
	return func(b augment.EvalBatch) error {
		images += b.Len()
		err := emit(b)
		o.Progress(images)
		return err
	}
}

// before leaves the dead letters that come before the good image of number most, from 1: a pass that ends early has looked
// further by chance.
func before(bad []loader.DeadLetter, most int) []loader.DeadLetter {
	for i, letter := range bad {
		if good := int(letter.Position) - i; good >= most {
			return bad[:i]
		}
	}
	return bad
}

// errEnough ends a pass that has seen Options.Max images.
var errEnough = errors.New("enough images")

// limited passes on the first most images; 0 passes on all.
func limited(most int, emit func(augment.EvalBatch) error) func(augment.EvalBatch) error {
	if most <= 0 {
		return emit
	}
	seen := 0
	return func(b augment.EvalBatch) error {
		if n := min(b.Len(), most-seen); n < b.Len() {
			pixels := b.Size * b.Size * 3
			b.Pixels, b.IDs, b.Keys, b.Labels, b.SHA256 = b.Pixels[:n*pixels], b.IDs[:n], b.Keys[:n], b.Labels[:n], b.SHA256[:n]
		}
		seen += b.Len()
		if err := emit(b); err != nil {
			return err
		}
		if seen >= most {
			return errEnough
		}
		return nil
	}
}

// drain releases what the loader still sends until it closes the channel.
func drain(samples <-chan loader.Sample) {
	for s := range samples {
		s.Release()
	}
}

// Estimate sets the embedder's BatchNorm statistics to those of the source's images.
func Estimate(ctx context.Context, src ingest.Bounded, e *train.Embedder, o Options) error {
	group, ctx := errgroup.WithContext(ctx)
	batches := make(chan []byte)
	group.Go(func() error {
		defer close(batches)
		_, err := Pass(ctx, src, o, true, func(b augment.EvalBatch) error {
			select {
			case batches <- append([]byte(nil), b.Pixels...):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		return err
	})
	group.Go(func() error {
		return e.Estimate(ctx, func() ([]byte, error) {
			select {
			case pixels := <-batches: // empty once closed
				return pixels, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
	})
	return group.Wait()
}

// Embed computes the features of every image of a source.
func Embed(ctx context.Context, src ingest.Bounded, e *train.Embedder, o Options) (*Features, error) {
	f := &Features{}
	bad, err := Pass(ctx, src, o, false, func(b augment.EvalBatch) error {
		backbone, head, err := e.Embed(ctx, b.Pixels)
		if err != nil {
			return err
		}
		f.Backbone = appended(f.Backbone, backbone, b.Labels)
		if e.HasHead() {
			f.Head = appended(f.Head, head, b.Labels)
		}
		f.Keys = append(f.Keys, b.Keys...)
		f.SHA256 = append(f.SHA256, b.SHA256...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.Bad = bad
	if len(f.Keys) == 0 {
		return nil, fmt.Errorf("embed: none of the source's images can be decoded (%d tried)", len(bad))
	}
	return f, nil
}

func appended(f knn.Features, rows []float32, labels []int32) knn.Features {
	f.Dim = len(rows) / len(labels)
	f.X = append(f.X, rows...)
	f.Labels = append(f.Labels, labels...)
	return f
}

// maxPixelSide bounds the raw-pixel baseline: 32x32x3 numbers an image.
const maxPixelSide = 32

// Pixels returns the images themselves as features, averaged down to at most 32 x 32 and centred on mid-grey: what a
// classifier gets for nothing.
func Pixels(ctx context.Context, src ingest.Bounded, o Options) (knn.Features, error) {
	o.Size = min(o.Size, maxPixelSide)
	var f knn.Features
	_, err := Pass(ctx, src, o, false, func(b augment.EvalBatch) error {
		rows := make([]float32, len(b.Pixels))
		for i, p := range b.Pixels {
			rows[i] = float32(p)/255 - 0.5
		}
		f = appended(f, rows, b.Labels)
		return nil
	})
	return f, err
}
