package report_test

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"strings"
	"sync"
	"testing"

	"mocostream/sink/report"
)

func flat(w, h int, c color.Color) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.Set(x, y, c)
		}
	}
	return img
}

var (
	red   = color.NRGBA{200, 10, 10, 255}
	blue  = color.NRGBA{10, 10, 200, 255}
	green = color.NRGBA{10, 200, 10, 255}
)

// extentOf returns the smallest rectangle that holds every pixel of the colour.
func extentOf(img image.Image, c color.NRGBA) image.Rectangle {
	var r image.Rectangle
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			if color.NRGBAModel.Convert(img.At(x, y)) == c {
				r = r.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	return r
}

func TestPreviewGridPlacesImages(t *testing.T) {
	row := report.PreviewRow{Original: flat(200, 100, red), Views: []image.Image{flat(32, 32, green), flat(96, 96, blue)}}
	img := report.PreviewGrid([]report.PreviewRow{row})
	original, first, second := extentOf(img, red), extentOf(img, green), extentOf(img, blue)
	if original.Dx() != 96 || original.Dy() != 48 {
		t.Errorf("original of 200x100 is drawn as %v", original.Size())
	}
	if first.Dx() != 96 || first.Dy() != 96 || second.Size() != first.Size() {
		t.Errorf("views are drawn as %v and %v", first.Size(), second.Size())
	}
	if !(original.Max.X < first.Min.X && first.Max.X < second.Min.X && first.Min.Y == second.Min.Y) {
		t.Errorf("images at %v, %v, %v", original, first, second)
	}
	if !second.In(img.Bounds()) {
		t.Errorf("view at %v outside of %v", second, img.Bounds())
	}
}

func TestPreviewGridGrowsByColumnsThenRows(t *testing.T) {
	size := func(n int, caption string) image.Point {
		rows := make([]report.PreviewRow, n)
		for i := range rows {
			rows[i] = report.PreviewRow{Original: flat(8, 8, red), Views: []image.Image{flat(8, 8, red), nil}, Caption: caption}
		}
		return report.PreviewGrid(rows).Bounds().Size()
	}
	one, two, three, four := size(1, ""), size(2, ""), size(3, ""), size(4, "")
	if two.Y != one.Y || two.X <= 2*(one.X-8) || three.X > 1116 || three.Y != one.Y {
		t.Errorf("sizes of one, two and three rows: %v, %v, %v", one, two, three)
	}
	if four.X != three.X || four.Y <= three.Y {
		t.Errorf("the fourth row belongs below: %v after %v", four, three)
	}
	if with := size(1, "caption"); with.Y <= one.Y || with.X != one.X {
		t.Errorf("caption makes %v of %v", with, one)
	}
}

func TestNeighbourGridTellsClasses(t *testing.T) {
	grey := flat(96, 96, color.NRGBA{60, 60, 60, 255})
	draw := func(m report.Match) image.Image {
		return report.NeighbourGrid([]report.NeighbourRow{{Query: grey, Neighbours: []report.Neighbour{{Image: grey, Similarity: .9, Match: m}}}})
	}
	same, other := color.NRGBA{0x1f, 0xa9, 0x6a, 0xff}, color.NRGBA{0xe0, 0x3e, 0x52, 0xff}
	for _, c := range []struct {
		match       report.Match
		same, other bool
	}{{report.Same, true, false}, {report.Other, false, true}, {report.Unknown, false, false}} {
		img := draw(c.match)
		if got := extentOf(img, same).Dx() >= 96; got != c.same {
			t.Errorf("match %d: green frame %v", c.match, got)
		}
		if got := extentOf(img, other).Dx() >= 96; got != c.other {
			t.Errorf("match %d: red frame %v", c.match, got)
		}
	}
}

func TestNeighbourGridShowsEight(t *testing.T) {
	width := func(n int) int {
		row := report.NeighbourRow{Query: flat(4, 4, red), Neighbours: make([]report.Neighbour, n)}
		return report.NeighbourGrid([]report.NeighbourRow{row}).Bounds().Dx()
	}
	if width(8) != width(30) || width(7) >= width(8) {
		t.Errorf("widths with 7, 8 and 30 neighbours: %d, %d, %d", width(7), width(8), width(30))
	}
}

func TestGridsOfNothing(t *testing.T) {
	if report.PreviewGrid(nil) != nil || report.NeighbourGrid(nil) != nil || report.ClassGrid(nil) != nil {
		t.Error("a grid without rows is not nil")
	}
	b, err := report.PNG(nil)
	if b != nil || err != nil {
		t.Errorf("PNG of nothing: %v, %v", b, err)
	}
	for _, img := range []image.Image{
		report.PreviewGrid([]report.PreviewRow{{Original: image.NewGray(image.Rectangle{})}}),
		report.NeighbourGrid([]report.NeighbourRow{{}}),
		report.ClassGrid([]report.ClassRow{{Name: "empty"}}),
	} {
		if img.Bounds().Dx() < 96 || img.Bounds().Dy() < 96 {
			t.Errorf("a row of missing images is %v", img.Bounds())
		}
	}
}

func TestCaptionsStayInTheirColumn(t *testing.T) {
	long := strings.Repeat("very long \x00\xff\u202e caption ", 10_000)
	row := report.PreviewRow{Original: flat(8, 8, red), Views: []image.Image{nil, nil}, Caption: long}
	one := report.PreviewGrid([]report.PreviewRow{row})
	two := report.PreviewGrid([]report.PreviewRow{row, {}})
	for y := one.Bounds().Min.Y; y < one.Bounds().Max.Y; y++ {
		for x := one.Bounds().Dx(); x < one.Bounds().Dx()+16; x++ {
			if _, _, _, a := two.At(x, y).RGBA(); a != 0 {
				t.Fatalf("caption runs into the next column at (%d, %d)", x, y)
			}
		}
	}
}

func TestGridsMayBeDrawnConcurrently(t *testing.T) {
	rows := samplePreview()[:2]
	want := mustPNG(t, report.PreviewGrid(rows))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			got, err := report.PNG(report.PreviewGrid(rows))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("another picture: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestPNGDecodes(t *testing.T) {
	grid := report.ClassGrid(sampleClasses()[:3])
	img, err := png.Decode(bytes.NewReader(mustPNG(t, grid)))
	if err != nil {
		t.Fatal(err)
	}
	if img.Bounds() != grid.Bounds() {
		t.Errorf("decoded as %v, want %v", img.Bounds(), grid.Bounds())
	}
}
