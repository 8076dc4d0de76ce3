package loader

import (
	"strings"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// Sample is one encoded image in training order: row Row of an ingest.Schema record, not copied. Whoever receives it
// calls Release exactly once, after the last use of Image; that gives its bytes back to the loader's budget.
type Sample struct {
	Record arrow.Record
	Row    int
	Epoch  int64 // pass over a bounded source, from 0; 0 for streams
	// Group is the hash of what the sample comes from, by Options.GroupBy: near-duplicates of one moment share it.
	Group uint64
	// Visit says how often it was drawn from a replay buffer before, and Draw, which its random numbers go by, is the
	// number of this draw. Both are 0 without a buffer.
	Visit int64
	Draw  uint64
	// Position counts the samples of the run in training order from 0, bad ones included.
	Position uint64
	// After is what is consumed once this sample is (with everything before it), for bounded sources.
	After ingest.Position

	items   int32         // images in its message, as Progress.AddItem takes it
	passed  []ingest.Span // of a stream: what was met before it and will never be a sample
	dropped []duplicate   // likewise: samples before it that came before
	release func()

	replayed bool        // a draw from a replay buffer
	admitted []admission // of a draw: what went into the buffer since the one before
}

// admission is what the taking of one sample of the source consumes.
type admission struct {
	id      ingest.ID
	items   int32
	after   ingest.Position
	passed  []ingest.Span
	dropped []duplicate
}

// admission costs a copy of the sample's name, if that is asked for.
func (s *Sample) admission(named bool) admission {
	a := admission{items: s.items, after: s.After, passed: s.passed, dropped: s.dropped}
	if named {
		a.id = s.ID()
	}
	return a
}

// Replayed says whether the sample is a draw from a replay buffer, and Admitted which samples of the source went into
// the buffer, or found no place, since the draw before.
func (s *Sample) Replayed() bool { return s.replayed }

// Admitted is described with Replayed.
func (s *Sample) Admitted() []ingest.ID {
	var ids []ingest.ID
	for _, a := range s.admitted {
		ids = append(ids, a.id)
	}
	return ids
}

// duplicate is a sample that a Window passed over.
type duplicate struct {
	id    ingest.ID
	items int32
}

// Image returns the encoded bytes, valid until Release.
func (s *Sample) Image() []byte {
	return s.Record.Column(ingest.ColImage).(*array.Binary).Value(s.Row)
}

// Key returns a copy of the file path, object key or message key.
func (s *Sample) Key() string {
	return strings.Clone(s.Record.Column(ingest.ColKey).(*array.String).Value(s.Row))
}

// Problem says why the source has no image; "" where it has one.
func (s *Sample) Problem() string {
	c := s.Record.Column(ingest.ColProblem).(*array.String)
	if c.IsNull(s.Row) {
		return ""
	}
	return strings.Clone(c.Value(s.Row))
}

// Label returns the class, and whether the source gave one.
func (s *Sample) Label() (int32, bool) {
	c := s.Record.Column(ingest.ColLabel).(*array.Int32)
	return c.Value(s.Row), c.IsValid(s.Row)
}

// Time returns microseconds since 1970 UTC, and whether the source gave one.
func (s *Sample) Time() (int64, bool) {
	c := s.Record.Column(ingest.ColTime).(*array.Timestamp)
	return int64(c.Value(s.Row)), c.IsValid(s.Row)
}

// ID returns the sample's name for ever. It may be kept after Release.
func (s *Sample) ID() ingest.ID {
	partition, offset := s.place()
	return ingest.ID{
		Source:    strings.Clone(s.Record.Column(ingest.ColSource).(*array.String).Value(s.Row)),
		Partition: partition,
		Offset:    offset,
		Item:      s.Record.Column(ingest.ColItem).(*array.Int32).Value(s.Row),
	}
}

// group is the hash of the sample's source, without a copy of its texts.
func (s *Sample) group(by ingest.GroupBy) uint64 {
	partition, offset := s.place()
	id := ingest.ID{
		Source: s.Record.Column(ingest.ColSource).(*array.String).Value(s.Row), Partition: partition, Offset: offset,
		Item: s.Record.Column(ingest.ColItem).(*array.Int32).Value(s.Row),
	}
	return by.Of(id, s.Record.Column(ingest.ColKey).(*array.String).Value(s.Row))
}

func (s *Sample) place() (partition int32, offset int64) {
	return s.Record.Column(ingest.ColPartition).(*array.Int32).Value(s.Row),
		s.Record.Column(ingest.ColOffset).(*array.Int64).Value(s.Row)
}

// Release gives the sample back. The sample must not be used afterwards.
func (s *Sample) Release() {
	if s.release != nil {
		s.release()
		s.release = nil
	}
}
