package sink

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/compress"
	parquetfile "github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

type row struct {
	key   string
	label int32 // -1: null
	x     []float32
}

func rowsFrom(start, n, dim int) (keys []string, labels []int32, x []float32) {
	for i := start; i < start+n; i++ {
		keys = append(keys, fmt.Sprintf("ü/%d.jpg", i))
		labels = append(labels, int32(i%5-1))
		for d := range dim {
			x = append(x, float32(i)+float32(d)/1000)
		}
	}
	return keys, labels, x
}

// readEmbeddings reads a file back and checks its schema and compression.
func readEmbeddings(t *testing.T, path string, dim int) (rows []row, groups int) {
	t.Helper()
	pf, err := parquetfile.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer pf.Close()
	fr, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	table, err := fr.ReadTable(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	want := EmbeddingSchema(dim)
	for i, f := range table.Schema().Fields() {
		if f.Name != want.Field(i).Name || f.Type.Name() != want.Field(i).Type.Name() || f.Nullable != want.Field(i).Nullable {
			t.Errorf("column %v, want %v", f, want.Field(i))
		}
	}
	tr := array.NewTableReader(table, 0)
	defer tr.Release()
	for tr.Next() {
		r := tr.Record()
		labels := r.Column(1).(*array.Int32)
		x := r.Column(2).(*array.FixedSizeList)
		values := x.ListValues().(*array.Float32)
		for i := range int(r.NumRows()) {
			w := row{key: strings.Clone(r.Column(0).(*array.String).Value(i)), label: -1}
			if labels.IsValid(i) {
				w.label = labels.Value(i)
			}
			from, to := x.ValueOffsets(i)
			for j := from; j < to; j++ {
				w.x = append(w.x, values.Value(int(j)))
			}
			rows = append(rows, w)
		}
	}
	if n := pf.NumRowGroups(); n > 0 {
		column, err := pf.MetaData().RowGroup(0).ColumnChunk(2)
		if err != nil || column.Compression() != compress.Codecs.Zstd {
			t.Errorf("compression %v, %v", column.Compression(), err)
		}
	}
	return rows, pf.NumRowGroups()
}

func TestEmbeddings(t *testing.T) {
	const dim, n = 3, 1000
	path := filepath.Join(t.TempDir(), "e.parquet")
	w, err := NewEmbeddingWriter(path, dim)
	if err != nil {
		t.Fatal(err)
	}
	w.group = 300
	for start := 0; start < n; start += 250 {
		keys, labels, x := rowsFrom(start, 250, dim)
		if err := w.Write(keys, labels, x); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file has its name before it is complete")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	rows, groups := readEmbeddings(t, path, dim)
	if len(rows) != n || groups != 4 {
		t.Fatalf("%d rows in %d groups", len(rows), groups)
	}
	keys, labels, x := rowsFrom(0, n, dim)
	for i, r := range rows {
		equal(t, "row", r, row{keys[i], labels[i], x[i*dim : (i+1)*dim]})
		if t.Failed() {
			break
		}
	}
	equal(t, "folder", folders(t, filepath.Dir(path)), []string{"e.parquet"})
}

func TestEmbeddingsEdges(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "e.parquet")
	if _, err := NewEmbeddingWriter(path, 0); err == nil {
		t.Error("a length of 0 was taken")
	}
	w, err := NewEmbeddingWriter(path, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if rows, _ := readEmbeddings(t, path, 2); len(rows) != 0 {
		t.Errorf("empty file has %d rows", len(rows))
	}
	w, err = NewEmbeddingWriter(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write([]string{"a"}, []int32{0}, []float32{1, 2}); err == nil {
		t.Error("a row of the wrong length was taken")
	}
	if err := w.Write([]string{"a"}, []int32{0}, []float32{float32(math.Inf(-1))}); err != nil {
		t.Error(err)
	}
	if err := w.Abort(); err != nil {
		t.Error(err)
	}
	if rows, _ := readEmbeddings(t, path, 2); len(rows) != 0 {
		t.Error("an aborted writer replaced the file")
	}
	equal(t, "folder", folders(t, dir), []string{"e.parquet"})
}
