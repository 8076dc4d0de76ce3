package knn

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Neighbour is one reference row and its cosine similarity to the query.
type Neighbour struct {
	Row        int
	Similarity float32
}

// A block of queries meets a tile of reference rows while the tile is in the cache.
const (
	queryBlock    = 16
	referenceTile = 128
)

// Nearest returns for each query row its n most similar reference rows (all of them, if fewer), best first; equal
// similarities in the order of the rows. It uses every processor and reads, never writes, its arguments.
func Nearest(reference, query Features, n int) ([][]Neighbour, error) {
	if n < 1 {
		return nil, fmt.Errorf("find nearest neighbours: asked for %d; it must be positive", n)
	}
	ref, err := normalized("reference", reference)
	if err != nil {
		return nil, err
	}
	qry, err := normalized("query", query)
	if err != nil {
		return nil, err
	}
	if ref.Dim != qry.Dim {
		return nil, fmt.Errorf("compare features: reference has dimension %d, query %d", ref.Dim, qry.Dim)
	}
	out := make([][]Neighbour, qry.Rows())
	search(ref, qry, min(n, ref.Rows()), out)
	return out, nil
}

func search(ref, qry Features, n int, out [][]Neighbour) {
	var (
		next atomic.Int64
		wg   sync.WaitGroup
	)
	blocks := (len(out) + queryBlock - 1) / queryBlock
	for range min(runtime.GOMAXPROCS(0), blocks) {
		wg.Go(func() {
			for b := int(next.Add(1)) - 1; b < blocks; b = int(next.Add(1)) - 1 {
				first := b * queryBlock
				searchBlock(ref, qry, n, first, out[first:min(first+queryBlock, len(out))])
			}
		})
	}
	wg.Wait()
}

func searchBlock(ref, qry Features, n, first int, out [][]Neighbour) {
	for i := range out {
		out[i] = make([]Neighbour, 0, n)
	}
	for tile := 0; tile < ref.Rows(); tile += referenceTile {
		end := min(tile+referenceTile, ref.Rows())
		for i := range out {
			q := qry.row(first + i)
			for r := tile; r < end; r++ {
				out[i] = keep(out[i], n, Neighbour{r, dot(q, ref.row(r))})
			}
		}
	}
	for _, near := range out {
		slices.SortFunc(near, better)
	}
}

func better(a, b Neighbour) int {
	return cmp.Or(cmp.Compare(b.Similarity, a.Similarity), cmp.Compare(a.Row, b.Row))
}

// keep offers c to the n best so far, a heap with the worst of them on top. Rows come in rising order, so among equals
// the one already there stays.
func keep(heap []Neighbour, n int, c Neighbour) []Neighbour {
	if len(heap) < n {
		heap = append(heap, c)
		siftUp(heap)
		return heap
	}
	if c.Similarity > heap[0].Similarity {
		heap[0] = c
		siftDown(heap)
	}
	return heap
}

func siftUp(heap []Neighbour) {
	for i := len(heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if better(heap[parent], heap[i]) >= 0 {
			return
		}
		heap[parent], heap[i] = heap[i], heap[parent]
		i = parent
	}
}

func siftDown(heap []Neighbour) {
	for i := 0; ; {
		worst := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(heap); child++ {
			if better(heap[child], heap[worst]) > 0 {
				worst = child
			}
		}
		if worst == i {
			return
		}
		heap[i], heap[worst] = heap[worst], heap[i]
		i = worst
	}
}
