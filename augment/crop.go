package augment

import (
	"image"
	"math"
	"math/rand/v2"
)

// drawCrop draws the box of torchvision's RandomResizedCrop in a width x height image: ten tries at an area uniform in
// scale (of the image's) and an aspect ratio (width over height) log-uniform in ratio; if none fits, the largest central
// box with an allowed ratio.
func drawCrop(rng *rand.Rand, width, height int, scale, ratio [2]float64) image.Rectangle {
	area := float64(width * height)
	low, high := math.Log(ratio[0]), math.Log(ratio[1])
	for range 10 {
		target := area * uniform(rng, scale[0], scale[1])
		aspect := math.Exp(uniform(rng, low, high))
		w := int(math.RoundToEven(math.Sqrt(target * aspect)))
		h := int(math.RoundToEven(math.Sqrt(target / aspect)))
		if 0 < w && w <= width && 0 < h && h <= height {
			top, left := rng.IntN(height-h+1), rng.IntN(width-w+1)
			return image.Rect(left, top, left+w, top+h)
		}
	}
	return centralCrop(width, height, ratio)
}

func centralCrop(width, height int, ratio [2]float64) image.Rectangle {
	w, h := width, height
	switch in := float64(width) / float64(height); {
	case in < ratio[0]:
		h = int(math.RoundToEven(float64(w) / ratio[0]))
	case in > ratio[1]:
		w = int(math.RoundToEven(float64(h) * ratio[1]))
	}
	top, left := (height-h)/2, (width-w)/2
	return image.Rect(left, top, left+w, top+h)
}

// uniform draws from [low, high).
func uniform(rng *rand.Rand, low, high float64) float64 {
	return low + float64(rng.Float64()*(high-low))
}

// flip mirrors an image of size x size x 3 bytes left to right, in place.
func flip(pix []byte, size int) {
	for y := range size {
		row := pix[y*size*3:][:size*3]
		for i, j := 0, len(row)-3; i < j; i, j = i+3, j-3 {
			row[i], row[j] = row[j], row[i]
			row[i+1], row[j+1] = row[j+1], row[i+1]
			row[i+2], row[j+2] = row[j+2], row[i+2]
		}
	}
}
