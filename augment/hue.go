package augment

// sectors tells, for each 8-bit hue, its sixth of the circle and how far it is into it; for each saturation, its value.
type sectors struct {
	sixth      [256]uint8
	fraction   [256]float32
	saturation [256]float32
}

func newSectors() *sectors {
	var t sectors
	for h := range 256 {
		position := float64(h) * 6 / 255
		t.sixth[h] = uint8(int(position) % 6)
		t.fraction[h] = float32(position - float64(int(position)))
		t.saturation[h] = float32(float64(h) / 255)
	}
	return &t
}

// adjustHue turns the hue by factor of a full turn, -0.5 to 0.5, through Pillow's 8-bit HSV, as torchvision does on Pillow
// images. It loses some colour resolution even at 0, as the original does.
func (t *sectors) adjustHue(pix []byte, factor float64) {
	shift := hueShift(factor)
	for len(pix) >= 3 {
		h, s, v := toHSV(pix[0], pix[1], pix[2])
		pix[0], pix[1], pix[2] = t.toRGB(h+shift, s, v)
		pix = pix[3:]
	}
}

// hueShift is what a turn adds to an 8-bit hue; it wraps around as the hue does.
func hueShift(factor float64) byte { return byte(int(factor * 255)) }

// toHSV is Pillow's conversion. The mix of float32 and float64 is Pillow's too, and shows in the last bit.
func toHSV(r, g, b byte) (h, s, v byte) {
	high, low := max(r, g, b), min(r, g, b)
	if high == low {
		return 0, 0, high
	}
	span := float32(high - low)
	rc, gc, bc := float32(high-r)/span, float32(high-g)/span, float32(high-b)/span
	var turn float32
	switch high {
	case r:
		turn = bc - gc
	case g:
		turn = float32(2 + float64(rc) - float64(bc))
	default:
		turn = float32(4 + float64(gc) - float64(rc))
	}
	hue := float64(turn)/6 + 1
	if hue >= 1 {
		hue-- // exact between 1 and 2, so it is fmod(hue, 1)
	}
	saturation := span / float32(high)
	return byte(int(float64(float32(hue)) * 255)), byte(int(float64(saturation) * 255)), high
}

// toRGB is Pillow's conversion.
func (t *sectors) toRGB(h, s, v byte) (r, g, b byte) {
	if s == 0 {
		return v, v, v
	}
	value, saturation, fraction := float64(v), t.saturation[s], t.fraction[h]
	p := roundByte(value * (1 - float64(saturation)))
	q := roundByte(value * (1 - float64(saturation*fraction)))
	u := roundByte(value * (1 - float64(float64(saturation)*(1-float64(fraction)))))
	switch t.sixth[h] {
	case 0:
		return v, u, p
	case 1:
		return q, v, p
	case 2:
		return p, v, u
	case 3:
		return p, q, v
	case 4:
		return u, p, v
	default:
		return v, p, q
	}
}

// roundByte takes a product; the conversion keeps it from being fused with the sum.
func roundByte(v float64) byte { return byte(int(float64(v) + 0.5)) }
