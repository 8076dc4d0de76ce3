package loader

import (
	"slices"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
)

// kept is a sample of a buffer. Only visits, feature and slot change while it is there; a feature is replaced, never
// written to, so that a checkpoint may hold on to it.
type kept struct {
	row    ingest.Row
	image  []byte   // the encoded bytes; nil: they are in the segments alone
	at     location // of the bytes
	group  uint64
	number uint64 // of its admission, from 0: its name in the run

	visits  int64
	feature []float32 // nil: no step has embedded it, or none is asked for
	slot    int       // -1: it is not in the buffer any more
}

// newKept copies a sample for the buffer: its record may hold many others, and goes back to the loader. Sources are few and
// their names long, so each is stored once.
func newKept(s *Sample, number uint64, sources map[string]string) *kept {
	k := &kept{
		row:   ingest.Row{ID: s.ID(), Items: itemsOf(s.Record, s.Row), Key: s.Key(), Problem: s.Problem()},
		image: slices.Clone(s.Image()), group: s.Group, number: number, slot: -1,
	}
	k.row.Source = intern(sources, k.row.Source)
	if label, ok := s.Label(); ok {
		k.row.Label = &label
	}
	if micros, ok := s.Time(); ok {
		when := arrow.Timestamp(micros)
		k.row.Time = &when
	}
	return k
}

func intern(texts map[string]string, text string) string {
	if known, ok := texts[text]; ok {
		return known
	}
	texts[text] = text
	return text
}
