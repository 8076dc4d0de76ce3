package train_test

import (
	"testing"

	"mocostream/train"
)

func TestAutoK(t *testing.T) {
	for _, c := range []struct {
		images int64
		batch  int
		want   int
	}{
		{100, 16, 32}, {1_000, 64, 256}, {1_200, 256, 256}, {10_000, 64, 2048}, {20_000, 256, 4096}, {60_000, 256, 16384},
		{200_000, 256, 32768}, {1_281_167, 256, 65536}, // lightly-train's table
		{10_000, 100, 2000},      // a whole number of batches
		{100, 64, 64}, {3, 2, 2}, // at least one
	} {
		if got := train.AutoK(c.images, c.batch); got != c.want {
			t.Errorf("%d images, batch %d: %d, want %d", c.images, c.batch, got, c.want)
		}
	}
}

func TestAutoBatch(t *testing.T) {
	for images, want := range map[int64]int{2: 2, 8: 2, 100: 16, 1023: 128, 1024: 256, 1_000_000: 256} {
		if got := train.AutoBatch(images); got != want {
			t.Errorf("%d images: %d, want %d", images, got, want)
		}
	}
}

func TestAutoGroups(t *testing.T) {
	for c, want := range map[[2]int]int{
		{2, 1}: 1, {32, 1}: 1, {63, 1}: 1, {64, 1}: 2, {100, 1}: 2, {256, 1}: 8, {97, 1}: 1,
		{256, 2}: 8, {256, 8}: 8, {64, 8}: 8, {192, 4}: 4, {2048, 8}: 64,
	} {
		if got := train.AutoGroups(c[0], c[1]); got != want {
			t.Errorf("batch %d on %d devices: %d, want %d", c[0], c[1], got, want)
		}
	}
}
