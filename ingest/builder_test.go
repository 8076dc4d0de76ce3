package ingest_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

func TestBuilder(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	b := ingest.NewBuilder(mem)
	defer b.Release()
	for round := range 3 {
		samples := ingesttest.Generate(int32(round), 40, 100*round)
		samples[3].Label, samples[4].Time = new(int32(-5)), new(arrow.Timestamp(99))
		samples[39].Image = bytes.Repeat([]byte{7}, 3<<20)
		for i, s := range samples {
			if i%2 == 0 {
				b.Append(s.Row, s.Image)
			} else if err := b.AppendFrom(s.Row, bytes.NewReader(s.Image), len(s.Image)); err != nil {
				t.Fatal(err)
			}
		}
		b.SetLabel(8)
		samples[39].Label = new(int32(8))
		record := b.Record()
		if !record.Schema().Equal(ingest.Schema) {
			t.Errorf("schema is %v", record.Schema())
		}
		for i, got := range ingesttest.Samples(record) {
			if !got.Equal(samples[i]) {
				t.Errorf("sample %d is %v, want %v", i, got, samples[i])
			}
		}
		record.Release()
	}
	if empty := b.Record(); empty.NumRows() != 0 {
		t.Errorf("%d rows without a sample", empty.NumRows())
	} else {
		empty.Release()
	}
	b.Append(ingest.Row{Key: "left behind"}, []byte("x"))
}

// An image that cannot be read leaves no trace in the record.
func TestBuilderReadErrors(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	b := ingest.NewBuilder(mem)
	defer b.Release()
	broken := errors.New("disk on fire")
	for _, test := range []struct {
		from io.Reader
		want error
	}{
		{strings.NewReader(""), io.ErrUnexpectedEOF},
		{strings.NewReader("abc"), io.ErrUnexpectedEOF},
		{io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), broken},
	} {
		if err := b.AppendFrom(ingest.Row{Key: "lost"}, test.from, 4); !errors.Is(err, test.want) {
			t.Errorf("error is %v, want %v", err, test.want)
		}
	}
	b.Append(ingest.Row{Key: "kept"}, []byte("image"))
	record := b.Record()
	defer record.Release()
	if got := ingesttest.Samples(record); len(got) != 1 || got[0].Key != "kept" || string(got[0].Image) != "image" {
		t.Errorf("got %v", got)
	}
}

// What a source says of a sample that it has no image for comes with the row.
func TestBuilderProblem(t *testing.T) {
	b := ingest.NewBuilder(nil)
	defer b.Release()
	b.Append(ingest.Row{Key: "a", Items: ingest.ManyItems, Problem: "object s3://b/a is gone"}, nil)
	b.Append(ingest.Row{Key: "b"}, []byte("image"))
	record := b.Record()
	defer record.Release()
	got := ingesttest.Samples(record)
	if got[0].Problem != "object s3://b/a is gone" || got[0].Items != ingest.ManyItems || got[1].Problem != "" || got[1].Items != 1 {
		t.Errorf("rows are %+v", got)
	}
}
