package ingest

import (
	"context"
	"errors"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
)

// Records calls use with each record of a partition of src, in order, and releases it. It ends at the first error.
func Records(ctx context.Context, src Bounded, partition int32, use func(arrow.Record) error) error {
	r, err := src.Read(ctx, partition, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		record, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = use(record)
		record.Release()
		if err != nil {
			return err
		}
	}
}
