package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// images makes n images of size bytes that do not compress and are no images: nothing here decodes them.
func images(seed byte, n, size int) [][]byte {
	random := rand.NewChaCha8([32]byte{seed})
	all := make([][]byte, n)
	for i := range all {
		all[i] = make([]byte, size)
		random.Read(all[i]) // never fails
	}
	return all
}

func tarOf(all [][]byte) ([]byte, error) {
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	for i, image := range all {
		for _, member := range []struct {
			kind    string
			content []byte
		}{{"jpg", image}, {"cls", fmt.Append(nil, i%10)}} {
			header := &tar.Header{Name: fmt.Sprintf("%06d.%s", i, member.kind), Mode: 0o644, Size: int64(len(member.content))}
			if err := w.WriteHeader(header); err != nil {
				return nil, err
			}
			if _, err := w.Write(member.content); err != nil {
				return nil, err
			}
		}
	}
	err := w.Close()
	return raw.Bytes(), err
}

func parquetOf(all [][]byte) ([]byte, error) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "key", Type: arrow.BinaryTypes.String}, {Name: "image", Type: arrow.BinaryTypes.Binary},
		{Name: "label", Type: arrow.PrimitiveTypes.Int32},
	}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	defer b.Release()
	for i, image := range all {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprint(i))
		b.Field(1).(*array.BinaryBuilder).Append(image)
		b.Field(2).(*array.Int32Builder).Append(int32(i % 10))
	}
	record := b.NewRecord()
	defer record.Release()
	var raw bytes.Buffer
	properties := parquet.NewWriterProperties(parquet.WithDictionaryDefault(false), parquet.WithMaxRowGroupLength(100))
	w, err := pqarrow.NewFileWriter(schema, nopCloser{&raw}, properties, pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, err
	}
	if err := w.Write(record); err != nil {
		return nil, err
	}
	err = w.Close()
	return raw.Bytes(), err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
