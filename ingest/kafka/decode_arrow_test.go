package kafka

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/klauspost/compress/zstd"
)

// stream writes batches of JSON rows as an Arrow stream, or as a file where file is set.
func stream(t testing.TB, schema *arrow.Schema, file bool, opts []ipc.Option, batches ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	opts = append(opts, ipc.WithSchema(schema))
	var w interface {
		Write(arrow.Record) error
		Close() error
	} = ipc.NewWriter(&out, opts...)
	if file {
		var err error
		w, err = ipc.NewFileWriter(&seekless{&out}, opts...)
		must(t, err)
	}
	for _, rows := range batches {
		rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
		must(t, err)
		must(t, w.Write(rec))
		rec.Release()
	}
	must(t, w.Close())
	return out.Bytes()
}

// seekless is a buffer whose only seek is to ask where it is.
type seekless struct{ *bytes.Buffer }

func (s *seekless) Seek(int64, int) (int64, error) { return int64(s.Len()), nil }

var (
	huggingFace = arrow.NewSchema([]arrow.Field{
		{Name: "embedding", Type: arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Float32), Nullable: true},
		{Name: "image", Type: arrow.StructOf(
			arrow.Field{Name: "path", Type: arrow.BinaryTypes.String, Nullable: true},
			arrow.Field{Name: "bytes", Type: arrow.BinaryTypes.Binary, Nullable: true}), Nullable: true},
		{Name: "label", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	}, nil)
	large = arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.LargeString, Nullable: true},
		{Name: "jpg", Type: arrow.BinaryTypes.LargeBinary, Nullable: true},
		{Name: "label", Type: arrow.PrimitiveTypes.Uint8, Nullable: true},
		{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_ms, Nullable: true},
		{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
	}, nil)
)

func TestArrowMessages(t *testing.T) {
	hf := `[{"embedding":[1,2],"image":{"bytes":"AQID","path":"a.jpg"},"label":3},{"embedding":null,"image":{"bytes":null,"path":"b.jpg"},"label":-1},
		{"embedding":[1,2],"image":null,"label":5000000000}]`
	other := `[{"id":"i","jpg":"AQID","label":200,"time":"2023-11-14 22:13:20.123","tags":["x"]},{"id":null,"jpg":"BAUG","label":null,"time":null,"tags":null}]`
	wantHF := []sample{{Key: "a.jpg", Image: "\x01\x02\x03", Label: 3}, {Key: "b.jpg", Problem: "no image", Label: -1}, {Key: "own", Problem: "no image", Label: -1}}
	wantOther := []sample{{Key: "i", Image: "\x01\x02\x03", Label: 200, Time: 1700000000123000}, {Key: "own", Image: "\x04\x05\x06", Label: -1}}
	for name, opts := range map[string][]ipc.Option{"plain": nil, "zstd": {ipc.WithZstd()}, "lz4": {ipc.WithLZ4()}} {
		for _, file := range []bool{false, true} {
			t.Run(fmt.Sprint(name, file), func(t *testing.T) {
				r := &record{Key: []byte("own"), Value: stream(t, huggingFace, file, opts, hf)}
				equal(t, unfold(t, DecoderOptions{}, r), wantHF)
				r.Value = stream(t, large, file, opts, other, "[]", other)
				equal(t, unfold(t, DecoderOptions{Schema: SchemaArrow}, r), append(wantOther, wantOther...))
			})
		}
	}
	whole := stream(t, large, false, nil, other)
	equal(t, unfold(t, DecoderOptions{}, &record{Value: stream(t, large, false, nil)}), nil)
	equal(t, unfold(t, DecoderOptions{MaxItems: 3}, &record{Key: []byte("own"), Value: stream(t, large, false, nil, other, other)}),
		[]sample{{Key: "own", Problem: "more than 3", Label: -1}})
	noEnd := whole[:len(whole)-8] // a stream may just stop between messages
	equal(t, unfold(t, DecoderOptions{}, &record{Key: []byte("own"), Value: noEnd}), wantOther)
}

// What this program itself passes on is read as it was.
func TestArrowOfOwnSchema(t *testing.T) {
	b := ingest.NewBuilder(nil)
	defer b.Release()
	label := int32(4)
	b.Append(ingest.Row{ID: ingest.ID{Source: "s", Offset: 1}, Key: "k", Label: &label}, []byte(jpegBytes))
	rec := b.Record()
	defer rec.Release()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(ingest.Schema), ipc.WithZstd())
	must(t, w.Write(rec))
	must(t, w.Close())
	equal(t, unfold(t, DecoderOptions{}, &record{Value: out.Bytes()}), []sample{{Key: "k", Image: jpegBytes, Label: 4}})
}

func TestUnsupportedArrow(t *testing.T) {
	for want, schema := range map[string]*arrow.Schema{
		"no column image": arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.BinaryTypes.Binary}}, nil),
		"send plain values": arrow.NewSchema([]arrow.Field{{Name: "image", Type: arrow.BinaryTypes.Binary},
			{Name: "m", Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.String)}}, nil),
		"dictionary": arrow.NewSchema([]arrow.Field{{Name: "image", Type: arrow.BinaryTypes.Binary},
			{Name: "label", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}}}, nil),
		"no column image, img": arrow.NewSchema([]arrow.Field{{Name: "image", Type: arrow.BinaryTypes.String}}, nil),
	} {
		equal(t, unfold(t, DecoderOptions{}, &record{Value: stream(t, schema, false, nil)}), []sample{{Problem: want, Label: -1}})
	}
}

// allocated returns the bytes that f asks the heap for.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Whatever byte of a message is damaged, and wherever it is cut, it is a bad image or other images, never a panic, nor
// memory without bound.
func TestDamagedArrow(t *testing.T) {
	rows := `[{"embedding":[1,2],"image":{"bytes":"AQID","path":"a.jpg"},"label":3}]`
	for _, opts := range [][]ipc.Option{nil, {ipc.WithZstd()}} {
		whole := stream(t, huggingFace, false, opts, rows)
		o := DecoderOptions{Schema: SchemaArrow, MaxImage: 1 << 16, MaxMessage: 1 << 20}
		for i := range whole {
			got := allocated(func() {
				unfold(t, o, &record{Value: whole[:i]})
				for _, b := range []byte{0, 0x7f, 0x80, 0xff, whole[i] ^ 1} {
					damaged := bytes.Clone(whole)
					damaged[i] = b
					unfold(t, o, &record{Value: damaged})
				}
			})
			if got > 16<<20 { // six messages
				t.Errorf("byte %d: %d MiB allocated", i, got>>20)
			}
		}
	}
}

// A message of few bytes that unfolds to many is refused before it does.
func TestArrowBombs(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "image", Type: arrow.BinaryTypes.Binary}}, nil)
	bld := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer bld.Release()
	bld.Field(0).(*array.BinaryBuilder).Append(make([]byte, 64<<20))
	rec := bld.NewRecord()
	defer rec.Release()
	for _, opt := range []ipc.Option{ipc.WithZstd(), ipc.WithLZ4()} {
		var out bytes.Buffer
		w := ipc.NewWriter(&out, ipc.WithSchema(schema), opt)
		must(t, w.Write(rec))
		must(t, w.Close())
		var got []sample
		n := allocated(func() {
			got = unfold(t, DecoderOptions{MaxImage: 1 << 20, MaxMessage: 32 << 20}, &record{Value: out.Bytes()})
		})
		equal(t, got, []sample{{Problem: errArrowMemory.Error(), Label: -1}})
		if n > 4<<20 {
			t.Errorf("%d bytes of message took %d MiB", out.Len(), n>>20)
		}
	}
}

func TestZstdWindows(t *testing.T) {
	prefixed := func(size int64, frames ...[]byte) []byte {
		return append(binary.LittleEndian.AppendUint64(nil, uint64(size)), bytes.Join(frames, nil)...)
	}
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithWindowSize(1<<29), zstd.WithSingleSegment(false))
	must(t, err)
	_, err = w.Write(make([]byte, 1<<20))
	must(t, err)
	must(t, w.Flush())
	must(t, w.Close())
	small, err := zstd.NewWriter(nil)
	must(t, err)
	defer small.Close()
	frame := small.EncodeAll([]byte("abc"), nil)
	for name, c := range map[string]struct {
		buffer []byte
		ok     bool
	}{
		"one frame":     {prefixed(3, frame), true},
		"as it is":      {prefixed(-1, []byte("abc")), true},
		"negative":      {prefixed(-2, frame), false},
		"large window":  {prefixed(1<<20, out.Bytes()), false},
		"second frame":  {prefixed(6, frame, frame), false},
		"cut":           {prefixed(3, frame[:len(frame)-1]), false},
		"skipped first": {prefixed(3, []byte("\x50\x2a\x4d\x18\x00\x00\x00\x00"), frame), false},
		"no frame":      {prefixed(3, []byte("abcdefgh")), false},
	} {
		if _, err := unfolds(codecZstd, c.buffer); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n, err := unfolds(codecLZ4, prefixed(math.MaxInt64)); n != math.MaxInt64 || err != nil {
		t.Errorf("lz4: %d, %v", n, err)
	}
}

func FuzzArrow(f *testing.F) {
	rows := `[{"embedding":[1,2],"image":{"bytes":"AQID","path":"a.jpg"},"label":3}]`
	for _, file := range []bool{false, true} {
		f.Add(stream(f, huggingFace, file, nil, rows, rows))
		f.Add(stream(f, huggingFace, file, []ipc.Option{ipc.WithZstd()}, rows))
		f.Add(stream(f, huggingFace, file, []ipc.Option{ipc.WithLZ4()}, rows))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		unfold(t, DecoderOptions{Schema: SchemaArrow, MaxImage: 1 << 16, MaxMessage: 1 << 20, MaxItems: 100}, &record{Value: value})
	})
}
