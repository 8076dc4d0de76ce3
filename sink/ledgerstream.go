package sink

import (
	"context"

	"mocostream/ingest"
)

// Stream is src, with what it passes over written down once it is consumed.
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
	return &ledgerReader{StreamReader: r, ledger: s.ledger, done: done.Clone()}, nil
}

// ledgerReader tells the ledger of each span when it is handed on, before anybody can have consumed it. What was consumed
// before the reader was opened is in the ledger as what it was: a reader that passes over it says nothing new.
type ledgerReader struct {
	ingest.StreamReader
	ledger *Ledger
	done   ingest.Progress
}

// Passed implements ingest.StreamReader.
func (r *ledgerReader) Passed() []ingest.Span {
	spans := r.StreamReader.Passed()
	for _, s := range spans {
		span := ingest.Intervals(nil).Add(s.Start, s.End)
		for _, i := range without(span, r.done.Streams[s.Source][s.Partition]) {
			r.ledger.pass(ingest.Span{Source: s.Source, Partition: s.Partition, Start: i.Start, End: i.End})
		}
	}
	return spans
}
