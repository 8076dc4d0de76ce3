// Package knn evaluates features without training anything on them: weighted nearest-neighbour classification, and the
// nearest neighbours themselves.
package knn

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Options are the two parameters of the classifier.
type Options struct {
	K           int     // neighbours that vote; 0: 200. More than the reference has is all of them.
	Temperature float64 // of the weights exp(similarity / Temperature); 0: 0.1
}

// Result is the accuracy over all queries, 0..1.
type Result struct {
	Top1, Top5  float64
	K           int     // neighbours that voted, after clipping to the reference
	Classes     int     // distinct labels in the reference
	Queries     int     // rows classified
	Predictions []int32 // the first class of each query, in the order of its rows
	Warning     string  // what makes these figures hard to compare; empty if nothing does
}

// Classify predicts a class for every query row from the labels of its K most similar reference rows: features scaled to
// length 1, cosine similarity, votes exp(similarity/T) summed by class, classes ranked by their sum. This is the weighted
// k-NN of Wu et al., arXiv 1805.01978, section 3.4, as the CIFAR notebook of MoCo has it. Equal similarities go to the
// lower reference row and equal sums to the lower class; a class without a vote is never a hit. The result does not depend
// on the number of processors. A set that is empty, or has a row without a label or a value that is not finite, is an
// error.
func Classify(reference, query Features, opts Options) (Result, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return Result{}, err
	}
	if err := checkLabels("reference", reference); err != nil {
		return Result{}, err
	}
	if err := checkLabels("query", query); err != nil {
		return Result{}, err
	}
	neighbours, err := Nearest(reference, query, opts.K)
	if err != nil {
		return Result{}, fmt.Errorf("classify by nearest neighbours: %w", err)
	}
	return score(reference, query, neighbours, opts), nil
}

func (o Options) withDefaults() (Options, error) {
	if o.K == 0 {
		o.K = 200
	}
	if o.Temperature == 0 {
		o.Temperature = 0.1
	}
	if o.K < 0 {
		return o, fmt.Errorf("check k-NN options: k is %d; it must be positive", o.K)
	}
	if !(o.Temperature > 0) || math.IsInf(o.Temperature, 1) {
		return o, fmt.Errorf("check k-NN options: temperature is %v; it must be positive and finite", o.Temperature)
	}
	return o, nil
}

func score(reference, query Features, neighbours [][]Neighbour, opts Options) Result {
	classes := distinct(reference.Labels)
	r := Result{
		K:           min(opts.K, reference.Rows()),
		Classes:     len(classes),
		Queries:     query.Rows(),
		Predictions: make([]int32, query.Rows()),
		Warning:     warn(reference, query, classes, opts.K),
	}
	var top1, top5 int
	for q, near := range neighbours {
		ranked := rank(near, reference.Labels, opts.Temperature)
		r.Predictions[q] = ranked[0]
		if place := slices.Index(ranked, query.Labels[q]); place == 0 {
			top1++
			top5++
		} else if place > 0 && place < 5 {
			top5++
		}
	}
	r.Top1 = float64(top1) / float64(r.Queries)
	r.Top5 = float64(top5) / float64(r.Queries)
	return r
}

// rank returns the classes of the neighbours, most votes first. Similarities are taken relative to the best one, which
// scales every class alike and keeps the exponential finite at any temperature.
func rank(near []Neighbour, labels []int32, temperature float64) []int32 {
	votes := map[int32]float64{}
	for _, n := range near {
		votes[labels[n.Row]] += math.Exp((float64(n.Similarity) - float64(near[0].Similarity)) / temperature)
	}
	ranked := make([]int32, 0, len(votes))
	for class := range votes {
		ranked = append(ranked, class)
	}
	slices.SortFunc(ranked, func(a, b int32) int {
		return cmp.Or(cmp.Compare(votes[b], votes[a]), cmp.Compare(a, b))
	})
	return ranked
}

func distinct(labels []int32) map[int32]bool {
	seen := map[int32]bool{}
	for _, l := range labels {
		seen[l] = true
	}
	return seen
}

func warn(reference, query Features, classes map[int32]bool, k int) string {
	var w []string
	if n := reference.Rows(); 2*k > n {
		w = append(w, fmt.Sprintf("k of %d is more than half of the %d reference images, so frequent classes win; lower k", k, n))
	}
	unknown := 0
	for _, l := range query.Labels {
		if !classes[l] {
			unknown++
		}
	}
	if unknown > 0 {
		w = append(w, fmt.Sprintf("queries of a class that the reference lacks: %d; they count as wrong", unknown))
	}
	return strings.Join(w, "; ")
}
