package report

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"
	"unicode"

	"golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// Measures of the grids, in pixels.
const (
	tile      = 96   // side of a shown image
	tileGap   = 6    // between images that belong together
	rowGap    = 14   // between rows
	blockGap  = 26   // between groups of images
	margin    = 4    // around everything
	lineText  = 18   // height of a line of text
	gridWidth = 1080 // groups stand side by side up to this width
	textSize  = 12   // points at 72 dpi: pixels
)

// Text and frames must be legible on white and on black: grids have a transparent ground.
var (
	textColor  = color.NRGBA{0x7d, 0x88, 0x99, 0xff}
	emptyColor = color.NRGBA{0x80, 0x80, 0x80, 0x30}
	sameColor  = color.NRGBA{0x1f, 0xa9, 0x6a, 0xff}
	otherColor = color.NRGBA{0xe0, 0x3e, 0x52, 0xff}
)

// PNG encodes img; of nil it returns nil.
func PNG(img image.Image) ([]byte, error) {
	if img == nil {
		return nil, nil
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil, fmt.Errorf("encode png: %w", err)
	}
	return b.Bytes(), nil
}

// canvas is a grid in the making.
type canvas struct {
	*image.NRGBA
	face font.Face
}

func newCanvas(width, height int) canvas {
	return canvas{image.NewNRGBA(image.Rect(0, 0, width, height)), newFace()}
}

// newFace returns a face of its own for every grid, since a face must not be used concurrently.
func newFace() font.Face {
	f, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return basicfont.Face7x13
	}
	face, err := opentype.NewFace(f, &opentype.FaceOptions{Size: textSize, DPI: 72, Hinting: font.HintingFull})
	if err != nil {
		return basicfont.Face7x13
	}
	return face
}

// image fits img into the square of the given side at (x, y), keeping its shape; nil leaves an empty square.
func (c canvas) image(img image.Image, x, y, side int) {
	square := image.Rect(x, y, x+side, y+side)
	if img == nil || img.Bounds().Empty() {
		draw.Draw(c, square, image.NewUniform(emptyColor), image.Point{}, draw.Src)
		return
	}
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	long := max(w, h)
	w, h = max(1, w*side/long), max(1, h*side/long)
	at := image.Rect(0, 0, w, h).Add(image.Pt(x+(side-w)/2, y+(side-h)/2))
	if w < side || h < side {
		draw.Draw(c, square, image.NewUniform(emptyColor), image.Point{}, draw.Src)
	}
	// Whole multiples of small images stay as they are, pixel by pixel; smoothing would show more than there is.
	if side%long == 0 {
		draw.NearestNeighbor.Scale(c.NRGBA, at, img, img.Bounds(), draw.Over, nil)
		return
	}
	draw.CatmullRom.Scale(c, at, img, img.Bounds(), draw.Over, nil)
}

// frame draws a border of the given width inside r.
func (c canvas) frame(r image.Rectangle, width int, col color.Color) {
	for _, side := range []image.Rectangle{
		{r.Min, image.Pt(r.Max.X, r.Min.Y+width)}, {image.Pt(r.Min.X, r.Max.Y-width), r.Max},
		{r.Min, image.Pt(r.Min.X+width, r.Max.Y)}, {image.Pt(r.Max.X-width, r.Min.Y), r.Max},
	} {
		draw.Draw(c, side, image.NewUniform(col), image.Point{}, draw.Src)
	}
}

// text writes one line whose top left is (x, y), cut to width.
func (c canvas) text(s string, x, y, width int, col color.Color) {
	d := font.Drawer{Dst: c, Src: image.NewUniform(col), Face: c.face, Dot: fixed.P(x, y+13)}
	d.DrawString(fitted(&d, s, fixed.I(width)))
}

// fitted returns s without control characters, shortened until it is at most width wide.
func fitted(d *font.Drawer, s string, width fixed.Int26_6) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	runes := []rune(s)
	runes = runes[:min(len(runes), 400)]
	if len(runes) == len([]rune(s)) && d.MeasureString(s) <= width {
		return s
	}
	for len(runes) > 0 && d.MeasureString(string(runes)+"…") > width {
		runes = runes[:len(runes)-1]
	}
	return string(runes) + "…"
}

// blocks are groups of images, each placed as a whole.
type blocks struct {
	count, columns int
	width, height  int // of one block, with the gap below it
	head           int // height of the line above every column
}

// arrange places count blocks of the given size side by side, in as many columns as fit.
func arrange(count, width, height, head int) blocks {
	columns := min(max(1, (gridWidth-2*margin+blockGap)/(width+blockGap)), count)
	return blocks{count, columns, width, height, head}
}

func (b blocks) canvas() canvas {
	rows := (b.count + b.columns - 1) / b.columns
	width := 2*margin + b.columns*b.width + (b.columns-1)*blockGap
	return newCanvas(width, 2*margin+b.head+rows*b.height-rowGap)
}

// at returns the top left of block i. Blocks run along the lines.
func (b blocks) at(i int) (x, y int) {
	return margin + i%b.columns*(b.width+blockGap), margin + b.head + i/b.columns*b.height
}

func widest[T any](rows []T, length func(T) int) int {
	n := 0
	for _, r := range rows {
		n = max(n, length(r))
	}
	return n
}
