package augment

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// formatRow is a row of the table of formats in docs/data.md. The files of a row that are read are compared with Pillow's
// pixels in TestDecodeIsPillows.
type formatRow struct {
	format, outcome string
	files           []string // below testdata
	made            map[string][]byte
	reasons         []string // of the BadImage; none where it is read
}

func formatRows(t testing.TB) []formatRow {
	whole := func(name string) []byte { return readFile(t, name) }
	short := map[string][]byte{"jpeg": whole("420.jpg"), "png": whole("source.png"), "webp": whole("lossy.webp")}
	for name, data := range short {
		short[name] = half(data)
	}
	short["jpeg without its last two bytes"] = bytes.TrimSuffix(whole("420.jpg"), []byte{0xFF, 0xD9})
	frame := func(offset int, v byte) []byte {
		data := whole("420.jpg")
		data[bytes.Index(data, []byte{0xFF, 0xC0})+offset] = v
		return data
	}
	return []formatRow{
		{"JPEG, baseline, extended or progressive", "read; restart markers too",
			[]string{"420.jpg", "formats/extended.jpg", "progressive.jpg", "restart.jpg", "formats/progressive420.jpg"}, nil, nil},
		{"JPEG 4:4:4, 4:2:2, 4:2:0, 4:4:0, 4:1:1, 4:1:0", "read",
			[]string{"444.jpg", "422.jpg", "420.jpg", "formats/440.jpg", "formats/411.jpg", "formats/410.jpg"}, nil, nil},
		{"JPEG gray, RGB, YCbCr, CMYK, YCCK", "read as RGB; of four inks 255 is taken for none, as Adobe writes them",
			[]string{"gray.jpg", "rgb.jpg", "420.jpg", "cmyk.jpg", "ycck.jpg"}, nil, nil},
		{"JPEG with 12 bits, lossless, arithmetic coding, hierarchical, 2 components", "bad: `unsupported`",
			[]string{"formats/arithmetic.jpg"}, map[string][]byte{
				"12 bits": frame(4, 12), "lossless": frame(1, 0xC3), "hierarchical": frame(1, 0xC5), "2 components": twoComponents(whole("420.jpg")),
			}, []string{ReasonUnsupported}},
		{"JPEG with bytes behind its end", "read, the bytes ignored", nil,
			map[string][]byte{"trailing": append(whole("420.jpg"), "more"...)}, nil},
		{"PNG gray, RGB, palette, 1 to 8 bits, interlaced", "read", []string{
			"bits.png", "formats/gray1.png", "formats/gray2.png", "formats/gray4.png", "formats/palette1.png",
			"formats/palette2.png", "formats/palette4.png", "palette.png", "source.png", "formats/interlaced.png",
		}, nil, nil},
		{"PNG of 16 bits", "read, the high byte of each channel", []string{
			"formats/rgb16.png", "formats/rgba16.png", "formats/gray16.png", "formats/la16.png", "formats/interlaced16.png",
		}, nil, nil},
		{"PNG or WebP with alpha, a transparent palette colour", "read, alpha dropped (not blended)",
			[]string{"rgba.png", "la.png", "palette.png", "formats/keyed.png", "alpha.webp"}, nil, nil},
		{"animated PNG", "its first picture", []string{"formats/animated.png"}, nil, nil},
		{"WebP lossy, lossless", "read",
			[]string{"lossy.webp", "lossless.webp", "formats/odd.webp", "formats/palette.webp"}, nil, nil},
		{"animated WebP", "bad: `corrupt`", []string{"formats/animated.webp"}, nil, []string{ReasonCorrupt}},
		{"GIF, BMP, TIFF, HEIC, AVIF, JPEG 2000 under a name that is read", "bad: `not_an_image`. Under their own names they are not seen at all",
			[]string{"formats/small.gif", "formats/small.bmp", "formats/small.tiff", "formats/small.avif", "formats/small.jp2"},
			map[string][]byte{"heic": []byte("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")}, []string{ReasonNotAnImage}},
		{"truncated, whatever the format", "bad: `truncated`; also a JPEG that lacks only its last two bytes", nil, short, []string{ReasonTruncated}},
		{"damaged", "bad: `corrupt` or `truncated`. What the JPEG library would only warn about is an error here. Damage that still is lawful JPEG data cannot be seen",
			nil, map[string][]byte{"png": flipped(whole("source.png")), "restart markers": withoutRestart(whole("restart.jpg"))},
			[]string{ReasonCorrupt, ReasonTruncated}},
		{"EXIF orientation, ICC profile", "ignored, as torchvision does", []string{"formats/orientation6.jpg"}, nil, nil},
	}
}

// twoComponents drops the last component of the frame header.
func twoComponents(data []byte) []byte {
	at := bytes.Index(data, []byte{0xFF, 0xC0})
	data[at+3], data[at+9] = 8+3*2, 2
	return slices.Delete(data, at+16, at+19)
}

// withoutRestart drops the first restart marker.
func withoutRestart(data []byte) []byte {
	at := bytes.Index(data, []byte{0xFF, 0xD0})
	return slices.Delete(data, at, at+2)
}

func TestTableOfFormatsIsTrue(t *testing.T) {
	for _, row := range formatRows(t) {
		made := row.made
		for _, name := range row.files {
			row.check(t, name, readFile(t, name))
		}
		for name, data := range made {
			row.check(t, row.format+": "+name, data)
		}
	}
}

func (row formatRow) check(t *testing.T, name string, data []byte) {
	_, err := DecodeRGB(data, Limits{})
	if len(row.reasons) == 0 {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	var bad *BadImage
	if !errors.As(err, &bad) || !slices.Contains(row.reasons, bad.Reason) {
		t.Errorf("%s: %v, want one of %v", name, err, row.reasons)
	}
}

func TestTableOfFormatsIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../docs/data.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(data), "| format | outcome |\n|---|---|\n")
	text, _, _ = strings.Cut(text, "\n\n")
	var want []string
	for _, row := range formatRows(t) {
		want = append(want, "| "+row.format+" | "+row.outcome+" |")
	}
	if got := strings.Split(text, "\n"); !slices.Equal(got, want) {
		t.Errorf("docs/data.md has\n%s\nwant\n%s", text, strings.Join(want, "\n"))
	}
}

// Every file of a row that is read has Pillow's pixels beside it.
func TestFormatsAreComparedWithPillow(t *testing.T) {
	compared := map[string]bool{"source.png": true} // what the others were made of
	m := golden(t)
	for _, f := range m.Files {
		compared[f.File] = true
	}
	for _, f := range m.Orientation {
		compared[f.File] = true
	}
	for _, row := range formatRows(t) {
		for _, name := range row.files {
			if len(row.reasons) == 0 && !compared[name] {
				t.Errorf("%s: no expected pixels", name)
			}
		}
	}
}
