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
	Backbone         knn.Result
	Head             knn.Result // zero where the encoder has no head
	Reference, Query *Features
}

// KNN judges an encoder by weighted k-nearest neighbours (Wu et al. 2018, arXiv 1805.01978, section 3.4): each query image is
// classified by the reference images most like it. A query image that is in the reference too is an error.
func KNN(ctx context.Context, e *train.Embedder, reference, query Source, o Options, bn BatchNorm, k knn.Options) (*Result, error) {
	classes, err := sameClasses("reference", reference.Classes, "query", query.Classes)
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
	if err := disjoint("reference", r.Reference, "query", r.Query); err != nil {
		return nil, err
	}
	r.Query.Backbone.Labels = relabel(r.Query.Backbone.Labels, classes)
	r.Query.Head.Labels = relabel(r.Query.Head.Labels, classes)
	if r.Backbone, err = knn.Classify(r.Reference.Backbone, r.Query.Backbone, k); err != nil {
		return nil, fmt.Errorf("classify backbone features: %w", err)
	}
	if !e.HasHead() {
		return r, nil
	}
	if r.Head, err = knn.Classify(r.Reference.Head, r.Query.Head, k); err != nil {
		return nil, fmt.Errorf("classify head features: %w", err)
	}
	return r, nil
}

// PixelsKNN is the same question asked of raw pixels.
func PixelsKNN(ctx context.Context, reference, query Source, o Options, k knn.Options) (knn.Result, error) {
	classes, err := sameClasses("reference", reference.Classes, "query", query.Classes)
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

// disjoint refuses images to be judged by that are in the other set too: they would find themselves. The sets have names for
// errors.
func disjoint(knownName string, known *Features, askedName string, asked *Features) error {
	at := make(map[[32]byte]int, len(known.SHA256))
	for i, sum := range known.SHA256 {
		at[sum] = i
	}
	count, example := 0, ""
	for i, sum := range asked.SHA256 {
		if j, ok := at[sum]; ok {
			if count == 0 {
				example = fmt.Sprintf("%s %s is %s %s", askedName, asked.Keys[i], knownName, known.Keys[j])
			}
			count++
		}
	}
	if count > 0 {
		return fmt.Errorf("%d %s images are in the %s too, byte for byte (%s); take them out of one of the two", count, askedName, knownName, example)
	}
	return nil
}

// sameClasses returns for each class that is asked about the label of the same class in the known set, by name.
func sameClasses(knownName string, known []string, askedName string, asked []string) ([]int32, error) {
	if len(known) == 0 || len(asked) == 0 {
		return nil, fmt.Errorf("no classes: put the images of each class into a sub-folder of its own")
	}
	labels := make([]int32, len(asked))
	for i, name := range asked {
		j := slices.Index(known, name)
		if j < 0 {
			return nil, fmt.Errorf("%s class %q is not in the %s, which has %v", askedName, name, knownName, known)
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
