package main

import (
	"context"
	"fmt"
	"image"
	"math/rand/v2"
	"path"

	"mocostream/augment"
	"mocostream/augment/rgb"
	"mocostream/config"
	"mocostream/ingest"
	"mocostream/loader"
	"mocostream/sink/report"
	"mocostream/train"
	"mocostream/train/eval"
	"mocostream/train/knn"

	"golang.org/x/sync/errgroup"
)

// firstSamples calls use with n samples of a source, in the order of training's first epoch.
func firstSamples(ctx context.Context, src ingest.Bounded, c *config.Config, n int, use func(*loader.Sample) error) error {
	o := loaderOptions(c, loader.Token{})
	o.Epochs = 1
	return takeSamples(ctx, loader.NewBounded(src, o), n, use)
}

// first calls use with the n samples after o.Start, in training order, or with all there are. It waits for a stream.
func (in *input) first(ctx context.Context, o loader.Options, n int, use func(*loader.Sample) error) error {
	plain := *in
	plain.window, plain.ledger = nil, nil // a look ahead is to leave no trace
	return takeSamples(ctx, plain.loader(o), n, use)
}

func takeSamples(ctx context.Context, from sampleLoader, n int, use func(*loader.Sample) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	samples := make(chan loader.Sample)
	group.Go(func() error { return from.Run(ctx, samples) })
	var failed error
	taken := 0
	for s := range samples {
		if taken < n && failed == nil {
			failed = use(&s)
			taken++
		}
		s.Release()
		if taken >= n || failed != nil {
			cancel()
		}
	}
	if err := group.Wait(); failed == nil && taken < n {
		failed = err
	}
	return failed
}

// previewRows renders the n images that samples gives with the two views that training would make of them in its first
// epoch. Images that cannot be decoded are left out.
func previewRows(c *config.Config, n int, samples func(use func(*loader.Sample) error) error) ([]report.PreviewRow, error) {
	recipe, err := recipeOf(c)
	if err != nil {
		return nil, usageError{err}
	}
	var rows []report.PreviewRow
	err = samples(func(s *loader.Sample) error {
		original, err := augment.DecodeRGB(s.Image(), limitsOf(c))
		if err != nil {
			return nil // the run records it; a preview has no use for it
		}
		views, err := renderViews(recipe, s, c)
		if err != nil {
			return err
		}
		rows = append(rows, report.PreviewRow{Original: original, Views: views, Caption: path.Base(s.Key())})
		return nil
	})
	if err == nil && len(rows) == 0 {
		err = fmt.Errorf("preview: none of the first %d images can be decoded", n)
	}
	return rows, err
}

// renderViews makes the query and the key view of a sample.
func renderViews(recipe augment.Recipe, s *loader.Sample, c *config.Config) ([]image.Image, error) {
	size := c.Augment.Size
	views := make([]augment.View, 2)
	images := make([]image.Image, 2)
	for i := range views {
		pixels := make([]byte, size*size*3)
		views[i] = augment.View{Pix: pixels, Size: size}
		images[i] = &rgb.Image{Pix: pixels, Width: size, Height: size}
	}
	key := augment.NewKey(c.Train.Seed, s.Epoch, s.ID())
	_, err := recipe.Views(views, s.Image(), func(view int) *rand.Rand { return key.Rand(view) })
	return images, err
}

const (
	neighbourQueries = 8
	neighbourPool    = 600 // images among which neighbours are sought
	neighbourCount   = 8
)

// neighbourRows shows images of a source and what the encoder finds most like them.
func neighbourRows(ctx context.Context, e *train.Embedder, src eval.Source, o eval.Options) ([]report.NeighbourRow, error) {
	o.Max = neighbourPool
	var all knn.Features
	var pictures []image.Image
	_, err := eval.Pass(ctx, src, o, true, func(b augment.EvalBatch) error {
		features, _, err := e.Embed(ctx, b.Pixels)
		if err != nil {
			return err
		}
		all.Dim = len(features) / b.Len()
		all.X = append(all.X, features...)
		all.Labels = append(all.Labels, b.Labels...)
		for i := range b.Len() {
			pictures = append(pictures, thumbnail(b.Pixels[i*b.Size*b.Size*3:][:b.Size*b.Size*3], b.Size))
		}
		return nil
	})
	if err != nil || len(pictures) <= neighbourQueries {
		return nil, err
	}
	cut := neighbourQueries * all.Dim
	queries := knn.Features{Dim: all.Dim, X: all.X[:cut], Labels: all.Labels[:neighbourQueries]}
	rest := knn.Features{Dim: all.Dim, X: all.X[cut:], Labels: all.Labels[neighbourQueries:]}
	found, err := knn.Nearest(rest, queries, min(neighbourCount, len(rest.Labels)))
	if err != nil {
		return nil, err
	}
	rows := make([]report.NeighbourRow, len(found))
	for i, list := range found {
		rows[i] = report.NeighbourRow{Query: pictures[i], Caption: className(src.Classes, queries.Labels[i])}
		for _, n := range list {
			rows[i].Neighbours = append(rows[i].Neighbours, report.Neighbour{
				Image: pictures[neighbourQueries+n.Row], Similarity: float64(n.Similarity), Match: match(queries.Labels[i], rest.Labels[n.Row]),
			})
		}
	}
	return rows, nil
}

func className(classes []string, label int32) string {
	if label < 0 || int(label) >= len(classes) {
		return ""
	}
	return classes[label]
}

func match(a, b int32) report.Match {
	switch {
	case a < 0 || b < 0:
		return report.Unknown
	case a == b:
		return report.Same
	}
	return report.Other
}

// maxThumbnail bounds the pictures that are kept for the neighbour grid, in pixels a side.
const maxThumbnail = 112

// thumbnail copies an image, halved until it is small.
func thumbnail(pixels []byte, size int) image.Image {
	pixels = append([]byte(nil), pixels...)
	for size > maxThumbnail {
		half := size / 2
		for y := range half {
			for x := range half {
				for c := range 3 {
					at := func(dx, dy int) int { return int(pixels[((2*y+dy)*size+2*x+dx)*3+c]) }
					pixels[(y*half+x)*3+c] = byte((at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1) + 2) / 4)
				}
			}
		}
		size = half
	}
	return &rgb.Image{Pix: pixels[:size*size*3], Width: size, Height: size}
}
