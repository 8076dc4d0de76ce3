package report

import (
	"fmt"
	"image"
	"image/color"
	"slices"
)

// PreviewRow is an image and the views that training makes of it.
type PreviewRow struct {
	Original image.Image // of any size and shape; nil is drawn as an empty square
	Views    []image.Image
	Caption  string // below the images; may be empty
}

// PreviewGrid draws each original with its views to the right of it, several rows side by side. It returns nil when
// there are no rows. The ground is transparent.
func PreviewGrid(rows []PreviewRow) image.Image {
	if len(rows) == 0 {
		return nil
	}
	tiles := 1 + widest(rows, func(r PreviewRow) int { return len(r.Views) })
	height := tile + rowGap
	if slices.ContainsFunc(rows, func(r PreviewRow) bool { return r.Caption != "" }) {
		height += lineText
	}
	width := tiles*(tile+tileGap) - tileGap + splitGap
	b := arrange(len(rows), width, height, lineText+2)
	c := b.canvas()
	for i := range b.columns {
		x, y := b.at(i)
		c.text("original", x, y-b.head, tile, textColor)
		for v := range tiles - 1 {
			c.text(fmt.Sprintf("view %d", v+1), x+splitGap+(v+1)*(tile+tileGap), y-b.head, tile, textColor)
		}
	}
	for i, r := range rows {
		x, y := b.at(i)
		c.image(r.Original, x, y, tile)
		for v, img := range r.Views {
			c.image(img, x+splitGap+(v+1)*(tile+tileGap), y, tile)
		}
		c.text(r.Caption, x, y+tile+2, width, textColor)
	}
	return c.NRGBA
}

// splitGap sets the first image of a row apart from the others.
const splitGap = 10

// Match tells whether two images are of one class.
type Match int

// What is known of two images' classes.
const (
	Unknown Match = iota
	Same
	Other
)

// Neighbour is an image found for a query.
type Neighbour struct {
	Image      image.Image // nil is drawn as an empty square
	Similarity float64     // cosine
	Match      Match       // colour of the frame: green for Same, red for Other, none for Unknown
}

// NeighbourRow is a query and what was found for it, nearest first.
type NeighbourRow struct {
	Query      image.Image
	Caption    string // of the query: its class, say; may be empty
	Neighbours []Neighbour
}

// maxNeighbours bounds the width of a NeighbourGrid.
const maxNeighbours = 8

// NeighbourGrid draws each query with its 8 nearest images to the right of it, in frames that tell whether the class is
// the same, and their similarity below. It returns nil when there are no rows. The ground is transparent.
func NeighbourGrid(rows []NeighbourRow) image.Image {
	if len(rows) == 0 {
		return nil
	}
	found := min(maxNeighbours, widest(rows, func(r NeighbourRow) int { return len(r.Neighbours) }))
	width := (1+found)*(tile+tileGap) - tileGap + splitGap
	b := arrange(len(rows), width, tile+lineText+rowGap, lineText+2)
	c := b.canvas()
	for i := range b.columns {
		x, y := b.at(i)
		c.text("query", x, y-b.head, tile, textColor)
		if found > 0 {
			c.text("nearest first", x+splitGap+tile+tileGap, y-b.head, tile, textColor)
		}
	}
	for i, r := range rows {
		x, y := b.at(i)
		c.image(r.Query, x, y, tile)
		c.text(r.Caption, x, y+tile+2, tile, textColor)
		for j, n := range r.Neighbours[:min(found, len(r.Neighbours))] {
			c.neighbour(n, x+splitGap+(j+1)*(tile+tileGap), y)
		}
	}
	return c.NRGBA
}

func (c canvas) neighbour(n Neighbour, x, y int) {
	c.image(n.Image, x, y, tile)
	caption, col := fmt.Sprintf("%.2f", n.Similarity), textColor
	switch n.Match {
	case Same:
		col = sameColor
	case Other:
		// The sign says it to those who cannot tell green from red.
		caption, col = caption+" ×", otherColor
	}
	if n.Match != Unknown {
		c.frame(image.Rect(x, y, x+tile, y+tile), 3, color.Color(col))
	}
	c.text(caption, x, y+tile+2, tile, col)
}

// ClassRow is a class and a few images of it.
type ClassRow struct {
	Name   string
	Images []image.Image
}

// ClassGrid draws the images of each class under its name, several classes side by side. It returns nil when there are
// no rows. The ground is transparent.
func ClassGrid(rows []ClassRow) image.Image {
	if len(rows) == 0 {
		return nil
	}
	images := max(1, widest(rows, func(r ClassRow) int { return len(r.Images) }))
	width := images*(tile+tileGap) - tileGap
	b := arrange(len(rows), width, lineText+2+tile+rowGap, 0)
	c := b.canvas()
	for i, r := range rows {
		x, y := b.at(i)
		c.text(r.Name, x, y, width, textColor)
		for j, img := range r.Images {
			c.image(img, x+j*(tile+tileGap), y+lineText+2, tile)
		}
	}
	return c.NRGBA
}
