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

// AutoK chooses the length of the queue by the number of images: the largest power of two that is at most a third of
// them, at most 32768 up to 200,000 images and 65536 beyond (published practice of lightly-train: a longer queue holds
// keys of the query's own image). It is a whole number of times the keys of a step.
func AutoK(images int64, keys int) int {
	limit := 65536
	if images <= 200_000 {
		limit = 32768
	}
	k := 1
	for 2*k <= limit && int64(2*k)*3 <= images {
		k *= 2
	}
	return max(k/keys*keys, keys)
}

// AutoGroups is how many BatchNorm groups leave at least 32 images in each, a multiple of the devices that share the batch;
// one a device where that leaves fewer.
func AutoGroups(batch, devices int) int {
	for groups := batch / 32 / devices * devices; groups > devices; groups -= devices {
		if batch%groups == 0 {
			return groups
		}
	}
	return devices
}
