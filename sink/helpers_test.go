package sink

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"mocostream/ingest"
	"mocostream/internal/safetensors"
	"mocostream/loader"
	"mocostream/train"
)

// checkpoint returns a small state; other values of mark give other tensors.
func checkpoint(step int64, mark float32) *train.Checkpoint {
	x := make([]float32, 4000)
	for i := range x {
		x[i] = mark + float32(i)
	}
	return &train.Checkpoint{
		Step: step, Samples: step * 8, Seed: 1<<63 + 5,
		Encoder:  train.EncoderOptions{Arch: "resnet18", Width: 64, Stem: "imagenet", Head: "mlp", Dim: 128, Activation: "relu"},
		Config:   map[string]string{"train.k": "64", "loader.note": "<&>"},
		Versions: map[string]string{"go": "1.26"},
		Extra:    map[string]json.RawMessage{"dead_letters": json.RawMessage(`{"bytes": 12}`)},
		Token: loader.Token{
			Progress: ingest.Progress{Bounded: &ingest.Position{Source: "abc", Epoch: 2, Index: 3}},
			Position: 99, Bad: []uint64{7},
		},
		Model: []safetensors.Tensor{
			safetensors.FromFloat32s("encoder_q.conv1.weight", []int{4000}, x),
			safetensors.FromInt64s("queue_ptr", []int{1}, []int64{step}),
		},
		Optimizer: []safetensors.Tensor{safetensors.FromFloat32s("momentum_buffer.encoder_q.conv1.weight", []int{2000, 1}, x[:2000])},
	}
}

// mark returns what checkpoint was called with.
func mark(t *testing.T, c *train.Checkpoint) float32 {
	t.Helper()
	for _, ten := range c.Model {
		if ten.Name == "encoder_q.conv1.weight" {
			x, err := safetensors.Float32s(ten)
			if err != nil {
				t.Fatal(err)
			}
			return x[0]
		}
	}
	t.Fatal("checkpoint has no encoder_q.conv1.weight")
	return 0
}

// warnings collects what Options.Warn is told.
type warnings []string

func (w *warnings) add(s string) { *w = append(*w, s) }

func reopen(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := OpenStore(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func save(t *testing.T, s *Store, cs ...*train.Checkpoint) {
	t.Helper()
	for _, c := range cs {
		if name, err := s.Save(t.Context(), c); err != nil || name != stepName(c.Step) {
			t.Fatalf("save step %d: %q, %v", c.Step, name, err)
		}
	}
}

// tree returns the contents of all files below dir by relative path, without the lock.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "lock" {
			return err
		}
		b, err := os.ReadFile(path)
		m[strings.TrimPrefix(path, dir+"/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// folders returns the names in dir, without the lock.
func folders(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != "lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if c, ok := got.(*train.Checkpoint); ok && c != nil { // Open is a function, and the files are read apart
		plain := *c
		plain.Open = nil
		got = &plain
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
