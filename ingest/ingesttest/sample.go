// Package ingesttest holds what the tests of sources and of their consumers share: a conformance suite that every
// source passes, and fakes in memory that pass it too.
package ingesttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// Sample is one row of ingest.Schema, copied out of its record.
type Sample struct {
	ingest.Row
	Image []byte
}

// Equal says whether both are the same in every column.
func (s Sample) Equal(o Sample) bool {
	return s.ID == o.ID && s.Key == o.Key && s.Problem == o.Problem && bytes.Equal(s.Image, o.Image) &&
		equalPointers(s.Label, o.Label) && equalPointers(s.Time, o.Time)
}

func equalPointers[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// String names the sample for the message of a failed test.
func (s Sample) String() string {
	label := "-"
	if s.Label != nil {
		label = fmt.Sprint(*s.Label)
	}
	return fmt.Sprintf("{%.8s %d/%d/%d %q %d bytes label %s}", s.Source, s.Partition, s.Offset, s.Item, s.Key, len(s.Image), label)
}

// Samples copies the rows out of a record, which stays the caller's.
func Samples(record arrow.Record) []Sample {
	all := make([]Sample, record.NumRows())
	labels := record.Column(ingest.ColLabel).(*array.Int32)
	times := record.Column(ingest.ColTime).(*array.Timestamp)
	for i := range all {
		s := &all[i]
		s.Key = strings.Clone(record.Column(ingest.ColKey).(*array.String).Value(i))
		s.Source = strings.Clone(record.Column(ingest.ColSource).(*array.String).Value(i))
		s.Partition = record.Column(ingest.ColPartition).(*array.Int32).Value(i)
		s.Offset = record.Column(ingest.ColOffset).(*array.Int64).Value(i)
		s.Item = record.Column(ingest.ColItem).(*array.Int32).Value(i)
		s.Items = record.Column(ingest.ColItems).(*array.Int32).Value(i)
		s.Image = bytes.Clone(record.Column(ingest.ColImage).(*array.Binary).Value(i))
		if p := record.Column(ingest.ColProblem).(*array.String); p.IsValid(i) {
			s.Problem = strings.Clone(p.Value(i))
		}
		if labels.IsValid(i) {
			s.Label = new(labels.Value(i))
		}
		if times.IsValid(i) {
			s.Time = new(times.Value(i))
		}
	}
	return all
}

// ReadAll reads r to its end and returns the samples and, unless it is io.EOF, the error.
func ReadAll(ctx context.Context, r ingest.Reader) ([]Sample, error) {
	var all []Sample
	for {
		record, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, Samples(record)...)
		record.Release()
	}
}

// ReadN reads records from r until it has at least n samples.
func ReadN(ctx context.Context, r ingest.Reader, n int) ([]Sample, error) {
	var all []Sample
	for len(all) < n {
		record, err := r.Next(ctx)
		if err != nil {
			return all, err
		}
		all = append(all, Samples(record)...)
		record.Release()
	}
	return all, nil
}

// Generate makes n samples of one partition with offsets from 0 and images of size random bytes, the same ones for the
// same arguments. They are no pictures.
func Generate(partition int32, n, size int) []Sample {
	rng := rand.NewChaCha8([32]byte{byte(partition), byte(partition >> 8)})
	all := make([]Sample, n)
	for i := range all {
		all[i].ID = ingest.ID{Partition: partition, Offset: int64(i)}
		all[i].Key = fmt.Sprintf("%d/%d.jpg", partition, i)
		all[i].Image = make([]byte, size)
		rng.Read(all[i].Image)
	}
	return all
}
