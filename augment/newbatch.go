package augment

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// NewBatch makes a batch of pixels that came through no pool, for measurements and tests: query and key are
// [n, size, size, 3] uint8 each, n at least 1, and are used without a copy, so they must stay as they are until Release.
// Sample i is offset i of the source "", partition 0; it has no key, time or label.
func NewBatch(size int, query, key []byte) (Batch, error) {
	l := layout{views: 2, size: size}
	if size < 1 || len(query) == 0 || len(query)%l.image() != 0 || len(query) != len(key) {
		return Batch{}, fmt.Errorf("make batch: %d and %d bytes are not whole views of %d x %d pixels", len(query), len(key), size, size)
	}
	l.batch = len(query) / l.image()
	schema := BatchSchema(size)
	others := unnamed(schema.Fields()[ColSource:], l.batch)
	defer others.Release()
	queries := viewColumn(schema.Field(ColQuery).Type, memory.NewBufferBytes(query), l)
	defer queries.Release()
	keys := viewColumn(schema.Field(ColKeyView).Type, memory.NewBufferBytes(key), l)
	defer keys.Release()
	record := array.NewRecord(schema, append([]arrow.Array{queries, keys}, others.Columns()...), int64(l.batch))
	return Batch{Record: record, Size: size, release: record.Release}, nil
}

// unnamed makes the columns from ColSource on for n samples that nobody named.
func unnamed(fields []arrow.Field, n int) arrow.Record {
	rows := array.NewRecordBuilder(memory.NewGoAllocator(), arrow.NewSchema(fields, nil))
	defer rows.Release()
	for i, f := range fields {
		switch {
		case i == ColOffset-ColSource:
			for row := range n {
				rows.Field(i).(*array.Int64Builder).Append(int64(row))
			}
		case f.Nullable:
			rows.Field(i).AppendNulls(n)
		default:
			rows.Field(i).AppendEmptyValues(n)
		}
	}
	return rows.NewRecord()
}
