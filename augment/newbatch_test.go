package augment_test

import (
	"bytes"
	"testing"

	"mocostream/augment"

	"github.com/apache/arrow/go/v17/arrow/array"
)

func TestNewBatch(t *testing.T) {
	const size, n = 4, 3
	query, key := bytes.Repeat([]byte{1, 2, 3}, n*size*size), bytes.Repeat([]byte{7, 8, 9}, n*size*size)
	b, err := augment.NewBatch(size, query, key)
	if err != nil {
		t.Fatal(err)
	}
	if b.Len() != n || b.Size != size || !b.Record.Schema().Equal(augment.BatchSchema(size)) {
		t.Errorf("batch of %d views of %d pixels, %v", b.Len(), b.Size, b.Record.Schema())
	}
	if !bytes.Equal(b.Query(), query) || !bytes.Equal(b.Key(), key) || &b.Query()[0] != &query[0] {
		t.Error("pixels differ, or were copied")
	}
	offsets := b.Record.Column(augment.ColOffset).(*array.Int64)
	if offsets.Value(0) != 0 || offsets.Value(n-1) != n-1 {
		t.Errorf("offsets %v", offsets)
	}
	if b.Record.Column(augment.ColTime).NullN() != n || b.Record.Column(augment.ColLabel).NullN() != n {
		t.Error("samples have a time or label")
	}
	b.Release()
}

func TestNewBatchRefusesPartsOfViews(t *testing.T) {
	for name, lengths := range map[string][2]int{
		"none": {0, 0}, "part": {47, 47}, "unequal": {48, 96},
	} {
		if _, err := augment.NewBatch(4, make([]byte, lengths[0]), make([]byte, lengths[1])); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
