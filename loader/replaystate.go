package loader

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Columns of replayed samples behind those of ingest.Schema.
const (
	colGroup   = ingest.ColProblem + 1 + iota // uint64
	colNumber                                 // uint64: of its admission
	colVisits                                 // int64
	colFeature                                // list<float32>, nullable
	colDraw                                   // uint64, nullable: a draw and not a sample of the buffer
	colBad                                    // bool: of a draw
	colSegment                                // uint64: where the image lies
	colBegin                                  // int64: in the segment
	colLength                                 // int64
)

// replaySchema is the form of a buffer in a checkpoint: its samples in the order of their slots, then the latest draws.
func replaySchema(state replayState) (*arrow.Schema, error) {
	text, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	meta := arrow.NewMetadata([]string{replayStateKey}, []string{string(text)})
	return arrow.NewSchema(append(ingest.Schema.Fields(), []arrow.Field{
		{Name: "group", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "number", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "visits", Type: arrow.PrimitiveTypes.Int64},
		{Name: "feature", Type: arrow.ListOfNonNullable(arrow.PrimitiveTypes.Float32), Nullable: true},
		{Name: "draw", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
		{Name: "bad", Type: arrow.FixedWidthTypes.Boolean},
		{Name: "segment", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "begin", Type: arrow.PrimitiveTypes.Int64},
		{Name: "length", Type: arrow.PrimitiveTypes.Int64},
	}...), &meta), nil
}

const replayStateKey = "mocostream.replay"

// replayState is what a buffer is beside its samples and draws.
type replayState struct {
	Version  int          `json:"version"`
	Position uint64       `json:"position"` // the draw that comes next
	Applied  uint64       `json:"applied"`  // the draw whose outcome takes effect next
	Counts   ReplayCounts `json:"counts"`
	Segments []Segment    `json:"segments"` // that hold the images; the last one goes on
}

const replayVersion = 1

// savedReplay is a buffer as it was before a draw.
type savedReplay struct {
	state   replayState
	samples []past
	draws   []drawn // up to that draw
}

// ReplayFile is the name of a buffer in a checkpoint, beside its segments.
const ReplayFile = "replay.arrow"

// At returns the buffer as it was before the draw at position, to be written into a checkpoint as ReplayFile: that of the
// token of the last finished step, which Settle was told of. The checkpoint has to hold the segments too, by their names;
// the last one goes on and is to be copied (Segment.WriteTo), the others never change. They are there until the next Settle.
func (r *Replay) At(position uint64) (buffer io.WriterTo, images []Segment, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.hear(); err != nil {
		return nil, nil, err
	}
	if err := r.buffer.images.flush(); err != nil {
		return nil, nil, err
	}
	was := r.markBefore(position)
	saved := r.saved(replayState{Position: position, Applied: r.appliedBefore(position), Counts: was.counts}, was)
	first := max(r.draws.first, r.needed(position))
	saved.draws = slices.Clone(r.draws.all[first-r.draws.first : position-r.draws.first])
	return saved, saved.state.Segments, nil
}

// saved completes a state with samples and segments.
func (r *Replay) saved(state replayState, was mark) *savedReplay {
	s := savedReplay{state: state, samples: r.buffer.undo.before(state.Position, r.buffer.slots)}
	ids := map[uint64]bool{}
	for _, p := range s.samples {
		ids[p.at.segment] = true
	}
	s.state.Version, s.state.Segments = replayVersion, r.buffer.images.named(ids, was.segment, was.bytes)
	return &s
}

// WriteTo writes an Arrow IPC stream.
func (s *savedReplay) WriteTo(to io.Writer) (int64, error) {
	schema, err := replaySchema(s.state)
	if err != nil {
		return 0, err
	}
	counted := &countingWriter{to: to}
	w := ipc.NewWriter(counted, ipc.WithSchema(schema))
	rows := newReplayRows(schema)
	defer rows.release()
	for _, p := range s.samples {
		rows.sample(p)
		if err := rows.flush(w, false); err != nil {
			return counted.n, err
		}
	}
	first := s.state.Position - uint64(len(s.draws))
	for i, d := range s.draws {
		rows.draw(first+uint64(i), d)
	}
	if err := rows.flush(w, true); err != nil {
		return counted.n, err
	}
	return counted.n, w.Close()
}

type countingWriter struct {
	to io.Writer
	n  int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.n += int64(n)
	return n, err
}

// replayRows gathers rows into records.
type replayRows struct {
	schema *arrow.Schema
	images *ingest.Builder
	others *array.RecordBuilder
}

func newReplayRows(schema *arrow.Schema) *replayRows {
	mem := memory.NewGoAllocator()
	return &replayRows{schema, ingest.NewBuilder(mem), array.NewRecordBuilder(mem, arrow.NewSchema(schema.Fields()[colGroup:], nil))}
}

func (r *replayRows) release() {
	r.images.Release()
	r.others.Release()
}

func (r *replayRows) sample(p past) {
	r.add(p.row, p.group, p.number, p.visits, p.feature, p.at)
	r.others.Field(colDraw - colGroup).AppendNull()
	r.others.Field(colBad - colGroup).(*array.BooleanBuilder).Append(false)
}

func (r *replayRows) draw(position uint64, d drawn) {
	r.add(ingest.Row{}, d.group, d.number, 0, d.feature, location{})
	r.others.Field(colDraw - colGroup).(*array.Uint64Builder).Append(position)
	r.others.Field(colBad - colGroup).(*array.BooleanBuilder).Append(d.bad)
}

func (r *replayRows) add(row ingest.Row, group, number uint64, visits int64, feature []float32, at location) {
	r.images.Append(row, nil)
	r.others.Field(colSegment - colGroup).(*array.Uint64Builder).Append(at.segment)
	r.others.Field(colBegin - colGroup).(*array.Int64Builder).Append(at.offset)
	r.others.Field(colLength - colGroup).(*array.Int64Builder).Append(at.length)
	r.others.Field(0).(*array.Uint64Builder).Append(group)
	r.others.Field(colNumber - colGroup).(*array.Uint64Builder).Append(number)
	r.others.Field(colVisits - colGroup).(*array.Int64Builder).Append(visits)
	list := r.others.Field(colFeature - colGroup).(*array.ListBuilder)
	if feature == nil {
		list.AppendNull()
		return
	}
	list.Append(true)
	list.ValueBuilder().(*array.Float32Builder).AppendValues(feature, nil)
}

// flush writes what was gathered, if it is enough or the last.
func (r *replayRows) flush(w *ipc.Writer, last bool) error {
	if n := r.images.Len(); n == 0 || !last && n < 4096 {
		return nil
	}
	images, others := r.images.Record(), r.others.NewRecord()
	defer images.Release()
	defer others.Release()
	record := array.NewRecord(r.schema, append(images.Columns(), others.Columns()...), images.NumRows())
	defer record.Release()
	return w.Write(record)
}

// Restore fills a new buffer with what At gave: from reads ReplayFile, open opens the segments by name. It is called
// before Run.
func (r *Replay) Restore(from io.Reader, open func(name string) (io.ReadCloser, error)) error {
	reader, err := ipc.NewReader(from)
	if err != nil {
		return fmt.Errorf("read replay buffer: %w", err)
	}
	defer reader.Release()
	var state replayState
	text, _ := reader.Schema().Metadata().GetValue(replayStateKey)
	if err := json.Unmarshal([]byte(text), &state); err != nil || state.Version != replayVersion || len(state.Segments) == 0 {
		return fmt.Errorf("read replay buffer: not one of this program (version %d, %v)", state.Version, err)
	}
	if want, err := replaySchema(state); err != nil || !want.Equal(reader.Schema()) {
		return fmt.Errorf("read replay buffer: its columns are not those of version %d (%v)", replayVersion, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.buffer.images.restore(state.Segments, open); err != nil {
		return err
	}
	for reader.Next() {
		r.restoreRows(reader.Record())
	}
	if err := reader.Err(); err != nil {
		return fmt.Errorf("read replay buffer: %w", err)
	}
	return r.restored(state)
}

func (r *Replay) restoreRows(rec arrow.Record) {
	for row := range int(rec.NumRows()) {
		s := Sample{Record: rec, Row: row, Group: rec.Column(colGroup).(*array.Uint64).Value(row)}
		number := rec.Column(colNumber).(*array.Uint64).Value(row)
		feature := featureOf(rec.Column(colFeature).(*array.List), row)
		if rec.Column(colDraw).IsValid(row) {
			r.draws.all = append(r.draws.all, drawn{
				number: number, group: s.Group, feature: feature, bad: rec.Column(colBad).(*array.Boolean).Value(row),
			})
			continue
		}
		k := newKept(&s, number, r.sources)
		k.image, k.at = nil, location{
			rec.Column(colSegment).(*array.Uint64).Value(row),
			rec.Column(colBegin).(*array.Int64).Value(row), rec.Column(colLength).(*array.Int64).Value(row),
		}
		k.visits, k.feature = rec.Column(colVisits).(*array.Int64).Value(row), feature
		r.buffer.slots = append(r.buffer.slots, k)
	}
}

func featureOf(c *array.List, row int) []float32 {
	if c.IsNull(row) {
		return nil
	}
	start, end := c.ValueOffsets(row)
	return append([]float32{}, c.ListValues().(*array.Float32).Float32Values()[start:end]...)
}

// restored rebuilds what follows from samples and draws.
func (r *Replay) restored(state replayState) error {
	n := uint64(len(r.draws.all))
	if state.Position != r.opts.Start.Position || state.Counts.Admitted != r.opts.Start.Taken() || state.Applied+n < state.Position {
		return fmt.Errorf("read replay buffer: it is of draw %d and sample %d, the token of draw %d and sample %d",
			state.Position, state.Counts.Admitted, r.opts.Start.Position, r.opts.Start.Taken())
	}
	r.draws.first = state.Position - n
	r.began, r.applied, r.settled = state.Applied, state.Applied, state.Position
	r.buffer.counts = state.Counts
	r.base = r.buffer.mark()
	byNumber := r.buffer.restored()
	for i := range r.draws.all {
		d := &r.draws.all[i]
		d.after = r.base // only the last one's is asked for
		if p := r.draws.first + uint64(i); p >= r.applied {
			d.sample = byNumber[d.number]
		}
		if len(r.draws.all)-i < r.opts.Batch {
			r.chooser.recent.add(d, 1)
		}
	}
	return nil
}
