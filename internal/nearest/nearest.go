// Package nearest keeps vectors of length 1 that come, go and change, and knows which of them lies closest to another: the
// most redundant one.
package nearest

import (
	"cmp"
	"slices"
	"sync"
)

// Set is vectors by id. It remembers for each the nearest other, and looks for that anew only where the answer could have
// changed and matters: a vector whose nearest went away is at most as close to another as it was, so it is looked at
// again when no other is closer. The result is that of comparing all with all. It is used by one goroutine.
type Set struct {
	dim, stride int // stride: dim in whole lanes, the rest being zeros
	workers     int
	places      map[uint64]int

	// By place, without gaps.
	ids     []uint64
	rows    []float32 // [len(ids), stride]
	bound   []float32 // no other vector is closer than this cosine; unknown where it has to be looked for
	exact   []bool    // one is as close: nearest
	nearest []uint64
	asked   []bool // while it is looked for
}

const (
	lanes   = 8
	unknown = float32(4) // above any cosine
	chunk   = 64         // vectors that are compared with all others at a time
)

// New makes an empty set of vectors of dim numbers; workers goroutines compare.
func New(dim, workers int) *Set {
	return &Set{dim: dim, stride: (dim + lanes - 1) / lanes * lanes, workers: max(workers, 1), places: map[uint64]int{}}
}

// Len is the number of vectors.
func (s *Set) Len() int { return len(s.ids) }

// Put adds a vector of length 1, or changes that of id. It is copied.
func (s *Set) Put(id uint64, vector []float32) {
	place, ok := s.places[id]
	if ok {
		s.forget(id)
	} else {
		place = len(s.ids)
		s.places[id] = place
		s.ids = append(s.ids, id)
		s.rows = append(s.rows, make([]float32, s.stride)...)
		s.bound, s.exact = append(s.bound, 0), append(s.exact, false)
		s.nearest, s.asked = append(s.nearest, 0), append(s.asked, false)
	}
	copy(s.row(place)[:s.dim], vector)
	s.bound[place], s.exact[place] = unknown, false
}

// Delete takes a vector out; one that is not there is a no-op.
func (s *Set) Delete(id uint64) {
	place, ok := s.places[id]
	if !ok {
		return
	}
	last := len(s.ids) - 1
	copy(s.row(place), s.row(last))
	s.ids[place], s.bound[place], s.exact[place], s.nearest[place] = s.ids[last], s.bound[last], s.exact[last], s.nearest[last]
	s.places[s.ids[place]] = place
	delete(s.places, id)
	s.ids, s.rows, s.asked = s.ids[:last], s.rows[:last*s.stride], s.asked[:last]
	s.bound, s.exact, s.nearest = s.bound[:last], s.exact[:last], s.nearest[:last]
	s.forget(id)
}

// forget has those whose nearest was id look anew.
func (s *Set) forget(id uint64) {
	for place, nearest := range s.nearest {
		if nearest == id {
			s.exact[place] = false
		}
	}
}

func (s *Set) row(place int) []float32 { return s.rows[place*s.stride : (place+1)*s.stride] }

// Densest returns the vector whose nearest other is closest, of several such the one of the lowest id; false if there are
// fewer than two.
func (s *Set) Densest() (id uint64, ok bool) {
	if len(s.ids) < 2 {
		return 0, false
	}
	for {
		best := -1
		for place := range s.ids {
			if s.exact[place] && (best < 0 || s.bound[place] > s.bound[best] || s.bound[place] == s.bound[best] && s.ids[place] < s.ids[best]) {
				best = place
			}
		}
		open := s.open(best)
		if len(open) == 0 {
			return s.ids[best], true
		}
		for part := range slices.Chunk(open, chunk) {
			s.look(part)
		}
	}
}

// open returns what may be as close to another as the vector at best: all of which nothing is known, or else some of those
// that were closest.
func (s *Set) open(best int) []int {
	var open []int
	for place, bound := range s.bound {
		if !s.exact[place] && (best < 0 || bound >= s.bound[best]) {
			open = append(open, place)
		}
	}
	slices.SortFunc(open, func(a, b int) int {
		return cmp.Or(cmp.Compare(s.bound[b], s.bound[a]), cmp.Compare(s.ids[a], s.ids[b]))
	})
	n := 0
	for n < len(open) && (n < chunk/4 || s.bound[open[n]] == unknown) {
		n++
	}
	return open[:n]
}

// found is the nearest of a vector so far.
type found struct {
	cosine float32
	id     uint64
}

// look finds the nearest of the vectors at places, and tells the others of them.
func (s *Set) look(places []int) {
	for _, place := range places {
		s.asked[place] = true
	}
	parts := make([][]found, s.workers)
	var wg sync.WaitGroup
	for w := range s.workers {
		from, to := len(s.ids)*w/s.workers, len(s.ids)*(w+1)/s.workers
		if w == s.workers-1 {
			parts[w] = s.compare(places, from, to)
			continue
		}
		wg.Go(func() { parts[w] = s.compare(places, from, to) })
	}
	wg.Wait()
	for i, place := range places {
		best := parts[0][i]
		for _, part := range parts[1:] {
			if part[i].cosine > best.cosine {
				best = part[i]
			}
		}
		s.bound[place], s.nearest[place], s.exact[place], s.asked[place] = best.cosine, best.id, true, false
	}
}

// compare compares vectors with those of places from <= place < to, which are this call's own.
func (s *Set) compare(places []int, from, to int) []found {
	best := make([]found, len(places))
	for i := range best {
		best[i].cosine = -unknown
	}
	var four [4][]float32
	var cosines [4]float32
	for at := 0; at < len(places); at += 4 {
		n := min(4, len(places)-at)
		for i := range four {
			four[i] = s.row(places[at+min(i, n-1)])
		}
		for place := from; place < to; place++ {
			dots(&cosines, &four, s.row(place))
			for i := range n {
				s.compared(&best[at+i], places[at+i], place, cosines[i])
			}
		}
	}
	return best
}

// compared notes how close the vector at place is to the one that is asked for.
func (s *Set) compared(best *found, asked, place int, cosine float32) {
	if place == asked {
		return
	}
	if cosine > best.cosine {
		*best = found{cosine, s.ids[place]}
	}
	if !s.asked[place] && cosine > s.bound[place] {
		s.bound[place] = cosine
		if s.exact[place] {
			s.nearest[place] = s.ids[asked]
		}
	}
}

// dotsPlain is dots without vector instructions: lane by lane, so that a pair gives the same bits either way round.
func dotsPlain(to *[4]float32, four *[4][]float32, row []float32) {
	for i, vector := range four {
		var sum [lanes]float32
		for at := 0; at < len(row); at += lanes {
			for lane := range sum {
				sum[lane] += float32(vector[at+lane] * row[at+lane])
			}
		}
		to[i] = total(&sum)
	}
}

func total(sum *[lanes]float32) float32 {
	return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]))
}
