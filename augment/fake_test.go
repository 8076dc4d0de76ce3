package augment

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
	"mocostream/loader"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// What becomes of an image, a letter for each.
const (
	fateGood  = 'g'
	fateBad   = 'b'
	fateFatal = 'e'
	fatePanic = 'p'
)

var errFatal = errors.New("device on fire")

// fakeRecipe fills a view with its random numbers, folded with the image's number, whatever then becomes of the image.
type fakeRecipe struct {
	fates  string // by the image's number; good when shorter
	jitter bool   // let others run first, at random
}

func (f fakeRecipe) Clone() Recipe { return f }

func (f fakeRecipe) Views(dst []View, img []byte, rng func(int) *rand.Rand) (uint64, error) {
	if f.jitter {
		for range rand.IntN(30) {
			runtime.Gosched()
		}
	}
	n := binary.LittleEndian.Uint64(img)
	for v := range dst {
		fakePixels(dst[v].Pix, n, rng(v))
	}
	switch f.fate(n) {
	case fateBad:
		return 0, fmt.Errorf("decode: %w", &BadImage{Reason: ReasonTruncated, Detail: "ends early"})
	case fateFatal:
		return 0, errFatal
	case fatePanic:
		panic("index out of range")
	}
	return n * 7, nil
}

func (f fakeRecipe) fate(n uint64) byte {
	if n < uint64(len(f.fates)) {
		return f.fates[n]
	}
	return fateGood
}

func fakePixels(pix []byte, n uint64, r *rand.Rand) {
	for i := range pix {
		pix[i] = byte(r.Uint32()) ^ byte(n)
	}
}

// fakeSource holds n numbered images, three to a partition. Every third has no label, every fourth no time.
func fakeSource(t testing.TB, n int) *ingesttest.FakeBounded {
	t.Helper()
	var partitions [][]ingesttest.Sample
	for chunk := range slices.Chunk(fakeSamples(n), 3) {
		partitions = append(partitions, chunk)
	}
	return ingesttest.NewFakeBounded(t, partitions...)
}

func fakeSamples(n int) []ingesttest.Sample {
	all := make([]ingesttest.Sample, n)
	for i := range all {
		s := &all[i]
		s.Key = fmt.Sprintf("img/%d", i)
		s.Image = binary.LittleEndian.AppendUint64(nil, uint64(i))
		if i%3 != 0 {
			s.Label = new(int32(i))
		}
		if i%4 != 0 {
			s.Time = new(arrow.Timestamp(1000 * i))
		}
	}
	return all
}

// fakeRun is a source, how often it is read, and what a pool makes of it.
type fakeRun struct {
	source *ingesttest.FakeBounded
	epochs int64
	recipe fakeRecipe
	opts   PoolOptions
	tuned  bool // another number of workers after each batch, at random up to MaxWorkers
}

// load sends the run's samples from opts.Start on.
func (r fakeRun) load(ctx context.Context, mem memory.Allocator) (<-chan loader.Sample, <-chan error) {
	r.source.Mem = mem
	l := loader.NewBounded(r.source, loader.Options{Fetchers: 2, Epochs: r.epochs, Start: r.opts.Start, Allocator: mem})
	samples, ended := make(chan loader.Sample), make(chan error, 1)
	go func() { ended <- l.Run(ctx, samples) }()
	return samples, ended
}

// samples returns all of them at once; releasing them is up to the caller, or to Go's heap.
func (r fakeRun) samples(t testing.TB) []loader.Sample {
	t.Helper()
	feed, ended := r.load(t.Context(), nil)
	var all []loader.Sample
	for s := range feed {
		all = append(all, s)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return all
}

// pooled runs a pool and returns its batches and tokens, and what Run returned. It checks that nothing leaks.
func (r fakeRun) pooled(t *testing.T) ([]plainBatch, []loader.Token, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	r.opts.Allocator = mem
	p, err := NewPool(r.recipe, r.opts)
	if err != nil {
		t.Fatal(err)
	}
	feed, loaded := r.load(ctx, mem)
	out, ended := make(chan Batch), make(chan error, 1)
	go func() { ended <- p.Run(ctx, feed, out) }()
	var (
		batches []plainBatch
		tokens  []loader.Token
	)
	for b := range out {
		if r.tuned {
			p.SetWorkers(1 + rand.IntN(r.opts.MaxWorkers))
		}
		batches, tokens = append(batches, flatten(&b)), append(tokens, b.Token)
		b.Release()
	}
	err = <-ended
	cancel()
	for s := range feed {
		s.Release()
	}
	<-loaded
	mem.AssertSize(t, 0)
	return batches, tokens, err
}

// sequential is what a pool should do, without goroutines, ring or moving; it stops where the run should.
func (r fakeRun) sequential(t *testing.T) (batches []plainBatch, failed bool) {
	t.Helper()
	token := r.opts.Start.Clone()
	var next plainBatch
	for _, s := range r.samples(t) {
		n := binary.LittleEndian.Uint64(s.Image())
		fate := r.recipe.fate(n)
		if fate == fateFatal || fate == fatePanic {
			return batches, true
		}
		token.Consume(&s)
		if err := r.opts.Bad.Note(&token, s.Position, fate == fateBad); err != nil {
			return batches, true
		}
		if fate == fateBad {
			next.dead = append(next.dead, deadText(loader.NewDeadLetter(&s, ReasonTruncated, "ends early", r.opts.KeepDeadImages)))
			continue
		}
		r.add(&next, &s, n)
		if len(next.rows) == r.opts.Batch {
			next.token = tokenText(token)
			batches, next = append(batches, next), plainBatch{}
		}
	}
	return batches, false
}

func (r fakeRun) add(p *plainBatch, s *loader.Sample, n uint64) {
	key := NewKey(r.opts.Seed, s.Epoch, s.ID()).Draw(s.Draw)
	pix := make([]byte, r.opts.Size*r.opts.Size*3)
	fakePixels(pix, n, key.Rand(0))
	p.query = append(p.query, pix...)
	fakePixels(pix, n, key.Rand(1))
	p.key = append(p.key, pix...)
	var time, label any
	if n%4 != 0 {
		time = 1000 * n
	}
	if n%3 != 0 {
		label = n
	}
	p.rows = append(p.rows, rowText(s.ID(), s.Key(), time, label, n*7, s.Group, s.Visit, s.Position))
}

// plainBatch is a batch in comparable form.
type plainBatch struct {
	query, key []byte
	rows       []string
	token      string
	dead       []string
}

func (p plainBatch) equal(o plainBatch) bool {
	return bytes.Equal(p.query, o.query) && bytes.Equal(p.key, o.key) && slices.Equal(p.rows, o.rows) &&
		p.token == o.token && slices.Equal(p.dead, o.dead)
}

func rowText(id ingest.ID, key string, time, label any, hash, group uint64, visit int64, position uint64) string {
	return fmt.Sprintf("%v %s %v %v %d %x %d %d", id, key, time, label, hash, group, visit, position)
}

func tokenText(t loader.Token) string {
	return fmt.Sprintf("%+v %d %v", *t.Progress.Bounded, t.Position, t.Bad)
}

func deadText(d loader.DeadLetter) string {
	return fmt.Sprintf("%v %s %s %q %d %s %d %x", d.ID, d.Key, d.Reason, d.Detail, d.Bytes, d.SHA256, d.Position, d.Image)
}

func flatten(b *Batch) plainBatch {
	r := b.Record
	p := plainBatch{query: bytes.Clone(b.Query()), key: bytes.Clone(b.Key()), token: tokenText(b.Token)}
	for i := range b.Len() {
		var time, label any
		if c := r.Column(ColTime).(*array.Timestamp); c.IsValid(i) {
			time = int64(c.Value(i))
		}
		if c := r.Column(ColLabel).(*array.Int32); c.IsValid(i) {
			label = c.Value(i)
		}
		id := ingest.ID{
			Source:    r.Column(ColSource).(*array.String).Value(i),
			Partition: r.Column(ColPartition).(*array.Int32).Value(i),
			Offset:    r.Column(ColOffset).(*array.Int64).Value(i),
			Item:      r.Column(ColItem).(*array.Int32).Value(i),
		}
		p.rows = append(p.rows, rowText(id, r.Column(ColKey).(*array.String).Value(i), time, label, r.Column(ColHash).(*array.Uint64).Value(i),
			r.Column(ColGroup).(*array.Uint64).Value(i), r.Column(ColVisit).(*array.Int64).Value(i), r.Column(ColPosition).(*array.Uint64).Value(i)))
	}
	for _, d := range b.Dead {
		p.dead = append(p.dead, deadText(d))
	}
	return p
}

func compareBatches(t *testing.T, what string, got, want []plainBatch) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d batches, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !got[i].equal(want[i]) {
			t.Fatalf("%s: batch %d is\n%+v, want\n%+v", what, i, got[i], want[i])
		}
	}
}
