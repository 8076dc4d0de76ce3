package shard_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
	"mocostream/ingest/internal/shard"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// object is a shard in memory whose bodies cannot seek, like those of a bucket.
type object struct {
	name   string
	bytes  []byte
	opened int           // bodies
	read   int           // bytes
	fail   error         // of every read behind failAt
	failAt int64         // bytes
	block  chan struct{} // a read waits until it is closed; nil: never
	closed atomic.Int32
}

func (o *object) Name() string { return o.name }
func (o *object) Size() int64  { return int64(len(o.bytes)) }

func (o *object) ReadAt(p []byte, offset int64) (int, error) {
	if err := o.check(offset + int64(len(p))); err != nil {
		return 0, err
	}
	n, err := bytes.NewReader(o.bytes).ReadAt(p, offset)
	o.read += n
	return n, err
}

func (o *object) check(end int64) error {
	if o.block != nil {
		<-o.block
	}
	if o.closed.Load() > 0 {
		return net.ErrClosed
	}
	if o.fail != nil && end > o.failAt {
		return o.fail
	}
	return nil
}

func (o *object) From(_ context.Context, offset int64) (io.ReadCloser, error) {
	o.opened++
	return &objectBody{o, offset}, nil
}

func (o *object) Close() error {
	if o.closed.Add(1) == 1 && o.block != nil {
		close(o.block)
	}
	return nil
}

type objectBody struct {
	of *object
	at int64
}

func (b *objectBody) Read(p []byte) (int, error) {
	if b.at >= b.of.Size() {
		return 0, io.EOF
	}
	n, err := b.of.ReadAt(p, b.at)
	b.at += int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (b *objectBody) Close() error { return nil }

// options reads all that a shard has.
func options(t testing.TB, count int64) shard.Options {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	return shard.Options{
		Count: count, Labels: true, MaxBytes: 1 << 20, Allocator: mem,
		Row: func(sample int64) ingest.Row { return ingest.Row{ID: ingest.ID{Source: "s", Offset: sample}} },
	}
}

func readAll(t testing.TB, o shard.Object, opts shard.Options) ([]ingesttest.Sample, error) {
	t.Helper()
	r, err := shard.Open(t.Context(), o, opts)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return ingesttest.ReadAll(t.Context(), r)
}

// generate makes samples with and without labels, of images of many sizes.
func generate(n int) []ingesttest.Sample {
	all := ingesttest.Generate(0, n, 4000)
	for i := range all {
		s := &all[i]
		s.Source, s.Key, s.Image = "s", fmt.Sprintf("folder/%04d.jpg", i), s.Image[:(i*977)%4000]
		if i%5 != 4 {
			s.Label = new(int32(i%7 - 1))
		}
	}
	return all
}

// flatSchema has plain columns, and some that are none of ours.
var flatSchema = arrow.NewSchema([]arrow.Field{
	{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
	{Name: "label", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "score", Type: arrow.PrimitiveTypes.Float32, Nullable: true},
	{Name: "image", Type: arrow.BinaryTypes.Binary, Nullable: true},
	{Name: "__key__", Type: arrow.BinaryTypes.String},
}, nil)

// structSchema is as Hugging Face's datasets write it.
var structSchema = arrow.NewSchema([]arrow.Field{
	{Name: "image", Nullable: true, Type: arrow.StructOf(
		arrow.Field{Name: "bytes", Type: arrow.BinaryTypes.Binary, Nullable: true},
		arrow.Field{Name: "path", Type: arrow.BinaryTypes.String, Nullable: true})},
	{Name: "label", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
}, nil)

// record makes one of either schema; an image that is nil is null.
func record(schema *arrow.Schema, samples []ingesttest.Sample) arrow.Record {
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	defer b.Release()
	for _, s := range samples {
		for i, f := range b.Fields() {
			switch f := f.(type) {
			case *array.ListBuilder:
				f.Append(true)
				f.ValueBuilder().(*array.StringBuilder).AppendValues([]string{"a", "b"}, nil)
			case *array.Float32Builder:
				f.Append(0.5)
			case *array.Int64Builder:
				appendLabel(f, s.Label, func(x int32) { f.Append(int64(x)) })
			case *array.Int32Builder:
				appendLabel(f, s.Label, func(x int32) { f.Append(x) })
			case *array.BinaryBuilder:
				appendImage(f, s.Image)
			case *array.BinaryViewBuilder:
				if s.Image == nil {
					f.AppendNull()
				} else {
					f.Append(s.Image)
				}
			case *array.StringBuilder:
				f.Append(s.Key)
			case *array.StructBuilder:
				f.Append(true)
				appendImage(f.FieldBuilder(0).(*array.BinaryBuilder), s.Image)
				f.FieldBuilder(1).(*array.StringBuilder).Append(s.Key)
			default:
				panic(fmt.Sprint("field ", i))
			}
		}
	}
	return b.NewRecord()
}

func appendImage(b *array.BinaryBuilder, image []byte) {
	if image == nil {
		b.AppendNull()
	} else {
		b.Append(image)
	}
}

func appendLabel(b array.Builder, label *int32, add func(int32)) {
	if label == nil {
		b.AppendNull()
	} else {
		add(*label)
	}
}

// writeParquet writes row groups of 40 rows.
func writeParquet(t testing.TB, schema *arrow.Schema, samples []ingesttest.Sample, props ...parquet.WriterProperty) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(props...), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	for len(samples) > 0 {
		n := min(40, len(samples))
		r := record(schema, samples[:n])
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
		r.Release()
		samples = samples[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// seekBuffer is what a writer of Arrow files wants.
type seekBuffer struct{ bytes.Buffer }

func (s *seekBuffer) Seek(int64, int) (int64, error) { return int64(s.Len()), nil }

// writeArrow writes batches of 40 rows, as a file or a stream.
func writeArrow(t testing.TB, asFile bool, schema *arrow.Schema, samples []ingesttest.Sample, opts ...ipc.Option) []byte {
	t.Helper()
	var out seekBuffer
	opts = append(opts, ipc.WithSchema(schema))
	var w interface {
		Write(arrow.Record) error
		Close() error
	} = ipc.NewWriter(&out, opts...)
	if asFile {
		var err error
		if w, err = ipc.NewFileWriter(&out, opts...); err != nil {
			t.Fatal(err)
		}
	}
	for len(samples) > 0 {
		n := min(40, len(samples))
		r := record(schema, samples[:n])
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
		r.Release()
		samples = samples[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// bigLabel is a record of an image and a label that does not fit.
func bigLabel(schema *arrow.Schema) arrow.Record {
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	defer b.Release()
	b.Field(0).(*array.BinaryBuilder).Append([]byte("A"))
	b.Field(1).(*array.Int64Builder).Append(1 << 40)
	return b.NewRecord()
}

func parquetOf(t testing.TB, r arrow.Record, props ...parquet.WriterProperty) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(r.Schema(), &out, parquet.NewWriterProperties(props...), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(r), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func arrowOf(t testing.TB, r arrow.Record, opts ...ipc.Option) []byte {
	t.Helper()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, append(opts, ipc.WithSchema(r.Schema()))...)
	if err := errors.Join(w.Write(r), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
