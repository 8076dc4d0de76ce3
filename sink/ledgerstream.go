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
	return &ledgerReader{StreamReader: r, ledger: s.ledger}, nil
}

// ledgerReader tells the ledger of each span when it is handed on, before anybody can have consumed it.
type ledgerReader struct {
	ingest.StreamReader
	ledger *Ledger
}

// Passed implements ingest.StreamReader.
func (r *ledgerReader) Passed() []ingest.Span {
	spans := r.StreamReader.Passed()
	r.ledger.pass(spans)
	return spans
}
