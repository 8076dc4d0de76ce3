package shard_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
	"mocostream/ingest/internal/shard"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
)

func withColumn(schema *arrow.Schema, name string, dt arrow.DataType) *arrow.Schema {
	fields := append([]arrow.Field(nil), schema.Fields()...)
	for i := range fields {
		if fields[i].Name == name {
			fields[i].Type = dt
		}
	}
	return arrow.NewSchema(fields, nil)
}

// tables are the same samples in every form that Arrow's own writers have.
func tables(t testing.TB, samples []ingesttest.Sample) map[string][]byte {
	all := map[string][]byte{}
	for name, schema := range map[string]*arrow.Schema{"flat": flatSchema, "struct": structSchema} {
		for _, codec := range []compress.Compression{
			compress.Codecs.Uncompressed, compress.Codecs.Snappy, compress.Codecs.Gzip, compress.Codecs.Brotli, compress.Codecs.Zstd,
		} {
			all[name+" "+codec.String()+".parquet"] = writeParquet(t, schema, samples, parquet.WithCompression(codec))
		}
		all[name+" plain.parquet"] = writeParquet(t, schema, samples, parquet.WithDictionaryDefault(false), parquet.WithDataPageSize(9000))
		all[name+" v2.PARQUET"] = writeParquet(t, schema, samples, parquet.WithDataPageVersion(parquet.DataPageV2),
			parquet.WithCompression(compress.Codecs.Zstd), parquet.WithDataPageSize(9000))
		all[name+" v2 plain.parquet"] = writeParquet(t, schema, samples, parquet.WithDataPageVersion(parquet.DataPageV2))
		all[name+" dictionary overflows.parquet"] = writeParquet(t, schema, samples, parquet.WithDictionaryPageSizeLimit(20_000))
		all[name+" file.arrow"] = writeArrow(t, true, schema, samples)
		all[name+" stream.arrow"] = writeArrow(t, false, schema, samples)
		all[name+" zstd.arrows"] = writeArrow(t, false, schema, samples, ipc.WithZstd())
		all[name+" lz4.feather"] = writeArrow(t, true, schema, samples, ipc.WithLZ4())
	}
	large := withColumn(flatSchema, "image", arrow.BinaryTypes.LargeBinary)
	all["large.arrow"] = writeArrow(t, true, large, samples)
	return all
}

func compare(t *testing.T, name string, got, want []ingesttest.Sample) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d samples, want %d", name, len(got), len(want))
		return
	}
	for i := range got {
		if !got[i].Equal(want[i]) {
			t.Errorf("%s: sample %d is %v, want %v", name, i, got[i], want[i])
			return
		}
	}
}

func TestTables(t *testing.T) {
	want := generate(130)
	want[7].Image, want[7].Problem = nil, "the row's image is null"
	for name, content := range tables(t, want) {
		n, err := shard.Count(t.Context(), &object{name: name, bytes: content})
		if err != nil || n != int64(len(want)) {
			t.Errorf("%s: counted %d, %v", name, n, err)
		}
		for _, from := range []int64{0, 1, 39, 40, 41, 100, 129, 130} {
			opts := options(t, 130)
			opts.From = from
			got, err := readAll(t, &object{name: name, bytes: content}, opts)
			if err != nil {
				t.Errorf("%s from %d: %v", name, from, err)
				continue
			}
			compare(t, name, got, want[from:])
		}
	}
}

func TestLastOfUnknownNumber(t *testing.T) {
	want := generate(130)
	for name, content := range tables(t, want) {
		opts := options(t, -1)
		opts.Row = func(sample int64) ingest.Row {
			return ingest.Row{ID: ingest.ID{Source: "s", Offset: sample}, Items: ingest.ManyItems}
		}
		got, err := readAll(t, &object{name: name, bytes: content}, opts)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		compare(t, name, got, want)
		for i, s := range got {
			if last := i == len(got)-1; !last && s.Items != ingest.ManyItems || last && s.Items != 130 {
				t.Errorf("%s: sample %d has %d items", name, i, s.Items)
			}
		}
	}
}

func TestAnotherCount(t *testing.T) {
	for name, content := range tables(t, generate(50)) {
		for _, count := range []int64{0, 49, 51} {
			_, err := readAll(t, &object{name: name, bytes: content}, options(t, count))
			if !errors.Is(err, ingest.ErrChanged) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "start a new run") {
				t.Errorf("%s listed with %d: %v", name, count, err)
			}
		}
		opts := options(t, 60)
		opts.From = 55
		if _, err := readAll(t, &object{name: name, bytes: content}, opts); !errors.Is(err, ingest.ErrChanged) {
			t.Errorf("%s from behind its end: %v", name, err)
		}
	}
}

func TestOversizeInTables(t *testing.T) {
	samples := generate(50)
	for name, content := range tables(t, samples) {
		opts := options(t, 50)
		opts.MaxBytes = 100
		got, err := readAll(t, &object{name: name, bytes: content}, opts)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i, s := range got {
			if want := samples[i].Image[:min(101, len(samples[i].Image))]; !bytes.Equal(s.Image, want) {
				t.Errorf("%s: image %d has %d bytes, want %d", name, i, len(s.Image), len(want))
			}
		}
	}
}

func TestColumns(t *testing.T) {
	samples := generate(5)
	rename := func(schema *arrow.Schema, from, to string) *arrow.Schema {
		fields := append([]arrow.Field(nil), schema.Fields()...)
		for i := range fields {
			if fields[i].Name == from {
				fields[i].Name = to
			}
		}
		return arrow.NewSchema(fields, nil)
	}
	for name, test := range map[string]struct {
		schema       *arrow.Schema
		image, label string
		want         string // in the error
	}{
		"by its name":      {rename(flatSchema, "image", "jpg"), "", "", ""},
		"by option":        {rename(flatSchema, "image", "photo"), "photo", "", ""},
		"struct by option": {rename(structSchema, "image", "photo"), "photo", "", ""},
		"dotted":           {rename(structSchema, "image", "photo"), "photo.bytes", "", ""},
		"label by option":  {rename(flatSchema, "label", "fine"), "", "fine", ""},
		"no image":         {rename(flatSchema, "image", "photo"), "", "", `"photo" bytes`},
		"wrong option":     {flatSchema, "photo", "", `no column "photo"`},
		"image is text":    {flatSchema, "__key__", "", `no column "__key__" of bytes`},
		"image of lists":   {flatSchema, "tags", "", `no column "tags"`},
		"no such label":    {flatSchema, "", "fine", `no column "fine" for the label`},
		"label is text":    {flatSchema, "", "__key__", `"__key__" holds no whole numbers`},
	} {
		for kind, content := range map[string][]byte{
			"x.parquet": writeParquet(t, test.schema, samples), "x.arrow": writeArrow(t, true, test.schema, samples),
		} {
			opts := options(t, 5)
			opts.ImageColumn, opts.LabelColumn = test.image, test.label
			got, err := readAll(t, &object{name: kind, bytes: content}, opts)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("%s in %s: %v", name, kind, err)
			case test.want == "":
				compare(t, name+" in "+kind, got, samples)
			case err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), kind):
				t.Errorf("%s in %s: error is %v, want %q in it", name, kind, err, test.want)
			}
		}
	}
}

// Keys that a table does not have are the numbers of its rows.
func TestRowNumberIsKey(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "bytes", Type: arrow.BinaryTypes.Binary}}, nil)
	for name, content := range map[string][]byte{
		"x.parquet": writeParquet(t, schema, generate(90)), "x.arrow": writeArrow(t, false, schema, generate(90)),
	} {
		opts := options(t, 90)
		opts.From = 88
		got, err := readAll(t, &object{name: name, bytes: content}, opts)
		if err != nil || len(got) != 2 || got[0].Key != "88" || got[1].Key != "89" || got[0].Label != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestLabelBeyond32Bits(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "image", Type: arrow.BinaryTypes.Binary}, {Name: "label", Type: arrow.PrimitiveTypes.Int64}}, nil)
	b := bigLabel(schema)
	defer b.Release()
	for name, content := range map[string][]byte{"x.parquet": parquetOf(t, b), "x.arrow": arrowOf(t, b)} {
		_, err := readAll(t, &object{name: name, bytes: content}, options(t, 1))
		if err == nil || !strings.Contains(err.Error(), "32 bits") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// However a table is cut or flipped, the reader ends, and a cut is an error.
func TestDamagedTables(t *testing.T) {
	for name, content := range tables(t, generate(45)) {
		for cut := range 10 {
			at := len(content) * cut / 10
			if _, err := readAll(t, &object{name: name, bytes: content[:at]}, options(t, 45)); err == nil {
				t.Errorf("%s cut at %d of %d is no error", name, at, len(content))
			} else if !strings.Contains(err.Error(), name) {
				t.Errorf("%s cut at %d: %v", name, at, err)
			}
		}
		for flip := range 25 {
			broken := bytes.Clone(content)
			broken[len(content)*flip/25] ^= 0x41
			_, _ = readAll(t, &object{name: name, bytes: broken}, options(t, 45)) // images have no checksum in most
		}
	}
}

// An object's own error is passed on as it is, not called damage.
func TestObjectFails(t *testing.T) {
	broken := errors.New("bucket on fire")
	for name, content := range tables(t, generate(130)) {
		for _, at := range []int64{0, 4, 100, int64(len(content) / 2)} {
			_, err := readAll(t, &object{name: name, bytes: content, fail: broken, failAt: at}, options(t, 130))
			if !errors.Is(err, broken) || strings.Contains(err.Error(), "damaged") {
				t.Errorf("%s fails at %d: %v", name, at, err)
			}
		}
		if _, err := shard.Count(t.Context(), &object{name: name, bytes: content, fail: broken}); !errors.Is(err, broken) {
			t.Errorf("counting %s: %v", name, err)
		}
	}
}

func TestCloseUnblocks(t *testing.T) {
	content := tables(t, generate(130))
	for _, name := range []string{"flat plain.parquet", "flat file.arrow"} {
		o := &object{name: name, bytes: content[name]}
		r, err := shard.Open(t.Context(), o, options(t, 130))
		if err != nil {
			t.Fatal(err)
		}
		o.block = make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			_, err := r.Next(t.Context())
			ended <- err
		}()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: Next is %v", name, err)
		}
	}
}

func TestCancelUnblocks(t *testing.T) {
	content := tables(t, generate(130))
	for _, name := range []string{"flat plain.parquet", "flat file.arrow"} {
		o := &object{name: name, bytes: content[name]}
		r, err := shard.Open(t.Context(), o, options(t, 130))
		if err != nil {
			t.Fatal(err)
		}
		o.block = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := r.Next(ctx)
			ended <- err
		}()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: Next is %v", name, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestIs(t *testing.T) {
	for name, want := range map[string]bool{
		"a.tar": true, "a.TAR.gz": true, "x/a.tgz": true, "a.Parquet": true, "a.arrow": true, "a.arrows": true, "a.feather": true,
		"a.jpg": false, "a.gz": false, "tar": false, "a.tar.zst": false, "x.tar/a": false, "": false,
	} {
		if got := shard.Is(name); got != want {
			t.Errorf("Is(%q) is %v", name, got)
		}
	}
}
