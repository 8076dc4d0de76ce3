package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// FromFloat32s returns an F32 tensor with a copy of x. Write refuses it if shape and len(x) do not agree.
func FromFloat32s(name string, shape []int, x []float32) Tensor {
	data := make([]byte, 4*len(x))
	for i, v := range x {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(v))
	}
	return Tensor{Name: name, DType: "F32", Shape: slices.Clone(shape), Data: data}
}

// FromInt64s returns an I64 tensor with a copy of x. Write refuses it if shape and len(x) do not agree.
func FromInt64s(name string, shape []int, x []int64) Tensor {
	data := make([]byte, 8*len(x))
	for i, v := range x {
		binary.LittleEndian.PutUint64(data[8*i:], uint64(v))
	}
	return Tensor{Name: name, DType: "I64", Shape: slices.Clone(shape), Data: data}
}

// Int64s returns the values of an I64 tensor.
func Int64s(t Tensor) ([]int64, error) {
	if t.DType != "I64" {
		return nil, fmt.Errorf("tensor %s is %s, want I64", t.Name, t.DType)
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	x := make([]int64, len(t.Data)/8)
	for i := range x {
		x[i] = int64(binary.LittleEndian.Uint64(t.Data[8*i:]))
	}
	return x, nil
}

// Float32s returns the values of an F32, F16, BF16 or F64 tensor; F64 is rounded to the nearest float32.
func Float32s(t Tensor) ([]float32, error) {
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	le := binary.LittleEndian
	switch t.DType {
	case "F32":
		return convert(t.Data, 4, func(b []byte) float32 { return math.Float32frombits(le.Uint32(b)) }), nil
	case "F64":
		return convert(t.Data, 8, func(b []byte) float32 { return float32(math.Float64frombits(le.Uint64(b))) }), nil
	case "BF16":
		return convert(t.Data, 2, func(b []byte) float32 { return math.Float32frombits(uint32(le.Uint16(b)) << 16) }), nil
	case "F16":
		return convert(t.Data, 2, func(b []byte) float32 { return half(le.Uint16(b)) }), nil
	}
	return nil, fmt.Errorf("tensor %s is %s, want F32, F16, BF16 or F64", t.Name, t.DType)
}

func convert(data []byte, size int, f func([]byte) float32) []float32 {
	x := make([]float32, len(data)/size)
	for i := range x {
		x[i] = f(data[size*i:])
	}
	return x
}

// half widens an IEEE 754 binary16.
func half(h uint16) float32 {
	sign := uint32(h>>15) << 31
	exp, frac := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0: // zero and subnormals: frac * 2^-24 is exact in float32
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	case 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}
