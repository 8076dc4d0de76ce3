package sink

import (
	"os"
	"path/filepath"
	"testing"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	parquetfile "github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// What was sent can be read, and what is sent again replaces itself.
func TestEmbeddingParts(t *testing.T) {
	p := EmbeddingParts{Dir: filepath.Join(t.TempDir(), "embeddings")}
	rows := []Embedded{
		{ID: ingest.ID{Source: "kafka:c/t/i", Partition: 1, Offset: 7}, Key: "a", Label: 3, Features: []float32{1, 2}},
		{ID: ingest.ID{Source: "kafka:c/t/i", Partition: 1, Offset: 8, Item: 2}, Key: "b", Label: -1, Features: []float32{3, 4}},
	}
	for range 2 {
		if err := p.Send("step-000000010", rows); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Send("step-000000020", rows[:1]); err != nil {
		t.Fatal(err)
	}
	if err := p.Send("step-000000020", nil); err != nil {
		t.Fatal(err)
	}
	found, err := os.ReadDir(p.Dir)
	if err != nil || len(found) != 2 {
		t.Fatalf("%d files, %v", len(found), err)
	}
	r, err := parquetfile.OpenParquetFile(filepath.Join(p.Dir, found[0].Name()), false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	arrows, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	table, err := arrows.ReadTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	id := table.Column(0).Data().Chunk(0).(*array.String)
	label := table.Column(2).Data().Chunk(0).(*array.Int32)
	x := table.Column(4).Data().Chunk(0).(*array.FixedSizeList).ListValues().(*array.Float32)
	if id.Value(1) != "kafka:c/t/i/1/8/2@step-000000010" || label.Value(0) != 3 || label.IsValid(1) || x.Value(3) != 4 {
		t.Errorf("read %v %v %v", id, label, x)
	}
}
