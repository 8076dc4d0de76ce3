package main

import (
	"context"

	"mocostream/ingest"
	"mocostream/internal/failpoint"

	"github.com/apache/arrow/go/v17/arrow"
)

// pointedSource is a source with an end that a test can have the process killed in.
type pointedSource struct{ source }

// Read implements ingest.Bounded.
func (p pointedSource) Read(ctx context.Context, partition int32, from int64) (ingest.Reader, error) {
	r, err := p.source.Read(ctx, partition, from)
	if err != nil {
		return nil, err
	}
	return pointedReader{r}, nil
}

type pointedReader struct{ ingest.Reader }

// Next implements ingest.Reader.
func (p pointedReader) Next(ctx context.Context) (arrow.Record, error) {
	defer failpoint.Hit(failpoint.Fetch)
	return p.Reader.Next(ctx)
}

// pointedStream is the same of a source without an end.
type pointedStream struct{ ingest.Stream }

// Open implements ingest.Stream.
func (p pointedStream) Open(ctx context.Context, done ingest.Progress) (ingest.StreamReader, error) {
	r, err := p.Stream.Open(ctx, done)
	if err != nil {
		return nil, err
	}
	return pointedStreamReader{r}, nil
}

type pointedStreamReader struct{ ingest.StreamReader }

// Next implements ingest.Reader.
func (p pointedStreamReader) Next(ctx context.Context) (arrow.Record, error) {
	defer failpoint.Hit(failpoint.Fetch)
	return p.StreamReader.Next(ctx)
}
