package sink

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// Embedded is the features of one image of a stream.
type Embedded struct {
	ID       ingest.ID
	Key      string
	Label    int32 // -1: the source gave none
	Features []float32
}

// EmbeddedKey names an embedding for ever: the same image by the same encoder has the same key, so that one written
// twice can be told.
func EmbeddedKey(id ingest.ID, version string) string {
	return fmt.Sprintf("%s/%d/%d/%d@%s", id.Source, id.Partition, id.Offset, id.Item, version)
}

// embeddedSchema is the columns of a part.
func embeddedSchema(dim int) *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.String},
		{Name: "key", Type: arrow.BinaryTypes.String},
		{Name: "label", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "version", Type: arrow.BinaryTypes.String},
		{Name: "embedding", Type: arrow.FixedSizeListOf(int32(dim), arrow.PrimitiveTypes.Float32), Nullable: true}, // see EmbeddingSchema
	}, nil)
}

// EmbeddingParts writes features of a stream as Parquet files of one folder (columns id, key, label, version, embedding).
type EmbeddingParts struct{ Dir string }

// Send makes the rows durable as one file. Rows that were sent before, after a crash, may come again: id tells them. The
// same rows replace their own file.
func (p EmbeddingParts) Send(version string, rows []Embedded) error {
	if len(rows) == 0 {
		return nil
	}
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return fmt.Errorf("write embeddings: %w", err)
	}
	path := filepath.Join(p.Dir, partName(version, rows))
	if err := writePart(path, version, rows); err != nil {
		return fmt.Errorf("write embeddings %s: %w", path, err)
	}
	return nil
}

// partName follows from the rows.
func partName(version string, rows []Embedded) string {
	h := sha256.New()
	for _, r := range rows {
		fmt.Fprintln(h, EmbeddedKey(r.ID, version))
	}
	return fmt.Sprintf("%s-%s.parquet", version, hex.EncodeToString(h.Sum(nil)[:8]))
}

func writePart(path, version string, rows []Embedded) error {
	f, err := os.Create(path + tmpSuffix)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // not there once renamed
	err = encodePart(f, version, rows)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func encodePart(f *os.File, version string, rows []Embedded) error {
	schema := embeddedSchema(len(rows[0].Features))
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithDictionaryDefault(false))
	w, err := pqarrow.NewFileWriter(schema, unclosed{f}, props, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return err
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for _, r := range rows {
		appendEmbedded(b, version, r)
	}
	rec := b.NewRecord()
	defer rec.Release()
	return errors.Join(w.Write(rec), w.Close())
}

func appendEmbedded(b *array.RecordBuilder, version string, r Embedded) {
	b.Field(0).(*array.StringBuilder).Append(EmbeddedKey(r.ID, version))
	b.Field(1).(*array.StringBuilder).Append(r.Key)
	if label := b.Field(2).(*array.Int32Builder); r.Label < 0 {
		label.AppendNull()
	} else {
		label.Append(r.Label)
	}
	b.Field(3).(*array.StringBuilder).Append(version)
	list := b.Field(4).(*array.FixedSizeListBuilder)
	list.Append(true)
	list.ValueBuilder().(*array.Float32Builder).AppendValues(r.Features, nil)
}
