package jpeg_test

import (
	"testing"

	"mocostream/augment/jpeg"
	"mocostream/augment/rgb"
)

func BenchmarkScan(b *testing.B) {
	data := encode(b, 500, 375)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := jpeg.Scan(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeSmall shows what a decompressor of its own costs an image.
func BenchmarkDecodeSmall(b *testing.B) {
	data := encode(b, 8, 8)
	h, err := jpeg.Scan(data)
	if err != nil {
		b.Fatal(err)
	}
	var m rgb.Image
	for b.Loop() {
		if err := jpeg.Decode(&m, data, h); err != nil {
			b.Fatal(err)
		}
	}
}
