package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// labTable is what bench continual prints.
type labTable struct {
	Rows  []labRow     `json:"rows"`
	Bars  []labBar     `json:"bars"`
	Cells []cellResult `json:"cells"`
}

// labRow sums up the seeds of a stream and a policy. Accuracies are shares, 0 to 1; spreads are standard deviations over
// the seeds, 0 for one.
type labRow struct {
	Stream  string  `json:"stream"`
	Policy  string  `json:"policy"`
	Seeds   int     `json:"seeds"`
	Top1    float64 `json:"top1"`
	Spread  float64 `json:"spread"`
	Area    float64 `json:"area"`       // mean of the k-NN curve over the steps
	Drop    float64 `json:"below_best"` // of the curve's last point below its best
	Forgets float64 `json:"forgets"`    // of the first task's classes: accuracy at the task's end less that at the last step
	Change  float64 `json:"forgets_spread"`
}

// labBar is a bar and whether it is met; nil where what it compares was not run.
type labBar struct {
	Stream string  `json:"stream"`
	What   string  `json:"what"`
	Got    float64 `json:"got"`
	Must   float64 `json:"must"`
	Met    *bool   `json:"met"`
}

func summarise(cells []cellResult) labTable {
	t := labTable{Cells: cells}
	for _, s := range labStreams() {
		for _, p := range labPolicies() {
			if of := seedsOf(cells, s.name, p.name); len(of) > 0 {
				t.Rows = append(t.Rows, newLabRow(of))
			}
		}
		t.Bars = append(t.Bars, barsOf(cells, s)...)
	}
	return t
}

func seedsOf(cells []cellResult, stream, policy string) []cellResult {
	return slices.DeleteFunc(slices.Clone(cells), func(c cellResult) bool { return c.Stream != stream || c.Policy != policy })
}

func newLabRow(of []cellResult) labRow {
	r := labRow{Stream: of[0].Stream, Policy: of[0].Policy, Seeds: len(of)}
	r.Top1, r.Spread = spread(of, func(c cellResult) float64 { return c.Top1 })
	r.Area, _ = spread(of, func(c cellResult) float64 { return area(c.Curve) })
	r.Drop, _ = spread(of, func(c cellResult) float64 { return belowBest(c.Curve) })
	r.Forgets, r.Change = spread(of, func(c cellResult) float64 { return forgotten(c.First) })
	return r
}

// spread is mean and standard deviation.
func spread(of []cellResult, value func(cellResult) float64) (mean, deviation float64) {
	for _, c := range of {
		mean += value(c) / float64(len(of))
	}
	if len(of) < 2 {
		return mean, 0
	}
	for _, c := range of {
		deviation += (value(c) - mean) * (value(c) - mean) / float64(len(of)-1)
	}
	return mean, math.Sqrt(deviation)
}

// area is the mean of a curve whose points are equally far apart.
func area(curve []curvePoint) (mean float64) {
	for _, p := range curve {
		mean += p.Top1 / float64(len(curve))
	}
	return mean
}

func belowBest(curve []curvePoint) (drop float64) {
	for _, p := range curve {
		drop = max(drop, p.Top1-curve[len(curve)-1].Top1)
	}
	return drop
}

// forgotten is how much lower a curve ends than it was half-way, where the first of two tasks ended.
func forgotten(curve []curvePoint) float64 {
	if len(curve) < 2 {
		return 0
	}
	return curve[len(curve)/2-1].Top1 - curve[len(curve)-1].Top1
}

// barsOf compares default with shuffled frames and, where that is asked, with FIFO seed by seed.
func barsOf(cells []cellResult, s labStream) (bars []labBar) {
	ours := seedsOf(cells, s.name, policyDefault)
	if s.must > 0 {
		bars = append(bars, newLabBar(s.name, "default / iid", s.must, ours, seedsOf(cells, s.name, policyIID), meanRatio))
	}
	if s.above {
		bars = append(bars, newLabBar(s.name, "default - fifo, worst seed", 0, ours, seedsOf(cells, s.name, policyFIFO), worstLead))
	}
	if s.extra && s.stream.Tasks > 0 {
		bars = append(bars, newLabBar(s.name, "forgetting: fifo - default - spread", 0, ours, seedsOf(cells, s.name, policyFIFO), keepsMore))
	}
	if s.times > 1 {
		bars = append(bars, newLabBar(s.name, "2 points - end below the best, worst seed", 0, ours, ours, staysUp))
	}
	return bars
}

// newLabBar judges what was run for the same seeds.
func newLabBar(stream, what string, must float64, ours, others []cellResult, compare func(ours, others []cellResult) float64) labBar {
	b := labBar{Stream: stream, What: what, Must: must}
	if len(ours) == 0 || len(ours) != len(others) {
		return b
	}
	b.Got = compare(ours, others)
	met := b.Got > must || must > 0 && b.Got == must
	b.Met = &met
	return b
}

func meanRatio(ours, others []cellResult) float64 {
	a, _ := spread(ours, func(c cellResult) float64 { return c.Top1 })
	b, _ := spread(others, func(c cellResult) float64 { return c.Top1 })
	return ratio(a, b)
}

func worstLead(ours, others []cellResult) float64 {
	worst := math.Inf(1)
	for i := range ours {
		worst = min(worst, ours[i].Top1-others[i].Top1)
	}
	return worst
}

func staysUp(ours, _ []cellResult) float64 {
	left := math.Inf(1)
	for _, c := range ours {
		left = min(left, .02-belowBest(c.Curve))
	}
	return left
}

func keepsMore(ours, others []cellResult) float64 {
	a, b := newLabRow(ours), newLabRow(others)
	return b.Forgets - a.Forgets - max(a.Change, b.Change)
}

func (t labTable) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s %-16s %5s %14s %10s %10s\n", "stream", "policy", "seeds", "k-NN top-1, %", "curve, %", "forgets, %")
	for _, r := range t.Rows {
		forgets := ""
		if r.Forgets != 0 || r.Change != 0 {
			forgets = fmt.Sprintf("%.1f +- %.1f", 100*r.Forgets, 100*r.Change)
		}
		fmt.Fprintf(&b, "%-12s %-16s %5d %7.1f +- %3.1f %10.1f %10s\n", r.Stream, r.Policy, r.Seeds, 100*r.Top1, 100*r.Spread, 100*r.Area, forgets)
	}
	for _, bar := range t.Bars {
		verdict := "not judged: not all of it was run"
		if bar.Met != nil {
			verdict = fmt.Sprintf("%.3f, has to be %.2f: %s", bar.Got, bar.Must, map[bool]string{true: "met", false: "MISSED"}[*bar.Met])
		}
		fmt.Fprintf(&b, "%s, %s: %s\n", bar.Stream, bar.What, verdict)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// failure is an error if a bar was judged and is missed.
func (t labTable) failure() error {
	var missed []string
	for _, bar := range t.Bars {
		if bar.Met != nil && !*bar.Met {
			missed = append(missed, fmt.Sprintf("%s, %s: %.3f, has to be %.2f", bar.Stream, bar.What, bar.Got, bar.Must))
		}
	}
	if len(missed) > 0 {
		return errors.New("bars are missed: " + strings.Join(missed, "; "))
	}
	return nil
}
