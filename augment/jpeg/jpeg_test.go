package jpeg_test

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	gojpeg "image/jpeg"
	"os"
	"strings"
	"sync"
	"testing"

	"mocostream/augment/jpeg"
	"mocostream/augment/rgb"
)

// encode returns a JPEG of a smooth picture.
func encode(t testing.TB, width, height int) []byte {
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			m.Set(x, y, color.RGBA{uint8(x * 3), uint8(y * 5), uint8(x + y), 255})
		}
	}
	var b bytes.Buffer
	if err := gojpeg.Encode(&b, m, &gojpeg.Options{Quality: 90}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(t testing.TB, name string) []byte {
	data, err := os.ReadFile("../testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestName(t *testing.T) {
	if n := jpeg.Name(); n != "go image/jpeg" && !strings.HasPrefix(n, "libjpeg") {
		t.Errorf("name is %q", n)
	}
}

func TestScanReadsHeader(t *testing.T) {
	for name, want := range map[string]jpeg.Header{
		"420.jpg":     {Width: 64, Height: 48, Components: 3, Scans: 1},
		"gray.jpg":    {Width: 64, Height: 48, Components: 1, Scans: 1},
		"cmyk.jpg":    {Width: 64, Height: 48, Components: 4, Scans: 1},
		"restart.jpg": {Width: 64, Height: 48, Components: 3, Scans: 1},
		"progressive.jpg": {
			Width: 64, Height: 48, Components: 3, Scans: 10, Progressive: true,
		},
	} {
		got, err := jpeg.Scan(read(t, name))
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
}

func TestScanRefuses(t *testing.T) {
	good := encode(t, 32, 32)
	sof := bytes.Index(good, []byte{0xFF, 0xC0})
	sos := bytes.Index(good, []byte{0xFF, 0xDA})
	edit := func(at int, v ...byte) []byte {
		data := bytes.Clone(good)
		copy(data[at:], v)
		return data
	}
	frame := good[sof : sof+2+17]
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"empty":                          {nil, jpeg.ErrCorrupt},
		"not a JPEG":                     {[]byte("hello"), jpeg.ErrCorrupt},
		"only SOI":                       {good[:2], jpeg.ErrTruncated},
		"cut in a segment":               {good[:sof+5], jpeg.ErrTruncated},
		"cut in the data":                {good[:len(good)-20], jpeg.ErrTruncated},
		"no EOI":                         {good[:len(good)-2], jpeg.ErrTruncated},
		"half of EOI":                    {good[:len(good)-1], jpeg.ErrTruncated},
		"arithmetic coding":              {edit(sof+1, 0xC9), jpeg.ErrUnsupported},
		"lossless":                       {edit(sof+1, 0xC3), jpeg.ErrUnsupported},
		"12 bits":                        {edit(sof+4, 12), jpeg.ErrUnsupported},
		"no height":                      {edit(sof+5, 0, 0), jpeg.ErrUnsupported},
		"no width":                       {edit(sof+7, 0, 0), jpeg.ErrUnsupported},
		"components and length disagree": {edit(sof+9, 2), jpeg.ErrCorrupt},
		"segment of length 1":            {edit(sof+2, 0, 1), jpeg.ErrCorrupt},
		"two frames":                     {bytes.Join([][]byte{good[:sof], frame, good[sof:]}, nil), jpeg.ErrCorrupt},
		"scan before frame":              {bytes.Join([][]byte{good[:sof], good[sof+19:]}, nil), jpeg.ErrCorrupt},
		"second SOI":                     {bytes.Join([][]byte{good[:sof], good[:2], good[sof:]}, nil), jpeg.ErrCorrupt},
		"garbage between segments":       {bytes.Join([][]byte{good[:sof], []byte("xyz"), good[sof:]}, nil), jpeg.ErrCorrupt},
		"no scan":                        {bytes.Join([][]byte{good[:sos], {0xFF, 0xD9}}, nil), jpeg.ErrCorrupt},
	} {
		if _, err := jpeg.Scan(c.data); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestDecodeIgnoresWhatFollowsEOI(t *testing.T) {
	data := append(encode(t, 32, 24), "another file"...)
	h, err := jpeg.Scan(data)
	if err != nil {
		t.Fatal(err)
	}
	var m rgb.Image
	if err := jpeg.Decode(&m, data, h); err != nil || m.Width != 32 || m.Height != 24 {
		t.Errorf("%d x %d, %v", m.Width, m.Height, err)
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	good := encode(t, 128, 128)
	sos := bytes.Index(good, []byte{0xFF, 0xDA})
	middle := (sos + len(good)) / 2
	short := append(bytes.Clone(good[:middle]), 0xFF, 0xD9) // lawful markers, half the data
	h, err := jpeg.Scan(short)
	if err != nil {
		t.Fatal(err)
	}
	var m rgb.Image
	if err := jpeg.Decode(&m, short, h); !errors.Is(err, jpeg.ErrTruncated) && !errors.Is(err, jpeg.ErrCorrupt) {
		t.Errorf("half the data: %v", err)
	}
	h.Width /= 2
	if err := jpeg.Decode(&m, good, h); err == nil {
		t.Error("decoded with a header of another image")
	}
}

// An image without tables must not be decoded with those of the image before.
func TestDecodeKeepsNothingBetweenImages(t *testing.T) {
	good := encode(t, 64, 64)
	var m rgb.Image
	h, err := jpeg.Scan(good)
	if err != nil {
		t.Fatal(err)
	}
	if err := jpeg.Decode(&m, good, h); err != nil {
		t.Fatal(err)
	}
	dqt, sof := bytes.Index(good, []byte{0xFF, 0xDB}), bytes.Index(good, []byte{0xFF, 0xC0})
	bare := append(bytes.Clone(good[:dqt]), good[sof:]...)
	h, err = jpeg.Scan(bare)
	if err != nil {
		t.Fatal(err)
	}
	if err := jpeg.Decode(&m, bare, h); err == nil && jpeg.Name() != "go image/jpeg" {
		t.Error("decoded an image without quantisation tables")
	}
}

func TestDecodeConcurrently(t *testing.T) {
	data := encode(t, 80, 60)
	h, err := jpeg.Scan(data)
	if err != nil {
		t.Fatal(err)
	}
	var want rgb.Image
	if err := jpeg.Decode(&want, data, h); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			var m rgb.Image
			for range 20 {
				if err := jpeg.Decode(&m, data, h); err != nil || !bytes.Equal(m.Pix, want.Pix) {
					t.Errorf("differs from the first decode: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"420.jpg", "progressive.jpg", "restart.jpg", "gray.jpg", "cmyk.jpg", "ycck.jpg"} {
		data := read(f, name)
		f.Add(data)
		f.Add(data[:len(data)/2])
		f.Add(data[:len(data)-1])
		for at := 20; at < len(data); at += len(data) / 7 {
			flipped := bytes.Clone(data)
			flipped[at] ^= 0x55
			f.Add(flipped)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := jpeg.Scan(data)
		if err != nil {
			known(t, err)
			return
		}
		if h.Width < 1 || h.Height < 1 || h.Scans < 1 || h.Components < 1 || h.Components > 4 {
			t.Fatalf("no error and %+v", h)
		}
		if h.Width*h.Height*h.Scans > 1<<20 {
			return // lawful, and too slow for fuzzing
		}
		var m rgb.Image
		if err := jpeg.Decode(&m, data, h); err != nil {
			known(t, err)
		} else if m.Width != h.Width || m.Height != h.Height || len(m.Pix) != h.Width*h.Height*3 {
			t.Fatalf("decoded %d x %d with %d bytes, header %+v", m.Width, m.Height, len(m.Pix), h)
		}
	})
}

func known(t *testing.T, err error) {
	if !errors.Is(err, jpeg.ErrTruncated) && !errors.Is(err, jpeg.ErrCorrupt) && !errors.Is(err, jpeg.ErrUnsupported) {
		t.Fatalf("error of no class: %v", err)
	}
}
