package augment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"runtime"
	"strings"
	"testing"
)

// photo returns a picture with detail at every scale.
func photo(width, height int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	seed := uint32(1)
	for y := range height {
		for x := range width {
			seed = seed*1664525 + 1013904223
			noise := int(seed >> 28)
			m.SetRGBA(x, y, color.RGBA{byte(x*255/width + noise), byte(y*200/height + noise), byte((x/9+y/7)*16 + noise), 255})
		}
	}
	return m
}

func encodeJPEG(t testing.TB, m image.Image) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 90}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func encodePNG(t testing.TB, m image.Image) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// claimJPEG returns a small file whose frame header says width x height.
func claimJPEG(t testing.TB, width, height uint16) []byte {
	data := encodeJPEG(t, photo(32, 32))
	sof := bytes.Index(data, []byte{0xFF, 0xC0})
	binary.BigEndian.PutUint16(data[sof+5:], height)
	binary.BigEndian.PutUint16(data[sof+7:], width)
	return data
}

// manyScans repeats the last scan of a progressive file.
func manyScans(t testing.TB, n int) []byte {
	data := readFile(t, "progressive.jpg")
	last := bytes.LastIndex(data, []byte{0xFF, 0xDA})
	scan := data[last : len(data)-2]
	return bytes.Join([][]byte{data[:last], bytes.Repeat(scan, n), {0xFF, 0xD9}}, nil)
}

// claimPNG returns a PNG file whose header, checksum included, says width x height.
func claimPNG(t testing.TB, width, height uint32) []byte {
	data := encodePNG(t, photo(32, 32))
	binary.BigEndian.PutUint32(data[16:], width)
	binary.BigEndian.PutUint32(data[20:], height)
	binary.BigEndian.PutUint32(data[29:], crc32.ChecksumIEEE(data[12:29]))
	return data
}

func TestHostileFilesAreRefusedCheaply(t *testing.T) {
	large := encodeJPEG(t, photo(640, 480))
	for name, c := range map[string]struct {
		img    []byte
		limits Limits
		want   string
	}{
		"nothing":                 {nil, Limits{}, ReasonEmpty},
		"one byte":                {[]byte{0xFF}, Limits{}, ReasonNotAnImage},
		"text":                    {[]byte(strings.Repeat("not an image\n", 1000)), Limits{}, ReasonNotAnImage},
		"zeros":                   {make([]byte, 4096), Limits{}, ReasonNotAnImage},
		"GIF":                     {[]byte("GIF89a............"), Limits{}, ReasonNotAnImage},
		"JPEG of 30000 x 30000":   {claimJPEG(t, 30000, 30000), Limits{}, ReasonSide},
		"JPEG of 16000 x 16000":   {claimJPEG(t, 16000, 16000), Limits{}, ReasonTooManyPixels},
		"JPEG of 7000 x 7000":     {claimJPEG(t, 7000, 7000), Limits{}, ReasonRatio},
		"JPEG of 4 x 4":           {claimJPEG(t, 4, 4), Limits{}, ReasonTooSmall},
		"JPEG of 3000 scans":      {manyScans(t, 3000), Limits{}, ReasonTooManyScans},
		"JPEG of scans x pixels":  {bytes.Replace(manyScans(t, 90), frame(64, 48), frame(5000, 5000), 1), Limits{}, ReasonTooManyScans},
		"JPEG of too many bytes":  {large, Limits{MaxBytes: len(large) - 1}, ReasonTooLargeBytes},
		"JPEG of too many pixels": {large, Limits{MaxPixels: 640*480 - 1}, ReasonTooManyPixels},
		"JPEG too wide":           {large, Limits{MaxSide: 639}, ReasonSide},
		"JPEG too low":            {large, Limits{MinSide: 481}, ReasonTooSmall},
		"half a JPEG":             {large[:len(large)/2], Limits{}, ReasonTruncated},
		"JPEG magic":              {[]byte{0xFF, 0xD8, 0xFF}, Limits{}, ReasonTruncated},
		"PNG of 2^31-1 x 2^20":    {claimPNG(t, 1<<31-1, 1<<20), Limits{}, ReasonSide},
		"PNG of 2^31-1 squared":   {claimPNG(t, 1<<31-1, 1<<31-1), Limits{}, ReasonSide},
		"PNG of 2^32-1 squared":   {claimPNG(t, 1<<32-1, 1<<32-1), Limits{}, ReasonCorrupt},
		"PNG of 16000 x 16000":    {claimPNG(t, 16000, 16000), Limits{}, ReasonTooManyPixels},
		"PNG of 7000 x 7000":      {claimPNG(t, 7000, 7000), Limits{}, ReasonRatio},
		"PNG of 0 x 8":            {claimPNG(t, 0, 8), Limits{}, ReasonTooSmall},
		"PNG magic":               {[]byte(pngMagic), Limits{}, ReasonTruncated},
		"PNG without a header":    {[]byte(pngMagic + strings.Repeat("x", 40)), Limits{}, ReasonCorrupt},
		"half a PNG":              {half(encodePNG(t, photo(64, 64))), Limits{}, ReasonTruncated},
		"PNG, one bit wrong":      {flipped(encodePNG(t, photo(64, 64))), Limits{}, ReasonCorrupt},
		"half a WebP":             {half(readFile(t, "lossless.webp")), Limits{}, ReasonTruncated},
		"WebP of 16384 x 16384":   {vp8x(1<<14, 1<<14), Limits{}, ReasonTooManyPixels},
	} {
		allocated, err := measure(func() error { _, err := DecodeRGB(c.img, c.limits); return err })
		var bad *BadImage
		if !errors.As(err, &bad) || bad.Reason != c.want || bad.Detail == "" {
			t.Errorf("%s: %v, want reason %s", name, err, c.want)
		}
		if allocated > 1<<20 {
			t.Errorf("%s: allocated %d bytes before it was refused", name, allocated)
		}
	}
}

// frame is the start of a progressive frame header.
func frame(width, height uint16) []byte {
	b := []byte{0xFF, 0xC2, 0, 17, 8}
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, height), width)
}

func half(data []byte) []byte { return data[:len(data)/2] }

func flipped(data []byte) []byte {
	data[len(data)/2] ^= 1
	return data
}

// vp8x returns the start of an extended WebP file with a canvas of width x height.
func vp8x(width, height int) []byte {
	b := []byte("RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00")
	for _, v := range []int{width - 1, height - 1} {
		b = append(b, byte(v), byte(v>>8), byte(v>>16))
	}
	return b
}

// measure returns the bytes that f allocates on Go's heap.
func measure(f func() error) (uint64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, err
}

func TestManyScansWithinTheLimitAreRead(t *testing.T) {
	if _, err := DecodeRGB(readFile(t, "progressive.jpg"), Limits{MaxScans: 10}); err != nil {
		t.Error(err)
	}
	if _, err := DecodeRGB(readFile(t, "progressive.jpg"), Limits{MaxScans: 9}); err == nil {
		t.Error("read 10 scans where 9 are allowed")
	}
}

// A huge image must not leave its buffer with the worker for ever.
func TestDecoderDropsOversizeBuffer(t *testing.T) {
	d := decoder{limits: Limits{}.WithDefaults()}
	if _, err := d.decode(encodeJPEG(t, photo(3400, 2600))); err != nil {
		t.Fatal(err)
	}
	if cap(d.rgb.Pix) <= keptBytes {
		t.Fatal("image is not oversize")
	}
	if _, err := d.decode(readFile(t, "420.jpg")); err != nil {
		t.Fatal(err)
	}
	if got := cap(d.rgb.Pix); got > keptBytes {
		t.Errorf("kept %d bytes", got)
	}
}

// FuzzDecodeRGB: whatever the bytes, the answer is pixels of the right number or a *BadImage with a known reason.
func FuzzDecodeRGB(f *testing.F) {
	names := []string{"420.jpg", "progressive.jpg", "cmyk.jpg", "palette.png", "la.png", "bits.png", "lossy.webp", "alpha.webp", "lossless.webp"}
	for _, name := range names {
		data := readFile(f, name)
		f.Add(data)
		f.Add(half(data))
		f.Add(flipped(bytes.Clone(data)))
	}
	f.Add(encodeJPEG(f, photo(40, 24)))
	f.Add(encodePNG(f, photo(24, 40)))
	f.Add(claimPNG(f, 1<<31-1, 1<<31-1))
	f.Add(vp8x(1<<14, 1<<14))
	reasons := []string{ReasonEmpty, ReasonNotAnImage, ReasonUnsupported, ReasonTooLargeBytes, ReasonTooManyPixels, ReasonSide,
		ReasonTooSmall, ReasonTooManyScans, ReasonRatio, ReasonTruncated, ReasonCorrupt}
	limits := Limits{MaxPixels: 1 << 20, MaxSide: 4096, MaxScans: 20}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeRGB(data, limits)
		var bad *BadImage
		switch {
		case err == nil && (len(m.Pix) != m.Width*m.Height*3 || m.Width*m.Height > 1<<20 || min(m.Width, m.Height) < 8):
			t.Fatalf("%d x %d pixels in %d bytes", m.Width, m.Height, len(m.Pix))
		case err != nil && (!errors.As(err, &bad) || !strings.Contains(strings.Join(reasons, " "), bad.Reason)):
			t.Fatalf("no bad image: %v", err)
		}
	})
}
