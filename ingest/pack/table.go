package pack

import (
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

const (
	// batchBytes is about the size of a row group or batch, which a reader holds.
	batchBytes = 16 << 20
	batchRows  = 10_000
	rowBytes   = 32 // beside image and key
)

// schema is the one that Hugging Face's datasets give a column of images, which load_dataset then decodes.
func schema(labels bool) *arrow.Schema {
	fields := []arrow.Field{{Name: "image", Nullable: true, Type: arrow.StructOf(
		arrow.Field{Name: "bytes", Type: arrow.BinaryTypes.Binary, Nullable: true},
		arrow.Field{Name: "path", Type: arrow.BinaryTypes.String, Nullable: true},
	)}}
	features := `"image": {"_type": "Image"}`
	if labels {
		fields = append(fields, arrow.Field{Name: "label", Type: arrow.PrimitiveTypes.Int64, Nullable: true})
		features += `, "label": {"dtype": "int64", "_type": "Value"}`
	}
	about := arrow.NewMetadata([]string{"huggingface"}, []string{`{"info": {"features": {` + features + `}}}`})
	return arrow.NewSchema(fields, &about)
}

// tableFormat writes rows in batches.
type tableFormat struct {
	write func(arrow.Record) error
	end   func() error
	rows  *array.RecordBuilder
	held  int64 // bytes in rows
	count int   // rows in rows
}

func newParquet(w io.Writer, labels bool) (*tableFormat, error) {
	props := parquet.NewWriterProperties(
		parquet.WithDictionaryDefault(false), // images do not repeat
		parquet.WithStats(false),             // least and greatest would be whole images
		parquet.WithMaxRowGroupLength(batchRows),
		parquet.WithCreatedBy("mocostream"),
	)
	s := schema(labels)
	out, err := pqarrow.NewFileWriter(s, unclosed{w}, props, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return nil, err
	}
	return newTable(s, out.Write, out.Close), nil
}

func newArrow(w io.WriteSeeker, labels bool) (*tableFormat, error) {
	s := schema(labels)
	out, err := ipc.NewFileWriter(w, ipc.WithSchema(s))
	if err != nil {
		return nil, err
	}
	return newTable(s, out.Write, out.Close), nil
}

// unclosed keeps the Parquet writer from closing what it writes to.
type unclosed struct{ io.Writer }

func newTable(s *arrow.Schema, write func(arrow.Record) error, end func() error) *tableFormat {
	return &tableFormat{write: write, end: end, rows: array.NewRecordBuilder(memory.NewGoAllocator(), s)}
}

func (t *tableFormat) cost(s sample) int64 { return int64(len(s.image)+len(s.key)) + rowBytes }

func (t *tableFormat) pending() int64 { return t.held }

func (t *tableFormat) add(s sample) error {
	if t.count > 0 && (t.held+t.cost(s) > batchBytes || t.count == batchRows) {
		if err := t.flush(); err != nil {
			return err
		}
	}
	image := t.rows.Field(0).(*array.StructBuilder)
	image.Append(true)
	image.FieldBuilder(0).(*array.BinaryBuilder).Append(s.image)
	image.FieldBuilder(1).(*array.StringBuilder).Append(s.key)
	if len(t.rows.Fields()) > 1 {
		if label := t.rows.Field(1).(*array.Int64Builder); s.label != nil {
			label.Append(int64(*s.label))
		} else {
			label.AppendNull()
		}
	}
	t.count++
	t.held += t.cost(s)
	return nil
}

// flush writes what is held as a row group or batch.
func (t *tableFormat) flush() error {
	record := t.rows.NewRecord()
	defer record.Release()
	t.held, t.count = 0, 0
	if record.NumRows() == 0 {
		return nil
	}
	return t.write(record)
}

func (t *tableFormat) close() error {
	if err := t.flush(); err != nil {
		return err
	}
	t.rows.Release()
	return t.end()
}
