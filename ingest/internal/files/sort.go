package files

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
)

// runLimit is how many files are sorted in memory; of more, sorted runs go to a temporary file and are merged.
const runLimit = 1 << 18

// runBuffer is the memory for reading a run, in bytes.
const runBuffer = 16 << 10

// sorter sorts any number of files.
type sorter struct {
	temp  string
	limit int // 0: runLimit; tests have a smaller one

	files []File
	spill *os.File
	ends  []int64 // of the runs in spill
}

func (s *sorter) add(f File) error {
	s.files = append(s.files, f)
	if len(s.files) < cmp.Or(s.limit, runLimit) {
		return nil
	}
	if err := s.flush(); err != nil {
		return fmt.Errorf("sort list of files: %w", err)
	}
	return nil
}

func compareFiles(a, b File) int { return cmp.Compare(a.Name, b.Name) }

// flush appends the files in memory to the spill as a run.
func (s *sorter) flush() error {
	if err := s.open(); err != nil {
		return err
	}
	slices.SortFunc(s.files, compareFiles)
	w := bufio.NewWriterSize(s.spill, runBuffer)
	var end int64
	if len(s.ends) > 0 {
		end = s.ends[len(s.ends)-1]
	}
	var head []byte
	for _, f := range s.files {
		head = binary.AppendUvarint(head[:0], uint64(f.Size))
		head = binary.AppendUvarint(head, uint64(len(f.Name)))
		w.Write(head) // a bufio.Writer keeps its first error for Flush
		w.WriteString(f.Name)
		end += int64(len(head) + len(f.Name))
	}
	s.files = s.files[:0]
	s.ends = append(s.ends, end)
	return w.Flush()
}

func (s *sorter) open() error {
	if s.spill != nil {
		return nil
	}
	if err := os.MkdirAll(s.temp, 0o755); err != nil {
		return err
	}
	var err error
	if s.spill, err = os.CreateTemp(s.temp, ".list-*"); err != nil {
		return err
	}
	return os.Remove(s.spill.Name()) // open files outlive their names, and a crash leaves nothing behind
}

func (s *sorter) close() {
	if s.spill != nil {
		s.spill.Close()
	}
}

// sorted yields what was added, in order, each name once.
func (s *sorter) sorted() iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		last := ""
		for f, err := range s.merged() {
			if err != nil {
				yield(File{}, fmt.Errorf("sort list of files: %w", err))
				return
			}
			if f.Name != last && !yield(f, nil) {
				return
			}
			last = f.Name
		}
	}
}

func (s *sorter) merged() iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		slices.SortFunc(s.files, compareFiles)
		runs := runHeap{}
		start := int64(0)
		for _, end := range s.ends {
			r := io.NewSectionReader(s.spill, start, end-start)
			runs = append(runs, &run{from: bufio.NewReaderSize(r, runBuffer)})
			start = end
		}
		runs = append(runs, &run{rest: s.files})
		runs = slices.DeleteFunc(runs, func(r *run) bool { return !r.next() && r.err == nil })
		heap.Init(&runs)
		for len(runs) > 0 {
			r := runs[0]
			if !yield(r.head, r.err) || r.err != nil {
				return
			}
			if !r.next() && r.err == nil {
				heap.Pop(&runs)
			} else {
				heap.Fix(&runs, 0)
			}
		}
	}
}

// run is a sorted list: the one in memory, or one in the spill.
type run struct {
	rest []File
	from *bufio.Reader
	head File
	err  error
}

// next moves to the next file and says whether there is one; if not, err says why unless it is the end.
func (r *run) next() bool {
	if r.from == nil {
		if len(r.rest) == 0 {
			return false
		}
		r.head, r.rest = r.rest[0], r.rest[1:]
		return true
	}
	size, err := binary.ReadUvarint(r.from)
	if errors.Is(err, io.EOF) {
		return false
	}
	length, lengthErr := binary.ReadUvarint(r.from)
	if r.err = errors.Join(err, lengthErr); r.err != nil {
		return false
	}
	name := make([]byte, length)
	_, r.err = io.ReadFull(r.from, name)
	r.head = File{Name: string(name), Size: int64(size)}
	return r.err == nil
}

// runHeap has the run with the smallest head in front; one with an error comes before all.
type runHeap []*run

func (h runHeap) Len() int { return len(h) }

func (h runHeap) Less(i, j int) bool {
	if h[i].err != nil || h[j].err != nil {
		return h[i].err != nil
	}
	return h[i].head.Name < h[j].head.Name
}

func (h runHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *runHeap) Push(x any) { *h = append(*h, x.(*run)) }

func (h *runHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
