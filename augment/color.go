package augment

// The operations of torchvision's ColorJitter on Pillow images, in place on RGB bytes. Each is Pillow's ImageEnhance: a
// blend between a degenerate image and the picture, in float32, truncated to a byte.

// luma is Pillow's conversion to "L": ITU-R 601-2 in 16-bit fixed point.
func luma(r, g, b byte) byte {
	return byte((uint32(r)*19595 + uint32(g)*38470 + uint32(b)*7471 + 0x8000) >> 16)
}

// blend goes from degenerate (factor 0) to v (factor 1) and beyond.
func blend(degenerate, v byte, factor float32) byte {
	d := float32(degenerate)
	mixed := d + float32(factor*(float32(v)-d)) // the conversion keeps the compiler from fusing the two, on any machine
	return byte(min(max(int32(mixed), 0), 255))
}

// adjustBrightness blends with black.
func adjustBrightness(pix []byte, factor float32) { blendWith(pix, 0, factor) }

// adjustContrast blends with the mean luma.
func adjustContrast(pix []byte, factor float32) {
	sum := 0
	for i := 0; i+2 < len(pix); i += 3 {
		sum += int(luma(pix[i], pix[i+1], pix[i+2]))
	}
	mean := float64(sum) / float64(len(pix)/3)
	blendWith(pix, byte(mean+0.5), factor)
}

func blendWith(pix []byte, degenerate byte, factor float32) {
	var table [256]byte
	for v := range table {
		table[v] = blend(degenerate, byte(v), factor)
	}
	for i, v := range pix {
		pix[i] = table[v]
	}
}

// adjustSaturation blends each pixel with its luma.
func adjustSaturation(pix []byte, factor float32) {
	for len(pix) >= 3 {
		p := pix[:3:3]
		gray := luma(p[0], p[1], p[2])
		p[0], p[1], p[2] = blend(gray, p[0], factor), blend(gray, p[1], factor), blend(gray, p[2], factor)
		pix = pix[3:]
	}
}

// toGray replaces each pixel by its luma.
func toGray(pix []byte) {
	for len(pix) >= 3 {
		gray := luma(pix[0], pix[1], pix[2])
		pix[0], pix[1], pix[2] = gray, gray, gray
		pix = pix[3:]
	}
}
