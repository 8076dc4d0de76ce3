package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Measures of charts in the units of their viewBox, about a pixel each.
const (
	wideWidth, wideHeight     = 540, 250
	narrowWidth, narrowHeight = 340, 190

	marginLeft, marginRight, marginTop, marginBottom = 40, 10, 12, 28

	digitWidth  = 7  // of a tick's text, on average and rounded up
	ruleLabel   = 14 // height that a rule's label needs
	paletteSize = 6  // colours c0 to c5 of the style sheet
)

// chartSpec says what a chart shows.
type chartSpec struct {
	name, about string
	wide        bool
	peak        bool                         // the highest value is of interest, not the latest
	value       func(v float64) string       // writes a value
	label       func(v, step float64) string // writes a tick of an axis whose ticks are step apart
	series      []series
	rules       []rule    // horizontal lines to compare with
	mark        *mark     // a vertical line
	include     []float64 // values that the axis must reach
}

// series is one line of a chart.
type series struct {
	name   string
	points []point
	noisy  bool // drawn faint, with a smoothed line above it
	dots   bool // few and far between: every point is marked
}

type rule struct {
	value float64
	label string
}

type mark struct {
	step  float64
	label string
}

// chart is a laid out chart, as the template draws it.
type chart struct {
	ID                         int // unique on the page
	Wide                       bool
	Name, About, Last, Summary string
	Dropped                    int // values that are no numbers
	Lines                      []chartLine
	Legend                     []legendEntry
	X, Y                       []chartTick
	Rules                      []chartRule
	Mark                       *chartMark
	Width, Height              int
	Left, Right, Top, Bottom   int
	PlotWidth, PlotHeight      int
}

type chartLine struct {
	Color int // palette entry
	Faint bool
	Path  string
	Dots  []chartDot
}

type chartDot struct{ X, Y string }

type legendEntry struct {
	Color int
	Name  string
	Last  string
}

type chartTick struct{ At, Text string }

type chartRule struct{ At, TextAt, Text string }

type chartMark struct {
	At, TextAt string
	Before     bool // the text stands left of the line
	Text       string
}

// scale maps values onto the drawing area.
type scale struct {
	x0, x1, y0, y1           float64 // values at its borders
	left, right, top, bottom float64
}

func (s scale) x(v float64) float64 { return s.left + (v-s.x0)/(s.x1-s.x0)*(s.right-s.left) }

func (s scale) y(v float64) float64 { return s.bottom - (v-s.y0)/(s.y1-s.y0)*(s.bottom-s.top) }

// layout places spec's lines; ok is false when there is no point to draw.
func layout(id int, spec chartSpec) (c chart, ok bool) {
	c = chart{ID: id, Name: spec.name, About: spec.about, Wide: spec.wide}
	c.place()
	var drawn []series
	for _, s := range spec.series {
		ps := finite(s.points)
		c.Dropped += len(s.points) - len(ps)
		if len(ps) > 0 {
			s.points = ps
			drawn = append(drawn, s)
		}
	}
	if len(drawn) == 0 {
		return c, false
	}
	sc := c.axes(spec, drawn)
	for i, s := range drawn {
		c.addSeries(sc, i%paletteSize, s, spec)
	}
	if len(drawn) == 1 {
		c.Last = c.Legend[0].Last
		c.Legend = nil
	}
	c.addRules(sc, spec.rules)
	c.addMark(sc, spec.mark)
	c.Summary = summary(drawn, spec.value)
	return c, true
}

// place sets the drawing area.
func (c *chart) place() {
	c.Width, c.Height = narrowWidth, narrowHeight
	if c.Wide {
		c.Width, c.Height = wideWidth, wideHeight
	}
	c.Left, c.Right, c.Top, c.Bottom = marginLeft, c.Width-marginRight, marginTop, c.Height-marginBottom
	c.PlotWidth, c.PlotHeight = c.Right-c.Left, c.Bottom-c.Top
}

// axes chooses the ranges, and sets the ticks.
func (c *chart) axes(spec chartSpec, drawn []series) scale {
	sc := scale{left: float64(c.Left), right: float64(c.Right), top: float64(c.Top), bottom: float64(c.Bottom)}
	sc.x0, sc.x1 = drawn[0].points[0].x, drawn[0].points[0].x
	var lo, hi []float64
	for _, s := range drawn {
		l, h := extent(s.points)
		lo, hi = append(lo, l), append(hi, h)
		sc.x0 = min(sc.x0, s.points[0].x)
		sc.x1 = max(sc.x1, s.points[len(s.points)-1].x)
	}
	c.Right = min(c.Right, c.Width-digitWidth*len(axisLabel(sc.x1, 1))/2-2) // the last label is centred below its tick
	sc.right = float64(c.Right)
	for _, r := range spec.rules {
		lo, hi = append(lo, r.value), append(hi, r.value)
	}
	lo, hi = append(lo, spec.include...), append(hi, spec.include...)
	ys, step := ticks(slices.Min(lo), slices.Max(hi), 4)
	sc.y0, sc.y1 = ys[0], ys[len(ys)-1]
	for _, v := range ys {
		c.Left = max(c.Left, digitWidth*len(spec.label(v, step))+12)
		c.Y = append(c.Y, chartTick{coordinate(sc.y(v)), spec.label(v, step)})
	}
	c.PlotWidth, sc.left = c.Right-c.Left, float64(c.Left)
	if sc.x0 == sc.x1 {
		c.X = []chartTick{{coordinate((sc.left + sc.right) / 2), axisLabel(sc.x0, 1)}}
		sc.x0, sc.x1 = sc.x0-1, sc.x1+1
		return sc
	}
	// A run starts at step 1: the axis then starts at 0, or its first tick would be lost.
	if sc.x0 < (sc.x1-sc.x0)/20 {
		sc.x0 = min(sc.x0, 0)
	}
	xs, step := ticks(sc.x0, sc.x1, c.PlotWidth/60)
	for _, v := range xs {
		if v >= sc.x0 && v <= sc.x1 && v == math.Trunc(v) {
			c.X = append(c.X, chartTick{coordinate(sc.x(v)), axisLabel(v, step)})
		}
	}
	return sc
}

func (c *chart) addSeries(sc scale, color int, s series, spec chartSpec) {
	last := s.points[len(s.points)-1].y
	strong := s.points
	if s.noisy && len(s.points) > 20 {
		c.Lines = append(c.Lines, chartLine{Color: color, Faint: true, Path: path(sc, envelope(s.points, curvePoints))})
		strong = smooth(s.points, curvePoints/2)
		last = strong[len(strong)-1].y
	}
	if spec.peak {
		last = slices.MaxFunc(s.points, func(a, b point) int { return cmp.Compare(a.y, b.y) }).y
	}
	line := chartLine{Color: color, Path: path(sc, envelope(strong, curvePoints))}
	if len(strong) == 1 || s.dots && len(strong) <= 60 {
		for _, p := range strong {
			line.Dots = append(line.Dots, chartDot{coordinate(sc.x(p.x)), coordinate(sc.y(p.y))})
		}
	}
	c.Lines = append(c.Lines, line)
	c.Legend = append(c.Legend, legendEntry{color, s.name, spec.value(last)})
}

// addRules draws the lines to compare with. A label stands above its line; where another line is in the way, below; and
// where there is no room either, it joins the one above.
func (c *chart) addRules(sc scale, rules []rule) {
	rules = slices.Clone(rules)
	slices.SortStableFunc(rules, func(a, b rule) int { return cmp.Compare(b.value, a.value) })
	labelled, free := -1, sc.top-ruleLabel // free is the height from which on nothing is written yet
	for _, r := range rules {
		y := sc.y(r.value)
		line := chartRule{At: coordinate(y), Text: r.label}
		switch {
		case y-ruleLabel >= free:
			line.TextAt, free = coordinate(y-5), y+2
		case y >= free-2 && y+ruleLabel+2 <= sc.bottom:
			line.TextAt, free = coordinate(y+13), y+ruleLabel+2
		default:
			c.Rules[labelled].Text += ", " + r.label
			line.Text = ""
		}
		if line.Text != "" {
			labelled = len(c.Rules)
		}
		c.Rules = append(c.Rules, line)
	}
}

func (c *chart) addMark(sc scale, m *mark) {
	if m == nil || m.step < sc.x0 || m.step > sc.x1 {
		return
	}
	x := sc.x(m.step)
	c.Mark = &chartMark{At: coordinate(x), TextAt: coordinate(x + 6), Text: m.label}
	if x > sc.right-90 {
		c.Mark.Before, c.Mark.TextAt = true, coordinate(x-6)
	}
}

// summary says in words what the chart shows, for readers who do not see it.
func summary(drawn []series, value func(float64) string) string {
	var parts []string
	for _, s := range drawn {
		first, last := s.points[0], s.points[len(s.points)-1]
		name := ""
		if len(drawn) > 1 {
			name = s.name + " "
		}
		parts = append(parts, fmt.Sprintf("%sfrom %s at step %s to %s at step %s",
			name, value(first.y), count(int64(first.x)), value(last.y), count(int64(last.x))))
	}
	return strings.Join(parts, "; ")
}

func path(sc scale, ps []point) string {
	var b strings.Builder
	for i, p := range ps {
		if i == 0 {
			b.WriteByte('M')
		} else {
			b.WriteByte('L')
		}
		b.WriteString(coordinate(sc.x(p.x)))
		b.WriteByte(' ')
		b.WriteString(coordinate(sc.y(p.y)))
	}
	return b.String()
}

// coordinate writes a length to a tenth of a unit. Far outside the drawing area it is cut off: the line's slope there is
// of no interest, and viewers differ in what they make of huge numbers.
func coordinate(v float64) string {
	v = min(max(v, -2000), 3000)
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
}
