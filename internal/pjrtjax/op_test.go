package pjrtjax

import (
	"reflect"
	"testing"
)

func TestOps(t *testing.T) {
	const program = `module @x {
  func.func @main(%arg0: tensor<4x3xui8>, %_v: tensor<2x2xbf16>) -> (tensor<f32>) {
    %1 = "stablehlo.convolution"(%9, %_v) {
      dimension_numbers = #stablehlo.conv<raw
        foo>
    } : (tensor<4x8x8x3xbf16>, tensor<16x3x3x3xbf16>) -> tensor<4x8x8x16xbf16>
    %14 = "stablehlo.reduce"(%11, %13) ({
      ^reductionFn(%lhs: tensor<f32>, %rhs: tensor<f32>) :
          %12 = "stablehlo.add"(%lhs, %rhs) : (tensor<f32>, tensor<f32>) -> tensor<f32>
          "stablehlo.return"(%12) : (tensor<f32>) -> ()
    }) { dimensions = array<i64: 2> } : (tensor<4x16xf32>, tensor<f32>) -> tensor<4xf32>
    %20:2 = "stablehlo.sort"(%1, %2) ({
    }) : (tensor<4xf32>, tensor<4xi32>) -> (tensor<4xf32>, tensor<4xi32>)
  }
}
`
	want := []Op{
		{"convolution", []string{"4x8x8x3xbf16", "16x3x3x3xbf16"}, []string{"4x8x8x16xbf16"}},
		{"add", []string{"f32", "f32"}, []string{"f32"}},
		{"return", []string{"f32"}, nil},
		{"reduce", []string{"4x16xf32", "f32"}, []string{"4xf32"}},
		{"sort", []string{"4xf32", "4xi32"}, []string{"4xf32", "4xi32"}},
	}
	if got := Ops(program); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v,\nwant %v", got, want)
	}
	for tensor, want := range map[string]string{"4x8xbf16": "bf16", "i32": "i32"} {
		if got := ElementType(tensor); got != want {
			t.Errorf("%s: %s, want %s", tensor, got, want)
		}
	}
}
