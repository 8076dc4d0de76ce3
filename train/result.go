package train

import (
	"fmt"

	"github.com/gomlx/gomlx/core/tensors"
)

// StepResult is what one finished step reports, and a line of metrics.jsonl.
type StepResult struct {
	Step     int64   `json:"step"`     // finished steps, from 1
	Samples  int64   `json:"samples"`  // images consumed so far
	Epoch    float64 `json:"epoch"`    // passes over the data so far (0 for a stream)
	Loss     float64 `json:"loss"`     // InfoNCE, nats; with Options.Symmetric the sum of both directions
	LR       float64 `json:"lr"`       // learning rate of this step
	Positive float64 `json:"positive"` // mean cosine similarity of query and its key
	Negative float64 `json:"negative"` // mean cosine similarity of queries and queue
	Top1     float64 `json:"top1"`     // share of queries whose key beats all negatives: (K+1)-way accuracy
	Top5     float64 `json:"top5"`     // share of queries whose key is among the five best of K+1
	// Spread is the mean over dimensions of the standard deviation of the queries, times sqrt(dim): 1 when they fill the
	// sphere, 0 when collapsed.
	Spread float64 `json:"spread"`
	// EffectiveRank is the participation ratio (tr C)^2 / tr(C^2) of the covariance C of the queries: in how many
	// directions they vary, at most dim and less than the batch. With Options.Accumulate spread and rank are means over parts.
	EffectiveRank   float64 `json:"effective_rank"`
	GradNorm        float64 `json:"grad_norm"`           // global L2 norm of the gradient, before clipping
	QueueAge        float64 `json:"queue_age"`           // mean age of the queue's keys, steps; 0 without any
	QueueLag        float64 `json:"queue_lag"`           // how much older its samples are than the batch's, s; 0 if that is not known
	Apart           float64 `json:"apart"`               // mean of 1 - cosine that Options.Align lessens; 0 without
	Masked          float64 `json:"masked"`              // share of the negatives that did not count, being no negatives of their query
	Discarded       bool    `json:"discarded,omitempty"` // loss or gradient was not finite and the step changed nothing
	ImagesPerSecond float64 `json:"images_per_second"`   // of this step, waiting for its batch included
	DataWait        float64 `json:"data_wait"`           // share of time spent waiting for batches, about the last twenty steps

	// Queries are the embeddings of the batch's images in its order, [B, dim] row by row, of length 1: the query's, or with
	// Options.Symmetric the direction halfway between both views'. They are of the weights before the step. Nil without
	// Options.Queries, and where the step was discarded.
	Queries []float32 `json:"-"`
}

// ProbeResult is an evaluation during or after training; a line of metrics.jsonl with "probe" set.
type ProbeResult struct {
	Step  int64   `json:"step"`
	Probe string  `json:"probe"` // name
	Top1  float64 `json:"knn_top1"`
	Top5  float64 `json:"knn_top5"`
}

// result reads what the step returned, and frees it.
func (t *Trainer) result(outputs []*tensors.Tensor, rate float64) (StepResult, error) {
	defer free(outputs)
	values, err := tensors.CopyFlatData[float32](outputs[0])
	if err != nil {
		return StepResult{}, t.failed(fmt.Sprintf("read report of step %d", t.done), err, ErrLost) // an asynchronous device fails here
	}
	r := StepResult{
		Step:          t.done,
		Loss:          float64(values[reportLoss]),
		LR:            rate,
		Positive:      float64(values[reportPositive]),
		Negative:      float64(values[reportNegative]),
		Top1:          float64(values[reportTop1]),
		Top5:          float64(values[reportTop5]),
		Spread:        float64(values[reportSpread]),
		EffectiveRank: float64(values[reportRank]),
		GradNorm:      float64(values[reportGradNorm]),
		QueueAge:      t.queueAge(),
		QueueLag:      float64(values[reportLag]),
		Apart:         float64(values[reportApart]),
		Masked:        float64(values[reportMasked]),
	}
	if r.Discarded = !finite(r.Loss) || !finite(r.GradNorm); r.Discarded {
		return r, t.reject(r)
	}
	if t.options.Queries {
		if r.Queries, err = tensors.CopyFlatData[float32](outputs[len(outputs)-1]); err != nil {
			return StepResult{}, t.failed(fmt.Sprintf("read queries of step %d", t.done), err, ErrLost)
		}
	}
	return r, nil
}

// DriftResult compares what a window of steps took with the reference; a line of metrics.jsonl with "drift" set.
type DriftResult struct {
	Step    int64   `json:"step"`
	MMD2    float64 `json:"drift"` // unbiased estimate of the squared maximum mean discrepancy
	PValue  float64 `json:"p_value"`
	Sources int     `json:"sources"` // of the window's images
	Alarm   bool    `json:"drift_alarm"`
}
