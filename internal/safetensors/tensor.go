// Package safetensors reads and writes the safetensors format (https://github.com/huggingface/safetensors).
package safetensors

// Tensor is a named array on the host. Data is little-endian and row-major; DType is the format's own name: F32, F64,
// F16, BF16, I64, I32, U8, BOOL, ...
type Tensor struct {
	Name  string
	DType string
	Shape []int
	Data  []byte
}
