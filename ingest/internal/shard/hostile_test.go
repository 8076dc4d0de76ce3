package shard_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"mocostream/ingest/ingesttest"
	"mocostream/ingest/internal/shard"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
)

// zeros is a record of one image of so many bytes that pack to hardly any.
func zeros(size int) arrow.Record {
	schema := arrow.NewSchema([]arrow.Field{{Name: "image", Type: arrow.BinaryTypes.Binary}}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	defer b.Release()
	b.Field(0).(*array.BinaryBuilder).Append(make([]byte, size))
	return b.NewRecord()
}

// What unpacks to more than the limit is refused before it takes memory.
func TestBombs(t *testing.T) {
	const size, limit = 16 << 20, 4 << 20
	r := zeros(size)
	defer r.Release()
	bombs := map[string][]byte{
		"zstd.arrow": arrowOf(t, r, ipc.WithZstd()),
		"lz4.arrow":  arrowOf(t, r, ipc.WithLZ4()),
	}
	for _, codec := range []compress.Compression{compress.Codecs.Snappy, compress.Codecs.Gzip, compress.Codecs.Zstd} {
		bombs[codec.String()+".parquet"] = parquetOf(t, r, parquet.WithCompression(codec), parquet.WithDictionaryDefault(false))
		bombs[codec.String()+" dictionary.parquet"] = parquetOf(t, r, parquet.WithCompression(codec), parquet.WithDictionaryPageSizeLimit(1<<30))
	}
	for name, content := range bombs {
		opts := options(t, 1)
		opts.MaxBatch = limit
		before := allocated()
		_, err := readAll(t, &object{name: name, bytes: content}, opts)
		if err == nil || !strings.Contains(err.Error(), "over the limit") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if took := allocated() - before; took > limit+limit/2 {
			t.Errorf("%s took %d bytes", name, took)
		}
	}
}

// A page, or buffer, that unpacks to more than it says itself is no way around the limit.
func TestLyingBombs(t *testing.T) {
	const size, limit = 24 << 20, 4 << 20
	r := zeros(size)
	defer r.Release()
	for _, codec := range []compress.Compression{compress.Codecs.Snappy, compress.Codecs.Gzip, compress.Codecs.Zstd, compress.Codecs.Brotli} {
		content := parquetOf(t, r, parquet.WithCompression(codec), parquet.WithDictionaryDefault(false))
		lie(t, content, zigzag(size+4), zigzag(limit))
		checkLie(t, codec.String()+".parquet", content, limit)
	}
	for name, content := range map[string][]byte{
		"zstd.arrow": arrowOf(t, r, ipc.WithZstd()), "lz4.arrow": arrowOf(t, r, ipc.WithLZ4()),
	} {
		lie(t, content, binary.LittleEndian.AppendUint64(nil, size), binary.LittleEndian.AppendUint64(nil, limit/2))
		checkLie(t, name, content, limit)
	}
}

func zigzag(x int64) []byte { return binary.AppendVarint(nil, x) }

// lie replaces the size of the last page or buffer.
func lie(t *testing.T, content, truth, lie []byte) {
	t.Helper()
	at := bytes.LastIndex(content, truth)
	if at < 0 || len(lie) != len(truth) {
		t.Fatalf("size %x is not in the shard, or %x is not as long", truth, lie)
	}
	copy(content[at:], lie)
}

func checkLie(t *testing.T, name string, content []byte, limit uint64) {
	t.Helper()
	opts := options(t, 1)
	opts.MaxBatch = int64(limit)
	before := allocated()
	_, err := readAll(t, &object{name: name, bytes: content}, opts)
	if err == nil || strings.Contains(err.Error(), "over the limit") {
		t.Errorf("%s: %v", name, err)
	}
	if took := allocated() - before; took > 24<<20 { // brotli's window is 16 MiB
		t.Errorf("%s took %d bytes", name, took)
	}
}

// allocated is what was ever allocated, in bytes.
func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

// Descriptions that claim much cost no memory.
func TestHugeClaims(t *testing.T) {
	footer := func(thrift ...byte) []byte {
		out := append([]byte("PAR1"), thrift...)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(thrift)))
		return append(out, "PAR1"...)
	}
	message := func(length uint32) []byte {
		out := binary.LittleEndian.AppendUint32([]byte{255, 255, 255, 255}, length)
		return append(out, make([]byte, 64)...)
	}
	for name, content := range map[string][]byte{
		"list.parquet":   footer(0x29, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x0f, 0),                                   // a schema of 2^35 elements
		"string.parquet": footer(0x29, 0x1c, 0x48, 0xff, 0xff, 0xff, 0xff, 0x07, 0),                             // a name of 2^31 bytes
		"deep.parquet":   footer(bytes.Repeat([]byte{0x1c}, 1<<20)...),                                          // structs in structs
		"long.parquet":   append(footer(), "\xff\xff\xff\xff\xff\xff\xff\x7fPAR1"...),                           // a footer of 2 GiB
		"rows.parquet":   footer(0x36, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0),              // of 2^63-1 rows
		"parts.parquet":  footer(append([]byte{0x49, 0xfc, 0x80, 0x80, 0xc0, 0x01}, make([]byte, 3<<20)...)...), // 3 Mi empty groups
		"long.arrow":     message(1 << 30),
		"negative.arrow": message(0xfffffff0),
		"zeros.arrow":    message(64),
		"v1.feather":     []byte("FEA1 and so on"),
		"empty.arrow":    nil,
		"short.arrow":    []byte("ARROW1\x00\x00ARROW1"),
	} {
		before := allocated()
		if _, err := shard.Count(t.Context(), &object{name: name, bytes: content}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("count %s: %v", name, err)
		}
		if _, err := readAll(t, &object{name: name, bytes: content}, options(t, 1)); err == nil {
			t.Errorf("%s is no error", name)
		}
		if took := allocated() - before; took > 160<<20 {
			t.Errorf("%s took %d bytes", name, took)
		}
	}
}

// Binary views, as polars writes them.
func TestViews(t *testing.T) {
	samples := generate(50)
	for i := range samples {
		if i%3 == 0 {
			samples[i].Image = samples[i].Image[:min(i%14, len(samples[i].Image))] // up to 12 bytes lie in the view itself
		}
	}
	content := writeArrow(t, true, withColumn(flatSchema, "image", arrow.BinaryTypes.BinaryView), samples)
	got, err := readAll(t, &object{name: "x.arrow", bytes: content}, options(t, 50))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "views", got, samples)
}

// What is passed over is hardly read.
func TestSkipReadsLittle(t *testing.T) {
	samples := generate(400)
	for i := range samples {
		samples[i].Image = bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 4000)
	}
	for name, content := range map[string][]byte{
		"x.parquet": writeParquet(t, flatSchema, samples), "x.arrow": writeArrow(t, true, flatSchema, samples),
	} {
		o := &object{name: name, bytes: content}
		opts := options(t, 400)
		opts.From = 399
		if got, err := readAll(t, o, opts); err != nil || len(got) != 1 {
			t.Fatalf("%s: %d samples, %v", name, len(got), err)
		}
		if o.read > len(content)/4 {
			t.Errorf("%s: %d of %d bytes read for the last sample", name, o.read, len(content))
		}
	}
}

// Whatever a table holds, counting and reading it end, within bounds, and agree.
func FuzzTable(f *testing.F) {
	for name, content := range tables(f, generate(4)) {
		f.Add(content, strings.Contains(strings.ToLower(name), "parquet"))
	}
	f.Fuzz(func(t *testing.T, content []byte, parquet bool) {
		if len(content) > 1<<16 {
			return
		}
		name := "x.arrow"
		if parquet {
			name = "x.parquet"
		}
		opts := options(t, -1)
		opts.MaxBatch, opts.MaxBytes = 1<<20, 1000
		n, err := shard.Count(t.Context(), &object{name: name, bytes: content})
		if err != nil || n > 1<<16 {
			return
		}
		r, err := shard.Open(t.Context(), &object{name: name, bytes: content}, opts)
		if err != nil {
			return
		}
		defer r.Close()
		var all []ingesttest.Sample
		for {
			record, err := r.Next(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
			all = append(all, ingesttest.Samples(record)...)
			record.Release()
		}
		if int64(len(all)) != n {
			t.Fatalf("%d samples read, %d counted", len(all), n)
		}
		for i, s := range all {
			if s.Offset != int64(i) || len(s.Image) > 1001 {
				t.Fatalf("sample %d is %v", i, s)
			}
		}
	})
}
