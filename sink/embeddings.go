package sink

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// rowGroupBytes is about the size of the embeddings of one row group, and so of what a writer holds.
const rowGroupBytes = 16 << 20

// EmbeddingSchema returns the columns of an embeddings file: key utf8, label int32 (null where the source gave none) and
// embedding fixed_size_list<float32>[dim].
func EmbeddingSchema(dim int) *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "key", Type: arrow.BinaryTypes.String},
		{Name: "label", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		// Never null. pqarrow (v17) counts one definition level too few in a list of fixed size that may not be, and its
		// readers then see nulls only.
		{Name: "embedding", Type: arrow.FixedSizeListOf(int32(dim), arrow.PrimitiveTypes.Float32), Nullable: true},
	}, nil)
}

// EmbeddingWriter streams embeddings into a Parquet file (zstd). It holds one row group, about 16 MiB, whatever the
// length of the file. It is used by one goroutine; end it with Close or Abort.
type EmbeddingWriter struct {
	path  string
	dim   int
	group int // rows of a row group

	file    *os.File
	writer  *pqarrow.FileWriter
	builder *array.RecordBuilder
	rows    int // in builder
}

// NewEmbeddingWriter starts a file of embeddings of length dim. It grows beside path and takes its name in Close.
func NewEmbeddingWriter(path string, dim int) (*EmbeddingWriter, error) {
	if dim < 1 {
		return nil, fmt.Errorf("write embeddings %s: length %d is not positive", path, dim)
	}
	f, err := os.Create(path + tmpSuffix)
	if err != nil {
		return nil, fmt.Errorf("write embeddings: %w", err)
	}
	schema := EmbeddingSchema(dim)
	group := max(1, rowGroupBytes/(4*dim))
	props := parquet.NewWriterProperties(
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithDictionaryDefault(false), // keys and floats hardly repeat
		parquet.WithMaxRowGroupLength(int64(group)),
	)
	// The stored schema is how readers see a list of fixed size, which Parquet itself does not know.
	w, err := pqarrow.NewFileWriter(schema, unclosed{f}, props, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return nil, fmt.Errorf("write embeddings %s: %w", path, errors.Join(err, f.Close(), os.Remove(f.Name())))
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	return &EmbeddingWriter{path: path, dim: dim, group: group, file: f, writer: w, builder: b}, nil
}

// unclosed keeps the Parquet writer from closing the file before it is synced.
type unclosed struct{ file *os.File }

func (u unclosed) Write(p []byte) (int, error) { return u.file.Write(p) }

// Write appends len(keys) rows: labels is as long (-1 is null), x is [len(keys), dim]. Nothing is kept of the arguments.
func (w *EmbeddingWriter) Write(keys []string, labels []int32, x []float32) error {
	if len(labels) != len(keys) || len(x) != len(keys)*w.dim {
		return fmt.Errorf("write embeddings %s: %d keys, %d labels and %d numbers, expected %d a row",
			w.path, len(keys), len(labels), len(x), w.dim)
	}
	for len(keys) > 0 {
		n := min(len(keys), w.group-w.rows)
		w.append(keys[:n], labels[:n], x[:n*w.dim])
		keys, labels, x = keys[n:], labels[n:], x[n*w.dim:]
		if w.rows == w.group {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *EmbeddingWriter) append(keys []string, labels []int32, x []float32) {
	w.builder.Field(0).(*array.StringBuilder).AppendValues(keys, nil)
	label := w.builder.Field(1).(*array.Int32Builder)
	embedding := w.builder.Field(2).(*array.FixedSizeListBuilder)
	for _, l := range labels {
		if l < 0 {
			label.AppendNull()
		} else {
			label.Append(l)
		}
		embedding.Append(true)
	}
	embedding.ValueBuilder().(*array.Float32Builder).AppendValues(x, nil)
	w.rows += len(keys)
}

// flush writes what is held as a row group.
func (w *EmbeddingWriter) flush() error {
	record := w.builder.NewRecord()
	defer record.Release()
	w.rows = 0
	if record.NumRows() == 0 {
		return nil
	}
	if err := w.writer.Write(record); err != nil {
		return fmt.Errorf("write embeddings %s: %w", w.path, err)
	}
	return nil
}

// Close completes the file, durably, and gives it its name. On error there is no file, and path is as it was.
func (w *EmbeddingWriter) Close() error {
	if err := w.flush(); err != nil {
		return errors.Join(err, w.Abort())
	}
	if err := w.writer.Close(); err != nil {
		return errors.Join(fmt.Errorf("write embeddings %s: %w", w.path, err), w.discard())
	}
	w.builder.Release()
	if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
		return errors.Join(fmt.Errorf("write embeddings %s: %w", w.path, err), os.Remove(w.file.Name()))
	}
	if err := os.Rename(w.file.Name(), w.path); err != nil {
		return fmt.Errorf("write embeddings: %w", err)
	}
	return syncDir(filepath.Dir(w.path))
}

// Abort ends a writer without a file, after an error.
func (w *EmbeddingWriter) Abort() error {
	_ = w.writer.Close() // frees its buffers; what it writes goes with the file
	return w.discard()
}

func (w *EmbeddingWriter) discard() error {
	w.builder.Release()
	return errors.Join(w.file.Close(), os.Remove(w.file.Name()))
}
