package sink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mocostream/augment"
	"mocostream/ingest"
	"mocostream/loader"
	"mocostream/train"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	arrowmemory "github.com/apache/arrow/go/v17/arrow/memory"
)

const topic = "kafka:cluster/images/id"

func id(partition int32, offset int64, item int32) ingest.ID {
	return ingest.ID{Source: topic, Partition: partition, Offset: offset, Item: item}
}

// ids are offsets of one partition.
func ids(partition int32, offsets ...int64) (all []ingest.ID) {
	for _, o := range offsets {
		all = append(all, id(partition, o, 0))
	}
	return all
}

// batchOf is a batch of samples without pixels to speak of.
func batchOf(samples []ingest.ID, dead ...ingest.ID) *augment.Batch {
	rows := array.NewRecordBuilder(arrowmemory.NewGoAllocator(), augment.BatchSchema(1))
	for i, f := range rows.Fields() {
		for _, s := range samples {
			switch i {
			case augment.ColSource:
				f.(*array.StringBuilder).Append(s.Source)
			case augment.ColPartition:
				f.(*array.Int32Builder).Append(s.Partition)
			case augment.ColOffset:
				f.(*array.Int64Builder).Append(s.Offset)
			case augment.ColItem:
				f.(*array.Int32Builder).Append(s.Item)
			default:
				f.AppendEmptyValue()
			}
		}
	}
	b := &augment.Batch{Record: rows.NewRecord(), Size: 1}
	for _, d := range dead {
		b.Dead = append(b.Dead, loader.DeadLetter{ID: d})
	}
	return b
}

// book is a run that keeps a ledger: what a session does, without the training.
type book struct {
	t       *testing.T
	dir     string
	ledger  *Ledger
	at      train.Checkpoint // step, samples and progress as of now
	durable *train.Checkpoint
}

func newBook(t *testing.T) *book {
	b := &book{t: t, dir: t.TempDir()}
	b.start()
	return b
}

// start opens the ledger as a new process does after a crash.
func (b *book) start() {
	b.t.Helper()
	l, err := OpenLedger(b.dir, b.durable)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { l.Close() })
	b.ledger, b.at = l, train.Checkpoint{}
	if b.durable != nil {
		b.at = train.Checkpoint{Step: b.durable.Step, Samples: b.durable.Samples, Token: b.durable.Token.Clone()}
	}
}

// step trains on a batch and counts it as consumed.
func (b *book) step(samples []ingest.ID, dead ...ingest.ID) {
	b.t.Helper()
	b.untold(samples, dead...)
	for _, s := range append(samples, dead...) {
		b.at.Token.Progress.Add(s)
	}
}

// untold is a step whose samples Progress is not told of.
func (b *book) untold(samples []ingest.ID, dead ...ingest.ID) {
	b.t.Helper()
	b.at.Step++
	b.at.Samples += int64(len(samples))
	if err := errors.Join(b.ledger.Take(batchOf(samples, dead...)), b.ledger.Finish(b.at.Step)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *book) checkpoint() {
	b.t.Helper()
	c := &train.Checkpoint{Step: b.at.Step, Samples: b.at.Samples, Token: b.at.Token.Clone()}
	if err := b.ledger.Seal(c); err != nil {
		b.t.Fatal(err)
	}
	b.durable = c
}

func (b *book) check() LedgerReport {
	b.t.Helper()
	b.checkpoint()
	return b.checked(noManifest)
}

func (b *book) checked(manifest func(string) (*ingest.Manifest, error)) LedgerReport {
	b.t.Helper()
	r, err := CheckLedger(b.t.Context(), b.dir, b.durable, manifest)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func noManifest(hash string) (*ingest.Manifest, error) {
	return nil, errors.New("no manifest is expected here")
}

// A replay buffer's samples count when they go into it, however often they are drawn.
func TestLedgerOfDraws(t *testing.T) {
	b := newBook(t)
	draw := func(admitted, drawn []ingest.ID, dead ...ingest.ID) {
		t.Helper()
		b.at.Step++
		b.at.Samples += int64(len(drawn))
		batch := batchOf(drawn, dead...)
		batch.Replayed, batch.Admitted = true, admitted
		if err := errors.Join(b.ledger.Take(batch), b.ledger.Finish(b.at.Step)); err != nil {
			t.Fatal(err)
		}
		for _, s := range admitted {
			b.at.Token.Progress.Add(s)
		}
	}
	draw(ids(0, 0, 1, 2, 3), ids(0, 0, 3), id(0, 1, 0))
	draw(nil, ids(0, 3, 3))
	draw(ids(0, 4), ids(0, 4, 0))
	got := b.check()
	want := LedgerReport{FirstStep: 1, LastStep: 3, Samples: 6, Dead: 1, Admitted: 5}
	equal(t, "report", got, want)
	draw(ids(0, 4, 5), ids(0, 4))
	if got := b.check(); got.Repeated != 1 || got.Exact() {
		t.Errorf("a sample that is admitted twice: %+v", got)
	}
}

// What a crashed process did after its last checkpoint is done again, and counted once.
func TestLedgerOverCrashes(t *testing.T) {
	b := newBook(t)
	b.step(ids(0, 0, 1, 2))
	b.step(append(ids(1, 7), ids(0, 3)...), id(0, 4, 0))
	b.checkpoint()
	b.step(ids(0, 5))
	b.start() // the crash
	b.step(ids(0, 5, 6))
	b.start()
	b.step(ids(1, 8, 9))
	b.step(ids(0, 5, 6, 7))
	got := b.check()
	want := LedgerReport{FirstStep: 1, LastStep: 4, Samples: 10, Dead: 1}
	equal(t, "report", got, want)
	if !got.Exact() {
		t.Error("not exact")
	}
}

func TestLedgerFindsWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		run  func(b *book)
		want LedgerReport
		says string
	}{
		"consumed without a step": {
			func(b *book) { b.step(ids(0, 0, 1, 3)); b.at.Token.Progress.Add(id(0, 2, 0)) },
			LedgerReport{Missing: 1}, "partition 0 offsets 2..2: consumed, but in no step",
		},
		"consumed beyond the last step": {
			func(b *book) { b.step(ids(0, 0)); b.at.Token.Progress.AddRange(topic, 0, 1, 6) },
			LedgerReport{Missing: 5}, "offsets 1..5",
		},
		"a partition that no step knows": {
			func(b *book) { b.step(ids(0, 0)); b.at.Token.Progress.AddRange(topic, 3, 0, 2) },
			LedgerReport{Missing: 2}, "partition 3 offsets 0..1",
		},
		"taken twice":           {func(b *book) { b.step(ids(0, 0, 1)); b.step(ids(0, 1, 2)) }, LedgerReport{Repeated: 1}, "offset 1: taken by step 2 and before"},
		"taken twice by a step": {func(b *book) { b.step(ids(0, 0, 1, 0)) }, LedgerReport{Repeated: 1}, "offset 0: taken by step 1"},
		"dead and taken":        {func(b *book) { b.step(ids(0, 0), id(0, 1, 0)); b.step(ids(0, 1)) }, LedgerReport{Repeated: 1}, "offset 1"},
		"not in progress":       {func(b *book) { b.step(ids(0, 0)); b.untold(ids(0, 1)) }, LedgerReport{Unrecorded: 1}, "offset 1: in a step, but not consumed"},
		"still to come":         {func(b *book) { b.step(ids(0, 0, 1, 4)) }, LedgerReport{Pending: 2}, ""},
		"an image of a message": {
			func(b *book) { b.step([]ingest.ID{id(0, 5, 0), id(0, 5, 2)}) }, LedgerReport{Missing: 1}, "offset 5 item 1: in no step",
		},
		"an image twice": {
			func(b *book) { b.step([]ingest.ID{id(0, 5, 0), id(0, 5, 1), id(0, 5, 1)}) }, LedgerReport{Repeated: 1}, "offset 5 item 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			c.run(b)
			got := b.check()
			if got.Missing != c.want.Missing || got.Repeated != c.want.Repeated || got.Unrecorded != c.want.Unrecorded || got.Pending != c.want.Pending {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if got.Exact() != (c.says == "") || c.says != "" && (len(got.Findings) == 0 || !strings.Contains(got.Findings[0], c.says)) {
				t.Errorf("exact %v, findings %q, want %q", got.Exact(), got.Findings, c.says)
			}
		})
	}
}

// Without a checkpoint a gap is a loss: nothing says that it will be read.
func TestLedgerWithoutACheckpoint(t *testing.T) {
	b := newBook(t)
	b.step(ids(0, 0, 1, 4))
	got, err := CheckLedger(t.Context(), b.dir, nil, noManifest)
	if err != nil || got.Missing != 2 || got.Samples != 3 || got.Pending != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestLedgerOfMessagesOfManyImages(t *testing.T) {
	b := newBook(t)
	all := []ingest.ID{id(0, 5, 0), id(0, 5, 1), id(0, 5, 2), id(0, 6, 0), id(0, 7, 0), id(0, 7, 1)}
	b.untold(all)
	for _, s := range all[:4] {
		b.at.Token.Progress.AddItem(s, map[int64]int32{5: 3, 6: 1}[s.Offset])
	}
	b.at.Token.Progress.AddItem(all[4], ingest.ManyItems) // the end of the message is still to come
	b.at.Token.Progress.AddItem(all[5], ingest.ManyItems)
	if got := b.check(); !got.Exact() || got.Samples != 6 {
		t.Errorf("%+v", got)
	}
}

// stretch is of partition 0.
func stretch(start, end int64) ingest.Span { return ingest.Span{Source: topic, Start: start, End: end} }

// pass has the ledger's stream pass over a span, as a reader does that runs ahead of the steps.
func (b *book) pass(spans ...ingest.Span) {
	b.t.Helper()
	var done ingest.Progress
	if b.durable != nil {
		done = b.durable.Token.Progress
	}
	r, err := b.ledger.Stream(&oneRecord{spans: spans}).Open(b.t.Context(), done)
	if err != nil {
		b.t.Fatal(err)
	}
	equal(b.t, "passed on", r.Passed(), spans)
	if len(r.Passed()) != 0 {
		b.t.Error("passed on twice")
	}
}

// oneRecord is a stream that passes spans and ends.
type oneRecord struct{ spans []ingest.Span }

func (s *oneRecord) Open(context.Context, ingest.Progress) (ingest.StreamReader, error) {
	return s, nil
}
func (s *oneRecord) Next(context.Context) (arrow.Record, error) { return nil, io.EOF }
func (s *oneRecord) Close() error                               { return nil }
func (s *oneRecord) Passed() []ingest.Span {
	spans := s.spans
	s.spans = nil
	return spans
}

func TestLedgerOfWhatIsPassedOver(t *testing.T) {
	b := newBook(t)
	b.pass(stretch(0, 10), stretch(12, 14))
	b.step(ids(0, 10, 11))
	b.at.Token.Progress.AddRange(topic, 0, 0, 10)
	b.at.Token.Progress.AddRange(topic, 0, 12, 14)
	b.step(ids(0, 14))
	if got := b.check(); !got.Exact() || got.Passed != 12 {
		t.Errorf("%+v", got)
	}
}

// A reader that ran ahead of the checkpoint passed over what the next process may take: that one's word counts.
func TestLedgerForgetsWhatACrashedReaderPassedOver(t *testing.T) {
	run := func(t *testing.T, again func(b *book)) LedgerReport {
		b := newBook(t)
		b.step(ids(0, 0))
		b.pass(stretch(1, 3))
		b.checkpoint() // the span is not consumed yet
		b.start()
		again(b)
		b.at.Token.Progress.AddRange(topic, 0, 1, 3)
		b.step(ids(0, 3))
		return b.check()
	}
	if got := run(t, func(b *book) { b.step(ids(0, 1, 2)) }); !got.Exact() || got.Passed != 0 {
		t.Errorf("taken by the next: %+v", got)
	}
	if got := run(t, func(b *book) { b.pass(stretch(1, 3)) }); !got.Exact() || got.Passed != 2 {
		t.Errorf("passed over by the next too: %+v", got)
	}
	if got := run(t, func(*book) {}); got.Missing != 2 {
		t.Errorf("lost by the next: %+v", got)
	}
}

// A reader that goes on calls everything before its start passed over, and cannot know that a sample was lost there.
func TestLedgerIsNotToldWhatWasDoneBefore(t *testing.T) {
	b := newBook(t)
	b.pass(stretch(0, 3))
	b.at.Token.Progress.AddRange(topic, 0, 0, 3)
	b.step(ids(0, 3, 5))
	b.at.Token.Progress.Add(id(0, 4, 0)) // lost
	b.checkpoint()
	b.start()
	b.pass(stretch(0, 8))
	b.at.Token.Progress.AddRange(topic, 0, 6, 8)
	b.step(ids(0, 8))
	if got := b.check(); got.Missing != 1 || got.Passed != 5 {
		t.Errorf("%+v", got)
	}
}

// manifestOf is a bounded source of partitions with so many samples each.
func manifestOf(t *testing.T, counts ...int64) (hash string, open func(string) (*ingest.Manifest, error)) {
	t.Helper()
	dir := t.TempDir()
	m, err := ingest.WriteManifest(dir, iter.Seq2[ingest.Partition, error](func(yield func(ingest.Partition, error) bool) {
		for i, n := range counts {
			if !yield(ingest.Partition{Name: string(rune('a' + i)), Size: 1, Count: n}, nil) {
				return
			}
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m.Hash(), func(hash string) (*ingest.Manifest, error) { return ingest.OpenManifest(dir, hash) }
}

// epochs are the samples of a source of shards with 3, 1 and 4 images, shuffled anew in each epoch.
func epochs(hash string, n int) (all []ingest.ID) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range n {
		from := len(all)
		for partition, count := range []int64{3, 1, 4} {
			for offset := range count {
				all = append(all, ingest.ID{Source: hash, Partition: int32(partition), Offset: offset})
			}
		}
		epoch := all[from:]
		rng.Shuffle(len(epoch), func(i, j int) { epoch[i], epoch[j] = epoch[j], epoch[i] })
	}
	return all
}

func TestLedgerOfEpochs(t *testing.T) {
	hash, open := manifestOf(t, 3, 1, 4)
	for name, c := range map[string]struct {
		spoil                         func(all []ingest.ID) []ingest.ID
		missing, repeated, unrecorded int64
	}{
		"as it should be":             {func(all []ingest.ID) []ingest.ID { return all }, 0, 0, 0},
		"one in another's place":      {func(all []ingest.ID) []ingest.ID { all[3] = all[4]; return all }, 1, 1, 0},
		"one left out":                {func(all []ingest.ID) []ingest.ID { return append(all[:2:2], all[3:]...) }, 1, 0, 0},
		"one more than progress says": {func(all []ingest.ID) []ingest.ID { return append(all, all[0]) }, 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			all := epochs(hash, 3)[:16] // two epochs, whole
			all = c.spoil(all)
			b.untold(all[:5], all[5])
			b.untold(all[6:])
			b.at.Token.Progress.Bounded = &ingest.Position{Source: hash, Epoch: 2}
			b.checkpoint()
			got := b.checked(open)
			if got.Missing != c.missing || got.Repeated != c.repeated || got.Unrecorded != c.unrecorded {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A ledger that is begun in the middle of an epoch knows what was consumed before.
func TestLedgerBegunLater(t *testing.T) {
	hash, open := manifestOf(t, 3, 1, 4)
	all := epochs(hash, 3)
	b := &book{t: t, dir: t.TempDir(), durable: &train.Checkpoint{Step: 7, Samples: 11}}
	b.durable.Token.Progress.Bounded = &ingest.Position{Source: hash, Epoch: 1, Index: 3}
	b.durable.Token.Progress.AddRange(topic, 0, 0, 4)
	b.start()
	b.untold(all[11:20])
	b.step(ids(0, 4, 5))
	b.at.Token.Progress.Bounded = &ingest.Position{Source: hash, Epoch: 2, Index: 4}
	b.checkpoint()
	if got := b.checked(open); !got.Exact() || got.FirstStep != 8 || got.Samples != 11 {
		t.Errorf("%+v", got)
	}
	b.step(ids(0, 3))
	b.checkpoint()
	if got := b.checked(open); got.Repeated != 1 {
		t.Errorf("taken before the ledger was begun: %+v", got)
	}
}

// A write that a crash tore is cut off with everything else after the checkpoint.
func TestLedgerTornAnywhere(t *testing.T) {
	b := newBook(t)
	b.step(ids(0, 0, 1))
	b.checkpoint()
	path := filepath.Join(b.dir, LedgerFile)
	keep := len(readFile(t, path))
	b.step(ids(0, 2, 3))
	whole := readFile(t, path)
	for n := keep; n <= len(whole); n++ {
		overwrite(t, path, whole[:n])
		b.start()
		b.step(ids(0, 2))
		if got, err := CheckLedger(t.Context(), b.dir, nil, noManifest); err != nil || got.Samples != 3 || !got.Exact() {
			t.Fatalf("cut at byte %d: %+v, %v", n, got, err)
		}
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestLedgerThatSomebodyChanged(t *testing.T) {
	b := newBook(t)
	b.step(ids(0, 0, 1))
	b.step(ids(0, 2, 3))
	b.checkpoint()
	path := filepath.Join(b.dir, LedgerFile)
	whole := readFile(t, path)
	for n := range whole {
		flipped := bytes.Clone(whole)
		flipped[n] ^= 0x20
		overwrite(t, path, flipped)
		if _, err := CheckLedger(t.Context(), b.dir, b.durable, noManifest); !errors.Is(err, ErrLedger) || !strings.Contains(err.Error(), LedgerFile) {
			t.Fatalf("byte %d flipped: error %v, want ErrLedger", n, err)
		}
		overwrite(t, path, whole[:n])
		if _, err := CheckLedger(t.Context(), b.dir, b.durable, noManifest); !errors.Is(err, ErrLedger) {
			t.Fatalf("cut at byte %d: error %v, want ErrLedger", n, err)
		}
	}
	os.Remove(path)
	if _, err := CheckLedger(t.Context(), b.dir, b.durable, noManifest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no ledger: %v", err)
	}
	b.start() // deleted: a new one is begun
	b.step(ids(0, 4))
	if got := b.check(); got.FirstStep != 3 || !got.Exact() || b.ledger.Begun() == "" {
		t.Errorf("%+v", got)
	}
}

// Where checkpoints are in a bucket another machine may have gone on with the run: its ledger is elsewhere, and this
// folder's is of a history that has ended.
func TestLedgerOfAnotherMachine(t *testing.T) {
	here, there := newBook(t), newBook(t)
	here.step(ids(0, 0, 1))
	here.checkpoint()
	there.durable = here.durable
	there.start()
	there.step(ids(0, 2, 3))
	there.checkpoint()
	here.step(ids(0, 2, 3)) // did not survive
	here.durable = there.durable
	here.start()
	if here.ledger.Begun() == "" || there.ledger.Begun() == "" {
		t.Errorf("begun because %q there, %q here", there.ledger.Begun(), here.ledger.Begun())
	}
	here.step(ids(0, 4))
	if got := here.check(); !got.Exact() || got.FirstStep != 3 || got.Samples != 1 {
		t.Errorf("%+v", got)
	}
	old := readFile(t, filepath.Join(here.dir, LedgerFile+".other"))
	if n := bytes.Count(old, []byte(topic)); n != 2 {
		t.Errorf("the ledger set aside names the topic %d times, want 2", n)
	}
}

// Two runs of the same history leave the same bytes, however often one was interrupted.
func TestLedgerOfEqualHistories(t *testing.T) {
	a, b := newBook(t), newBook(t)
	for _, run := range []*book{a, b} {
		run.pass(stretch(2, 4))
		run.step(ids(0, 0, 1))
		run.at.Token.Progress.AddRange(topic, 0, 2, 4)
		run.checkpoint()
	}
	b.step(ids(0, 9))
	b.start()
	a.step(ids(0, 4))
	b.step(ids(0, 4))
	if !bytes.Equal(readFile(t, filepath.Join(a.dir, LedgerFile)), readFile(t, filepath.Join(b.dir, LedgerFile))) {
		t.Error("the files differ")
	}
}

// A ledger and a checkpoint of different histories must not be taken for each other's.
func TestLedgerOfAnotherHistory(t *testing.T) {
	b := newBook(t)
	b.step(ids(0, 0, 1))
	b.checkpoint()
	for name, c := range map[string]train.Checkpoint{
		"step": {Step: 2, Samples: 2}, "samples": {Step: 1, Samples: 3}, "no ledger": {Step: 1, Samples: 2},
	} {
		if name != "no ledger" {
			c.Extra = b.durable.Extra
		}
		if _, err := CheckLedger(t.Context(), b.dir, &c, noManifest); !errors.Is(err, ErrLedger) && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLedgerOutOfOrder(t *testing.T) {
	b := newBook(t)
	if err := b.ledger.Finish(1); err == nil {
		t.Error("a step without a batch was confirmed")
	}
	if err := b.ledger.Take(batchOf(ids(0, 1))); err != nil {
		t.Fatal(err)
	}
	if err := b.ledger.Take(batchOf(ids(0, 2))); err == nil {
		t.Error("two batches were taken for one step")
	}
	if err := b.ledger.Seal(&train.Checkpoint{}); err == nil {
		t.Error("sealed within a step")
	}
	if err := b.ledger.Finish(1); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.ledger.Take(batchOf(ids(0, 2))), b.ledger.Finish(3)); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckLedger(t.Context(), b.dir, nil, noManifest); !errors.Is(err, ErrLedger) || !strings.Contains(err.Error(), "step 3 follows step 1") {
		t.Errorf("%v", err)
	}
}

// A sample of a stream costs a few bytes.
func TestLedgerIsSmall(t *testing.T) {
	b := newBook(t)
	for step := range int64(100) {
		var samples []ingest.ID
		for i := range int64(64) {
			samples = append(samples, id(int32(i/16), 1_000_000+step*16+i%16, 0))
		}
		b.step(samples)
	}
	if n := len(readFile(t, filepath.Join(b.dir, LedgerFile))); n > 100*64*6 {
		t.Errorf("%d bytes for %d samples", n, 100*64)
	}
	if got := b.check(); !got.Exact() || got.Samples != 6400 {
		t.Errorf("%+v", got)
	}
}

func FuzzLedger(f *testing.F) {
	taken, err := takenBody(batchOf(ids(3, 5, 6, 9), id(0, 4, 2)))
	if err != nil {
		f.Fatal(err)
	}
	began, err := beganBody(ingest.Progress{Bounded: &ingest.Position{Source: strings.Repeat("a", manifestHashLen), Epoch: 1}})
	if err != nil {
		f.Fatal(err)
	}
	for _, body := range [][]byte{taken, began, finishedBody(-3), passedBody([]ingest.Span{stretch(1, 5), stretch(7, 3)}), {9, 1}} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) == 0 {
			return
		}
		// Framed rightly: what gets past the sum must not get further than an error.
		entry, _ := frame(0, body)
		data := append([]byte(ledgerHead), entry...)
		a := audit{manifest: noManifest, streams: map[partitionKey]*streamTally{}, passes: map[string]*passTally{}}
		for entry, err := range ledgerEntries(bytes.NewReader(data), int64(len(data))) {
			if err != nil {
				if !errors.Is(err, ErrLedger) {
					t.Fatal(err)
				}
				return
			}
			if a.entry(entry) != nil {
				return
			}
		}
		_, _ = a.report()
	})
}
