package nearest

import (
	"math"
	"math/rand/v2"
	"testing"
)

func unit(rng *rand.Rand, dim int) []float32 {
	v, square := make([]float32, dim), 0.0
	for i := range v {
		v[i] = float32(rng.NormFloat64())
		square += float64(v[i]) * float64(v[i])
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(square))
	}
	return v
}

// plain is the algorithm as published: all with all.
func plain(vectors map[uint64][]float32) (densest uint64) {
	best := float32(-9)
	for id, v := range vectors {
		closest := float32(-9)
		for other, w := range vectors {
			if other != id {
				closest = max(closest, product(v, w))
			}
		}
		if closest > best || closest == best && id < densest {
			best, densest = closest, id
		}
	}
	return densest
}

func product(v, w []float32) float32 {
	pad := func(v []float32) []float32 {
		return append(append([]float32{}, v...), make([]float32, -len(v)&(lanes-1))...)
	}
	var to [4]float32
	p := pad(v)
	dots(&to, &[4][]float32{p, p, p, p}, pad(w))
	return to[3]
}

// Through any coming, going and changing the most redundant vector is that of the plain algorithm, whatever the workers.
func TestDensestIsExact(t *testing.T) {
	for _, workers := range []int{1, 3} {
		const dim = 13
		rng := rand.New(rand.NewPCG(7, uint64(workers)))
		s, vectors := New(dim, workers), map[uint64][]float32{}
		for next := range uint64(1500) {
			switch what := rng.IntN(10); {
			case what < 4 || len(vectors) < 3:
				vectors[next] = unit(rng, dim)
				if what == 0 && len(vectors) > 5 { // the same as another
					for _, v := range vectors {
						vectors[next] = v
						break
					}
				}
				s.Put(next, vectors[next])
			case what < 6:
				for id := range vectors {
					vectors[id] = unit(rng, dim)
					s.Put(id, vectors[id])
					break
				}
			default:
				got, ok := s.Densest()
				if want := plain(vectors); !ok || got != want {
					t.Fatalf("after %d operations %d of %d is most redundant (%v), want %d", next, got, len(vectors), ok, want)
				}
				delete(vectors, got)
				s.Delete(got)
			}
		}
		if s.Len() != len(vectors) {
			t.Errorf("%d vectors, want %d", s.Len(), len(vectors))
		}
	}
}

func TestDensestOfFew(t *testing.T) {
	s := New(4, 2)
	s.Put(5, []float32{1, 0, 0, 0})
	if id, ok := s.Densest(); ok {
		t.Errorf("%d is redundant alone", id)
	}
	s.Delete(9)
	s.Put(2, []float32{0, 1, 0, 0})
	if id, ok := s.Densest(); !ok || id != 2 {
		t.Errorf("of two equally close %d goes", id)
	}
}

func TestDots(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{8, 24, 128} {
		var four [4][]float32
		for i := range four {
			four[i] = unit(rng, n)
		}
		row := unit(rng, n)
		var fast, slow [4]float32
		dots(&fast, &four, row)
		dotsPlain(&slow, &four, row)
		for i := range fast {
			if math.Abs(float64(fast[i]-slow[i])) > 1e-6 {
				t.Errorf("%d numbers: %v, want %v", n, fast, slow)
			}
		}
		var turned [4]float32
		dots(&turned, &[4][]float32{row, row, row, row}, four[2])
		if turned[0] != fast[2] {
			t.Errorf("%v one way, %v the other", fast[2], turned[0])
		}
	}
}

// A step of 256: as many vectors change, and a quarter of them is replaced.
func BenchmarkStep(b *testing.B) {
	const n, dim, batch = 65536, 128, 256
	rng := rand.New(rand.NewPCG(1, 2))
	s := New(dim, 1)
	for id := range uint64(n) {
		s.Put(id, unit(rng, dim))
	}
	for place := range s.ids { // as after a first look, which would take long
		s.bound[place], s.exact[place], s.nearest[place] = .3+.2*rng.Float32(), true, uint64(rng.IntN(n))
	}
	next := uint64(n)
	for b.Loop() {
		for range batch {
			id := s.ids[rng.IntN(len(s.ids))]
			s.Put(id, unit(rng, dim))
		}
		for range batch / 4 {
			id, _ := s.Densest()
			s.Delete(id)
		}
		for range batch / 4 {
			s.Put(next, unit(rng, dim))
			next++
		}
	}
}
