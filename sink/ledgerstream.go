package sink

import (
	"context"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
)

// Stream is src, with what it passes over written down as it is met.
func (l *Ledger) Stream(src ingest.Stream) ingest.Stream { return &ledgerStream{src, l} }

type ledgerStream struct {
	src    ingest.Stream
	ledger *Ledger
}

// Open implements ingest.Stream.
func (s *ledgerStream) Open(ctx context.Context, done ingest.Progress) (ingest.StreamReader, error) {
	r, err := s.src.Open(ctx, done)
	if err != nil {
		return nil, err
	}
	return &ledgerReader{StreamReader: r, ledger: s.ledger}, nil
}

// ledgerReader writes the spans down before anybody can have consumed them. It asks its reader for them in Next, where an
// error has a way out.
type ledgerReader struct {
	ingest.StreamReader
	ledger *Ledger
	spans  []ingest.Span
}

// Next implements ingest.Reader.
func (r *ledgerReader) Next(ctx context.Context) (arrow.Record, error) {
	rec, err := r.StreamReader.Next(ctx)
	spans := r.StreamReader.Passed()
	r.spans = append(r.spans, spans...)
	if writing := r.ledger.passed(spans); writing != nil {
		if rec != nil {
			rec.Release()
		}
		return nil, writing
	}
	return rec, err
}

// Passed implements ingest.StreamReader.
func (r *ledgerReader) Passed() []ingest.Span {
	spans := r.spans
	r.spans = nil
	return spans
}
