package augment

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"mocostream/ingest/ingesttest"
	"mocostream/loader"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// numbered renders an image as its number, over and over.
func numbered(fates string) func() func(View, *loader.Sample) error {
	return func() func(View, *loader.Sample) error {
		return func(dst View, s *loader.Sample) error {
			for range rand.IntN(30) {
				runtime.Gosched()
			}
			n := binary.LittleEndian.Uint64(s.Image())
			for i := range dst.Pix {
				dst.Pix[i] = byte(n)
			}
			_, err := fakeRecipe{fates: fates}.Views(nil, s.Image(), nil)
			return err
		}
	}
}

func TestEvalBatchesKeepOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	source := fakeSource(t, 30)
	all := source.Samples()
	for round := range 30 {
		fates := randomFates(rng, 30, []int{0, 20, 100}[round%3])
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		feed, loaded := fakeRun{source: source, epochs: 1}.load(t.Context(), mem)
		var got []int
		var sizes []int
		skipped, err := EvalBatches(t.Context(), feed, numbered(fates), 3, 4, workerCounts[round%3], func(b EvalBatch) error {
			got, sizes = append(got, checkEvalBatch(t, b, all)...), append(sizes, b.Len())
			return nil
		})
		if err = errors.Join(err, <-loaded); err != nil {
			t.Fatal(err)
		}
		var want, bad []int
		for i := range fates {
			if fates[i] == fateBad {
				bad = append(bad, i)
			} else {
				want = append(want, i)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("images %v, want %v", got, want)
		}
		for i, n := range sizes {
			if i < len(sizes)-1 && n != 4 || n < 1 {
				t.Errorf("batches of %v", sizes)
			}
		}
		if len(skipped) != len(bad) {
			t.Fatalf("%d dead letters for %d bad images", len(skipped), len(bad))
		}
		for i, d := range skipped {
			if d.Key != all[bad[i]].Key || d.Reason != ReasonTruncated || d.Image != nil {
				t.Errorf("dead letter %+v, want image %d", d, bad[i])
			}
		}
		mem.AssertSize(t, 0)
	}
}

// checkEvalBatch compares every column with the sample whose number the pixels show, and returns the numbers.
func checkEvalBatch(t *testing.T, b EvalBatch, all []ingesttest.Sample) (numbers []int) {
	t.Helper()
	if len(b.Pixels) != b.Len()*27 || b.Size != 3 {
		t.Fatalf("%d bytes for %d images of size %d", len(b.Pixels), b.Len(), b.Size)
	}
	for i := range b.Len() {
		n := int(b.Pixels[i*27])
		s := all[n]
		label := int32(-1)
		if s.Label != nil {
			label = *s.Label
		}
		if b.IDs[i] != s.ID || b.Keys[i] != s.Key || b.Labels[i] != label || b.SHA256[i] != sha256.Sum256(s.Image) {
			t.Errorf("row %d shows image %d and says %v %s %d", i, n, b.IDs[i], b.Keys[i], b.Labels[i])
		}
		if b.Pixels[i*27+26] != byte(n) {
			t.Errorf("row %d is of two images", i)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

func TestEvalBatchesStop(t *testing.T) {
	errEmit := errors.New("disk full")
	for _, c := range []struct {
		name, fates string
		emit        error
		cancel      bool
		want        error
	}{
		{"render", "ggggggge", nil, false, errFatal},
		{"emit", "", errEmit, false, errEmit},
		{"cancel", "", nil, true, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			feed, loaded := fakeRun{source: fakeSource(t, 20)}.load(ctx, mem)
			_, err := EvalBatches(ctx, feed, numbered(c.fates), 2, 3, 2, func(EvalBatch) error {
				if c.cancel {
					cancel()
				}
				return c.emit
			})
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			cancel()
			for s := range feed {
				s.Release()
			}
			<-loaded
			mem.AssertSize(t, 0)
		})
	}
	if _, err := EvalBatches(t.Context(), nil, numbered(""), 2, 0, 1, nil); err == nil || !strings.Contains(err.Error(), "batch is 0") {
		t.Errorf("a batch of 0 gave %v", err)
	}
}
