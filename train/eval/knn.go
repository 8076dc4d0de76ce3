package eval

import (
	"context"
	"fmt"
	"slices"

	"mocostream/train"
	"mocostream/train/knn"
)

// BatchNorm says which statistics an encoder is judged with.
type BatchNorm string

// Estimated are those of the reference images, which is fair to trained and untrained encoders alike; AsTrained are the
// running statistics of training.
const (
	Estimated BatchNorm = "estimated"
	AsTrained BatchNorm = "as-trained"
)

// Result is a k-NN evaluation of one encoder.
type Result struct {
	Backbone, Head   knn.Result
	Reference, Query *Features
}

// KNN judges an encoder by weighted k-nearest neighbours (Wu et al. 2018, arXiv 1805.01978, section 3.4): each query image is
// classified by the reference images most like it. A query image that is in the reference too is an error.
func KNN(ctx context.Context, e *train.Embedder, reference, query Source, o Options, bn BatchNorm, k knn.Options) (*Result, error) {
	classes, err := sameClasses(reference.Classes, query.Classes)
	if err != nil {
		return nil, err
	}
	if bn == Estimated {
		if err := Estimate(ctx, reference, e, o); err != nil {
			return nil, fmt.Errorf("estimate BatchNorm statistics: %w", err)
		}
	}
	r := &Result{}
	if r.Reference, err = Embed(ctx, reference, e, o); err != nil {
		return nil, fmt.Errorf("reference images: %w", err)
	}
	if r.Query, err = Embed(ctx, query, e, o); err != nil {
		return nil, fmt.Errorf("query images: %w", err)
	}
	if err := disjoint(r.Reference, r.Query); err != nil {
		return nil, err
	}
	r.Query.Backbone.Labels = relabel(r.Query.Backbone.Labels, classes)
	r.Query.Head.Labels = relabel(r.Query.Head.Labels, classes)
	if r.Backbone, err = knn.Classify(r.Reference.Backbone, r.Query.Backbone, k); err != nil {
		return nil, fmt.Errorf("classify backbone features: %w", err)
	}
	if r.Head, err = knn.Classify(r.Reference.Head, r.Query.Head, k); err != nil {
		return nil, fmt.Errorf("classify head features: %w", err)
	}
	return r, nil
}

// PixelsKNN is the same question asked of raw pixels.
func PixelsKNN(ctx context.Context, reference, query Source, o Options, k knn.Options) (knn.Result, error) {
	classes, err := sameClasses(reference.Classes, query.Classes)
	if err != nil {
		return knn.Result{}, err
	}
	ref, err := Pixels(ctx, reference, o)
	if err != nil {
		return knn.Result{}, fmt.Errorf("reference images: %w", err)
	}
	q, err := Pixels(ctx, query, o)
	if err != nil {
		return knn.Result{}, fmt.Errorf("query images: %w", err)
	}
	q.Labels = relabel(q.Labels, classes)
	return knn.Classify(ref, q, k)
}

// disjoint refuses queries that are in the reference: they would find themselves.
func disjoint(reference, query *Features) error {
	at := make(map[[32]byte]int, len(reference.SHA256))
	for i, sum := range reference.SHA256 {
		at[sum] = i
	}
	count, example := 0, ""
	for i, sum := range query.SHA256 {
		if j, ok := at[sum]; ok {
			if count == 0 {
				example = fmt.Sprintf("query %s is reference %s", query.Keys[i], reference.Keys[j])
			}
			count++
		}
	}
	if count > 0 {
		return fmt.Errorf("%d query images are in the reference too, byte for byte (%s); take them out of one of the two", count, example)
	}
	return nil
}

// sameClasses returns the reference's label of each label of the query, by the names of the classes.
func sameClasses(reference, query []string) ([]int32, error) {
	if len(reference) == 0 || len(query) == 0 {
		return nil, fmt.Errorf("no classes: put the images of each class into a sub-folder of its own")
	}
	labels := make([]int32, len(query))
	for i, name := range query {
		j := slices.Index(reference, name)
		if j < 0 {
			return nil, fmt.Errorf("query class %q is not in the reference, which has %v", name, reference)
		}
		labels[i] = int32(j)
	}
	return labels, nil
}

func relabel(labels, to []int32) []int32 {
	renamed := make([]int32, len(labels))
	for i, l := range labels {
		renamed[i] = l
		if l >= 0 {
			renamed[i] = to[l]
		}
	}
	return renamed
}
