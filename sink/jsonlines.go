package sink

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"reflect"
)

// maxLine bounds a line of metrics.jsonl in bytes; a longer one is damage.
const maxLine = 1 << 20

// jsonLines returns the lines of r, newline included. A last line without one, which a crash cut off, is left out, and so
// is one longer than maxLine.
func jsonLines(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		b := bufio.NewReaderSize(r, maxLine)
		for skip := false; ; {
			line, err := b.ReadSlice('\n')
			switch {
			case errors.Is(err, io.EOF):
				return
			case errors.Is(err, bufio.ErrBufferFull):
				skip = true
				continue
			case err != nil:
				yield(nil, err)
				return
			}
			if !skip && !yield(line, nil) {
				return
			}
			skip = false
		}
	}
}

// marshalLine is json.Marshal and a newline, with null for the NaN and infinities that a diverging run has and JSON has
// not. v is a struct.
func marshalLine(v any) ([]byte, error) {
	line, err := json.Marshal(v)
	var unsupported *json.UnsupportedValueError
	if errors.As(err, &unsupported) {
		line, err = marshalNulls(reflect.ValueOf(v))
	}
	if err != nil {
		return nil, fmt.Errorf("encode line: %w", err)
	}
	return append(line, '\n'), nil
}

func marshalNulls(v reflect.Value) ([]byte, error) {
	finite := reflect.New(v.Type()).Elem()
	finite.Set(v)
	nulls := map[string]json.RawMessage{}
	for i := range v.NumField() {
		if f := v.Field(i); f.CanFloat() && (math.IsNaN(f.Float()) || math.IsInf(f.Float(), 0)) {
			finite.Field(i).SetFloat(0)
			nulls[v.Type().Field(i).Tag.Get("json")] = json.RawMessage("null")
		}
	}
	line, err := json.Marshal(finite.Interface())
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(line, &fields); err != nil {
		return nil, err
	}
	for name, null := range nulls {
		fields[name] = null
	}
	return json.Marshal(fields)
}

// unmarshalLine is json.Unmarshal into the struct at v, where a null number becomes NaN.
func unmarshalLine(line []byte, v any) error {
	if err := json.Unmarshal(line, v); err != nil || !bytes.Contains(line, []byte("null")) {
		return err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		return err
	}
	s := reflect.ValueOf(v).Elem()
	for i := range s.NumField() {
		if f := s.Field(i); f.CanFloat() && string(fields[s.Type().Field(i).Tag.Get("json")]) == "null" {
			f.SetFloat(math.NaN())
		}
	}
	return nil
}
