package loader

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// replayed is a stand-in for all that surrounds a buffer: a stream of numbered samples in bursts, a pool that finds every
// badEvery-th of them bad, and a trainer whose embeddings are a function of sample and step.
type replayed struct {
	opts     ReplayOptions
	total    int  // samples of the stream
	burst    int  // samples of one source in a row
	lag      int  // batches that the pool is ahead of the trainer
	flawless bool // no sample is bad
}

const badEvery = 23

func (r replayed) bad(offset int64) bool { return !r.flawless && offset%badEvery == 5 }

// feed sends the samples after a token.
func (r replayed) feed(ctx context.Context, start Token, out chan<- Sample) {
	defer close(out)
	b := ingest.NewBuilder(memory.NewGoAllocator())
	defer b.Release()
	for i := int64(start.Taken()); i < int64(r.total); i++ {
		row := ingest.Row{ID: ingest.ID{Source: "topic", Offset: i}, Key: fmt.Sprintf("clip%d/%d", i/int64(r.burst), i)}
		b.Append(row, fmt.Appendf(nil, "image %d", i))
		s := Sample{Record: b.Record(), Position: uint64(i), items: 1}
		s.Group = s.group(ingest.ByKeyPrefix)
		s.release = s.Record.Release
		if send(ctx, out, s) != nil {
			s.Release()
			return
		}
	}
}

// step is what a batch was, in comparable form.
type step struct {
	draws string
	token Token
}

// run steps from a token and, if there is one, its buffer, until the source ends or for so many steps. It returns the
// steps and the buffer as a checkpoint after the last would hold it.
func (r replayed) run(t *testing.T, start Token, from saved, most int) ([]step, saved) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.opts.Start, r.opts.Dir = start.Clone(), t.TempDir()
	buffer, err := NewReplay(r.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer buffer.Close()
	if from != nil {
		if err := buffer.Restore(bytes.NewReader(from[ReplayFile]), from.open); err != nil {
			t.Fatal(err)
		}
	}
	in, ended, out := make(chan Sample, 3), make(chan struct{}), make(chan Sample, 5)
	done := make(chan error, 1)
	go func() { r.feed(ctx, start, in); close(ended) }()
	go func() { done <- buffer.Run(ctx, in, ended, out) }()
	trainer := trainer{r: r, t: t, buffer: buffer, token: start.Clone()}
	for s := range out {
		trainer.take(s)
		for len(trainer.batches) > r.lag && len(trainer.steps) < most {
			trainer.step()
		}
		if len(trainer.steps) == most {
			break
		}
	}
	for len(trainer.batches) > 0 && len(trainer.steps) < most {
		trainer.step()
	}
	end := saved{}
	if len(trainer.steps) > 0 {
		end = save(t, buffer, trainer.steps[len(trainer.steps)-1].token.Position)
	}
	cancel()
	for s := range out {
		s.Release()
	}
	if err := <-done; err != nil && ctx.Err() == nil {
		t.Fatal(err)
	}
	for s := range in {
		s.Release()
	}
	return trainer.steps, end
}

// saved is the files of a checkpoint.
type saved map[string][]byte

func (s saved) open(name string) (io.ReadCloser, error) {
	data, ok := s[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func save(t *testing.T, r *Replay, position uint64) saved {
	t.Helper()
	state, images, err := r.At(position)
	if err != nil {
		t.Fatal(err)
	}
	files := saved{}
	write := func(name string, from io.WriterTo) {
		var to bytes.Buffer
		if n, err := from.WriteTo(&to); err != nil || n != int64(to.Len()) {
			t.Fatalf("%s: %d bytes of %d, %v", name, n, to.Len(), err)
		}
		files[name] = to.Bytes()
	}
	write(ReplayFile, state)
	for _, s := range images {
		write(SegmentName(s.ID), s)
		if sum := sha256.Sum256(files[SegmentName(s.ID)]); s.SHA256 != "" && s.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("the sum of %s is not that of its bytes", SegmentName(s.ID))
		}
	}
	return files
}

// trainer makes batches of good draws and steps on them.
type trainer struct {
	r       replayed
	t       *testing.T
	buffer  *Replay
	token   Token
	next    batch
	batches []batch
	steps   []step
}

type batch struct {
	draws     []string
	positions []uint64
	features  []float32
	token     Token
}

func (t *trainer) take(s Sample) {
	defer s.Release()
	t.token.Consume(&s)
	id := s.ID()
	if want := fmt.Sprintf("image %d", id.Offset); string(s.Image()) != want || !strings.HasSuffix(s.Key(), fmt.Sprintf("/%d", id.Offset)) {
		t.t.Errorf("draw %d of sample %d has %q, %q", s.Position, id.Offset, s.Image(), s.Key())
	}
	if t.r.bad(id.Offset) {
		return
	}
	t.next.draws = append(t.next.draws, fmt.Sprintf("%d:%d/%d", s.Position, id.Offset, s.Visit))
	t.next.positions = append(t.next.positions, s.Position)
	t.next.features = append(t.next.features, blend(nil, []float32{float32(id.Offset%7) + 1, float32(s.Position%5) - 2})...)
	if len(t.next.positions) == t.r.opts.Batch {
		t.next.token = t.token.Clone()
		t.batches, t.next = append(t.batches, t.next), batch{}
	}
}

func (t *trainer) step() {
	b := t.batches[0]
	t.batches = t.batches[1:]
	t.buffer.Settle(b.token.Position, b.positions, b.features)
	t.steps = append(t.steps, step{strings.Join(b.draws, " "), b.token})
}

func replayOptions(policy string) ReplayOptions {
	return ReplayOptions{
		Policy: policy, Size: 64, Rate: 1.5, Fill: 20, Fresh: .2, Batch: 8, PerGroup: 2, Delay: 5, Seed: 3,
		Bad: BadRule{MaxFraction: .2, Window: 50}, SegmentSize: 100, Memory: 200,
	}
}

var replayPolicies = []string{ReplayFIFO, ReplayRandom, ReplayReservoir, ReplayBalanced, ReplayMinRedundancy}

// Runs that are cut off anywhere, and whose trainer is late or not, draw the same.
func TestReplayResumes(t *testing.T) {
	for _, policy := range replayPolicies {
		t.Run(policy, func(t *testing.T) {
			r := replayed{opts: replayOptions(policy), total: 700, burst: 9}
			whole, end := r.run(t, Token{}, nil, 1000)
			if len(whole) < 100 {
				t.Fatalf("%d steps", len(whole))
			}
			rng := rand.New(rand.NewPCG(1, 1))
			var token Token
			var at saved
			for n := 0; n < len(whole); {
				r.lag = rng.IntN(3)
				var part []step
				part, at = r.run(t, token, at, min(1+rng.IntN(13), len(whole)-n))
				for i, s := range part {
					if s.draws != whole[n+i].draws {
						t.Fatalf("step %d draws\n%s, want\n%s", n+i, s.draws, whole[n+i].draws)
					}
				}
				n += len(part)
				token = part[len(part)-1].token
			}
			if !maps.EqualFunc(at, end, bytes.Equal) {
				t.Errorf("the buffers at the end differ: %v, want %v", slices.Sorted(maps.Keys(at)), slices.Sorted(maps.Keys(end)))
			}
			if n := len(end); n < 3 || n > 30 {
				t.Errorf("%d files hold 64 images of 10 bytes, 100 bytes a file", n)
			}
			last := whole[len(whole)-1].token
			if got := last.Progress.Streams["topic"][0]; len(got) != 1 || got.Len() != 700 || last.Admitted != 700 {
				t.Errorf("%v is consumed, %d admitted", got, last.Admitted)
			}
		})
	}
}

// Every sample of the source is admitted once and has its share of the draws in all.
func TestReplayDrawsItsShare(t *testing.T) {
	r := replayed{opts: replayOptions(ReplayFIFO), total: 700, burst: 9}
	steps, _ := r.run(t, Token{}, nil, 1000)
	last := steps[len(steps)-1].token
	if want := uint64(700 * r.opts.Rate); last.Position > want || want-last.Position > 3*uint64(r.opts.Batch) {
		t.Errorf("%d draws, want %d less what fills no batch", last.Position, want)
	}
}

// No batch has a sample twice, nor more of a source than asked for, where the buffer has enough sources.
func TestReplayBatches(t *testing.T) {
	r := replayed{opts: replayOptions(ReplayBalanced), total: 900, burst: 3, flawless: true}
	r.opts.Fresh = 0
	steps, _ := r.run(t, Token{}, nil, 1000)
	for i, s := range steps {
		seen, groups := map[string]bool{}, map[int]int{}
		for _, d := range strings.Fields(s.draws) {
			var position, offset, visit int
			if _, err := fmt.Sscanf(d, "%d:%d/%d", &position, &offset, &visit); err != nil {
				t.Fatal(err)
			}
			if key := fmt.Sprint(offset); seen[key] {
				t.Errorf("step %d has sample %d twice", i, offset)
			} else {
				seen[key] = true
			}
			if groups[offset/3]++; groups[offset/3] > r.opts.PerGroup {
				t.Errorf("step %d has %d of source %d", i, groups[offset/3], offset/3)
			}
		}
	}
}

func contents(t *testing.T, policy string, o func(*ReplayOptions)) []int64 {
	t.Helper()
	opts := replayOptions(policy)
	opts.Fresh, opts.PerGroup = 0, 0
	if o != nil {
		o(&opts)
	}
	opts.Dir = t.TempDir()
	b, err := NewReplay(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	r := replayed{opts: opts, total: 1000, burst: 50}
	in := make(chan Sample, 1000)
	r.feed(t.Context(), Token{}, in)
	for range 1000 {
		if _, err := b.take(t.Context(), in, nil); err != nil {
			t.Fatal(err)
		}
	}
	var offsets []int64
	for _, k := range b.buffer.slots {
		offsets = append(offsets, k.row.Offset)
	}
	slices.Sort(offsets)
	return offsets
}

// Each policy keeps what it says.
func TestReplayPolicies(t *testing.T) {
	if got := contents(t, ReplayFIFO, nil); got[0] != 936 || len(got) != 64 {
		t.Errorf("fifo keeps %v", got)
	}
	thirds := func(policy string, o func(*ReplayOptions)) (n [3]int) {
		for seed := range uint64(8) {
			for _, offset := range contents(t, policy, func(opts *ReplayOptions) {
				opts.Seed = seed
				if o != nil {
					o(opts)
				}
			}) {
				n[offset*3/1000]++
			}
		}
		return n
	}
	if n := thirds(ReplayReservoir, nil); n[0] < 128 || n[0] > 214 || n[2] < 128 || n[2] > 214 { // 171 +- 11
		t.Errorf("a reservoir keeps %v of the thirds of its stream", n)
	}
	if n := thirds(ReplayReservoir, func(o *ReplayOptions) { o.Window = 200 }); n[0] > 40 || n[2] < 340 {
		t.Errorf("a reservoir of a window keeps %v", n)
	}
	if n := thirds(ReplayRandom, nil); n[0] > 3 || n[2] < 480 { // (63/64)^667 of the first third
		t.Errorf("random keeps %v", n)
	}
	groups := map[int64]int{}
	for _, offset := range contents(t, ReplayBalanced, nil) {
		groups[offset/50]++
	}
	for g, n := range groups {
		if len(groups) != 20 || n < 3 || n > 4 {
			t.Errorf("balanced keeps %d of source %d of %d", n, g, len(groups))
		}
	}
}

// Images count against the byte limit; one that is larger is kept alone.
func TestReplayBytes(t *testing.T) {
	got := contents(t, ReplayFIFO, func(o *ReplayOptions) { o.Bytes = 100 })
	if len(got) != 11 || got[10] != 999 { // 9 bytes each
		t.Errorf("100 bytes hold %v", got)
	}
	if got := contents(t, ReplayFIFO, func(o *ReplayOptions) { o.Bytes = 5 }); len(got) != 1 {
		t.Errorf("5 bytes hold %v", got)
	}
}

func TestReplayOptions(t *testing.T) {
	for want, change := range map[string]func(*ReplayOptions){
		"size 0":                 func(o *ReplayOptions) { o.Size = 0 },
		"bytes -1":               func(o *ReplayOptions) { o.Bytes = -1 },
		"0 draws a sample":       func(o *ReplayOptions) { o.Rate = 0 },
		"share of 2":             func(o *ReplayOptions) { o.Fresh = 2 },
		`"newest" is no policy`:  func(o *ReplayOptions) { o.Policy = "newest" },
		"raise loader.replay.de": func(o *ReplayOptions) { o.Bad.MaxFraction = 1 },
	} {
		o := replayOptions(ReplayFIFO)
		change(&o)
		if _, err := NewReplay(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in %v", want, err)
		}
	}
}

// Of those that were embedded, the one that is most like another goes, and before there are two the oldest.
func TestReplayKeepsWhatDiffers(t *testing.T) {
	o := replayOptions(ReplayMinRedundancy)
	o.Size, o.Dir = 4, t.TempDir()
	r, err := NewReplay(o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := r.buffer
	add := func(number uint64, angle float64) {
		k := &kept{number: number, slot: -1, visits: 1}
		if err := b.admit(k, nil, number); err != nil {
			t.Fatal(err)
		}
		if angle != 0 {
			b.describe(k, []float32{float32(math.Cos(angle)), float32(math.Sin(angle))}, number)
		}
	}
	holds := func(want ...uint64) {
		t.Helper()
		var got []uint64
		for _, k := range b.slots {
			got = append(got, k.number)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("it holds %v, want %v", got, want)
		}
	}
	for number := range uint64(6) {
		add(number, 0)
	}
	holds(2, 3, 4, 5)
	add(6, 1)
	add(7, 2)
	holds(4, 5, 6, 7)
	add(8, 2.1) // 6 and 7 are embedded, and equally alike: the older one goes
	holds(4, 5, 7, 8)
	add(9, 1.5) // of 7 and 8
	add(10, 3)  // of 8 and 9, the nearest that are left
	holds(4, 5, 9, 10)
}

// A deletion takes what came under its key, and nothing that comes later; it counts as consumed.
func TestReplayForgetsWhatIsDeleted(t *testing.T) {
	o := replayOptions(ReplayFIFO)
	o.Dir = t.TempDir()
	r, err := NewReplay(o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows := ingest.NewBuilder(memory.NewGoAllocator())
	defer rows.Release()
	for i, key := range []string{"a", "b", "a", "", "a!", "c", "!", "a"} {
		row := ingest.Row{ID: ingest.ID{Source: "topic", Offset: int64(i)}, Key: strings.TrimSuffix(key, "!")}
		if strings.HasSuffix(key, "!") {
			row.Problem = ingest.Deleted
		}
		rows.Append(row, []byte("image"))
	}
	in := make(chan Sample, 8)
	record := rows.Record()
	defer record.Release()
	for i := range cap(in) {
		in <- Sample{Record: record, Row: i, items: 1}
	}
	for range cap(in) {
		if _, err := r.take(t.Context(), in, nil); err != nil {
			t.Fatal(err)
		}
	}
	keys := map[string]int{}
	for _, k := range r.buffer.slots {
		keys[k.row.Key]++
	}
	if want := map[string]int{"b": 1, "": 1, "c": 1, "a": 1}; !maps.Equal(keys, want) {
		t.Errorf("it holds %v, want %v", keys, want)
	}
	if c := r.buffer.counts; c.Admitted != 8 || c.Purged != 2 || c.Evicted != 2 {
		t.Errorf("%+v", c)
	}
}
