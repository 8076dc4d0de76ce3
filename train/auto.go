package train

// AutoBatch is 256, or for a small set the largest power of two that is at most a quarter of it, so that an epoch has
// some steps.
func AutoBatch(images int64) int {
	batch := 256
	for batch > 2 && int64(batch)*4 > images {
		batch /= 2
	}
	return batch
}

// AutoK chooses the length of the queue by the number of images, as a quarter to a half of a small set (published
// practice of lightly-train: a longer queue holds keys of the query's own image), a whole number of batches and at least one.
func AutoK(images int64, batch int) int {
	k := 65536
	for _, step := range []struct {
		images int64
		k      int
	}{{100, 32}, {1_000, 256}, {10_000, 2048}, {20_000, 4096}, {60_000, 16384}, {200_000, 32768}} {
		if images <= step.images {
			k = step.k
			break
		}
	}
	if k < batch {
		return batch
	}
	return k / batch * batch
}

// AutoGroups is how many BatchNorm groups leave at least 32 images in each.
func AutoGroups(batch int) int {
	for groups := batch / 32; groups > 1; groups-- {
		if batch%groups == 0 {
			return groups
		}
	}
	return 1
}
