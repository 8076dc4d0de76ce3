package train

import (
	"strings"

	"mocostream/augment"
	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow/array"
)

// DiscardedSample is an image of a discarded step, a line of discarded-steps.jsonl: consumed, and trained on by nobody.
type DiscardedSample struct {
	Step     int64     `json:"step"`
	Loss     float64   `json:"loss"`
	GradNorm float64   `json:"grad_norm"`
	LR       float64   `json:"lr"`
	ID       ingest.ID `json:"id"`
	Key      string    `json:"key"`
}

// samplesOf lists the images of a batch, to be completed should its step be discarded.
func samplesOf(b *augment.Batch) []DiscardedSample {
	columns := b.Record
	source, key := columns.Column(augment.ColSource).(*array.String), columns.Column(augment.ColKey).(*array.String)
	partition, item := columns.Column(augment.ColPartition).(*array.Int32), columns.Column(augment.ColItem).(*array.Int32)
	offset := columns.Column(augment.ColOffset).(*array.Int64)
	samples := make([]DiscardedSample, b.Len())
	for i := range samples {
		samples[i].ID = ingest.ID{
			Source: strings.Clone(source.Value(i)), Partition: partition.Value(i), Offset: offset.Value(i), Item: item.Value(i),
		}
		samples[i].Key = strings.Clone(key.Value(i))
	}
	return samples
}

// ofStep completes samples with the step that was discarded.
func ofStep(samples []DiscardedSample, r StepResult) []DiscardedSample {
	for i := range samples {
		s := &samples[i]
		s.Step, s.Loss, s.GradNorm, s.LR = r.Step, r.Loss, r.GradNorm, r.LR
	}
	return samples
}
