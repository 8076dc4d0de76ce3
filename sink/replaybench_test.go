package sink

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"mocostream/ingest"
	"mocostream/loader"
	"mocostream/train"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// How long a checkpoint stops the training with a full buffer of 65,536 images, 7 GB of them (MOCOSTREAM_BENCH_SAMPLES:
// fewer), each embedded in 128 dimensions, between checkpoints of 100 steps of 256, a quarter of whose draws are new.
func BenchmarkSaveReplay(b *testing.B) {
	size := 65536
	if n, err := strconv.Atoi(os.Getenv("MOCOSTREAM_BENCH_SAMPLES")); err == nil {
		size = n
	}
	const image, batch, dim, steps = 107_000, 256, 128, 100
	dir := b.TempDir()
	r, err := loader.NewReplay(loader.ReplayOptions{
		Policy: loader.ReplayRandom, Size: size, Rate: 4, Fill: size, Batch: batch, Delay: 8, Seed: 1,
		Bad: loader.BadRule{Window: 1000}, Dir: dir + "/replay", Memory: 1 << 30,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(b.Context())
	in, out, done := make(chan loader.Sample, 64), make(chan loader.Sample, 64), make(chan struct{})
	fed := make(chan struct{})
	go func() { defer close(fed); noise(ctx, image, in) }()
	go func() { defer close(done); _ = r.Run(ctx, in, nil, out) }()
	s, err := OpenStore(dir, Options{Keep: 2})
	if err != nil {
		b.Fatal(err)
	}
	var position uint64
	features := make([]float32, batch*dim)
	rng := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	for step := int64(1); b.Loop(); step++ {
		b.StopTimer()
		for range steps {
			position = settled(b, r, out, features, rng)
		}
		b.StartTimer()
		state, images, err := r.At(position)
		if err != nil {
			b.Fatal(err)
		}
		c := checkpoint(step, 1)
		addSegments(c, state, images)
		if _, err := s.Save(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(r.Stats().Bytes)/1e9, "GB")
	cancel()
	for s := range out {
		s.Release()
	}
	<-done
	<-fed
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// noise sends images for ever, cut out of the same noise.
func noise(ctx context.Context, bytes int, to chan<- loader.Sample) {
	rows := ingest.NewBuilder(memory.NewGoAllocator())
	defer rows.Release()
	random := make([]byte, bytes)
	for i := range random {
		random[i] = byte(i * i >> 3)
	}
	for i := range 64 {
		rows.Append(ingest.Row{ID: ingest.ID{Source: "topic", Offset: int64(i)}, Key: fmt.Sprint(i)}, random)
	}
	record := rows.Record()
	defer record.Release()
	for position := uint64(0); ; position++ {
		select {
		case to <- loader.Sample{Record: record, Row: int(position % 64), Position: position, Group: position / 32}:
		case <-ctx.Done():
			return
		}
	}
}

// settled takes a batch of draws as a step does.
func settled(b *testing.B, r *loader.Replay, out <-chan loader.Sample, features []float32, rng *rand.Rand) (position uint64) {
	var positions []uint64
	for len(positions) < 256 {
		s := <-out
		positions, position = append(positions, s.Position), s.Position+1
		s.Release()
	}
	fresh := make([]float32, len(features))
	for i := range fresh {
		fresh[i] = float32(rng.NormFloat64())
	}
	r.Settle(position, positions, fresh)
	return position
}

// addSegments is what a session does.
func addSegments(c *train.Checkpoint, state io.WriterTo, images []loader.Segment) {
	last := images[len(images)-1]
	c.Files = map[string]io.WriterTo{loader.ReplayFile: state, loader.SegmentName(last.ID): last}
	c.Linked = map[string]train.LinkedFile{}
	for _, s := range images[:len(images)-1] {
		c.Linked[loader.SegmentName(s.ID)] = train.LinkedFile{Path: s.Path, Bytes: s.Bytes, SHA256: s.SHA256}
	}
}
