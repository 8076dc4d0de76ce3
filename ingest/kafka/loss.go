package kafka

import (
	"errors"
	"fmt"
)

// LossPolicy is what to do about lost records.
type LossPolicy string

const (
	// LossStop ends the reader with an error that wraps ErrDataLoss.
	LossStop LossPolicy = "stop"
	// LossSkip goes on behind the loss, which is counted and told to Warn.
	LossSkip LossPolicy = "skip"
)

// ErrDataLoss says that records are gone, or are not what they were; LossError has the details.
var ErrDataLoss = errors.New("data was lost")

// LossError tells of lost records: the offsets From <= o < To, -1 for To where no one knows.
type LossError struct {
	Topic     string
	Partition int32 // -1: the whole topic
	From, To  int64
	Reason    string
}

// Error implements error.
func (e *LossError) Error() string {
	return e.what() + "; see why, then set ingest.kafka.on_data_loss: skip to go on without them"
}

// Is makes errors.Is(err, ErrDataLoss) true.
func (e *LossError) Is(target error) bool { return target == ErrDataLoss }

func (e *LossError) what() string {
	where := fmt.Sprintf("kafka topic %q", e.Topic)
	if e.Partition >= 0 {
		where += fmt.Sprintf(" partition %d", e.Partition)
	}
	if e.To < 0 {
		return fmt.Sprintf("%s: %s", where, e.Reason)
	}
	return fmt.Sprintf("%s: lost offsets %d to %d: %s", where, e.From, e.To-1, e.Reason)
}

// lose says what is lost of p: an error if that ends the reader; else the caller goes on behind it.
func (p *partition) lose(from, to int64, reason string) error {
	loss := &LossError{Topic: p.topic, Partition: p.number, From: from, To: to, Reason: reason}
	if p.r.o.OnDataLoss == LossStop {
		return loss
	}
	p.stats.update(func(s *PartitionStats) { s.Lost += to - from })
	p.r.o.Warn(loss.what() + "; going on behind them (ingest.kafka.on_data_loss: skip)")
	return nil
}
