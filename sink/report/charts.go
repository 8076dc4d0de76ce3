package report

import (
	"cmp"
	"fmt"
	"slices"

	"mocostream/train"
)

// charts lays out every chart that d has values for.
func charts(d Data) []chart {
	steps := ordered(d.Steps)
	specs := []chartSpec{
		lossChart(steps, d),
		probeChart(d.Probes, d.Evaluation),
		driftChart(d.Drift),
		similarityChart(steps),
		spreadChart(steps),
		rankChart(steps),
		top1Chart(steps, d.Negatives),
		queueChart(steps),
		maskChart(steps),
		alignmentChart(steps),
		rateChart(steps),
		throughputChart(steps),
		waitChart(steps),
	}
	var out []chart
	for _, s := range specs {
		if c, ok := layout(len(out)+1, s); ok {
			out = append(out, c)
		}
	}
	return out
}

// ordered sorts by step; of a step that occurs twice (the run was resumed before it) the last one given stays.
func ordered(steps []train.StepResult) []train.StepResult {
	out := slices.Clone(steps)
	slices.Reverse(out)
	slices.SortStableFunc(out, func(a, b train.StepResult) int { return cmp.Compare(a.Step, b.Step) })
	return slices.CompactFunc(out, func(a, b train.StepResult) bool { return a.Step == b.Step })
}

func points(steps []train.StepResult, value func(r train.StepResult) float64) []point {
	out := make([]point, len(steps))
	for i, r := range steps {
		out[i] = point{float64(r.Step), value(r)}
	}
	return out
}

// measured is points, or nothing when every value is 0: the field was not filled.
func measured(steps []train.StepResult, value func(r train.StepResult) float64) []point {
	ps := points(steps, value)
	if !slices.ContainsFunc(ps, func(p point) bool { return p.y != 0 }) {
		return nil
	}
	return ps
}

func lossChart(steps []train.StepResult, d Data) chartSpec {
	c := chartSpec{
		name: "Loss", wide: true, about: "InfoNCE in nats: how hard it is to tell an image's own key from those of other images.",
		value: figure, label: axisLabel,
		series: []series{{points: points(steps, func(r train.StepResult) float64 { return r.Loss }), noisy: true}},
	}
	if d.Guess > 0 {
		c.rules = []rule{{d.Guess, fmt.Sprintf("guessing = %.2f", d.Guess)}}
	}
	if d.QueueSize <= 0 {
		return c
	}
	// Only a run seen from its start shows when its queue was first full.
	if i := slices.IndexFunc(steps, func(r train.StepResult) bool { return r.Samples >= d.QueueSize }); i > 0 {
		c.mark = &mark{float64(steps[i].Step), "queue full"}
	}
	return c
}

func probeChart(probes []train.ProbeResult, e Evaluation) chartSpec {
	c := chartSpec{
		name: "k-NN accuracy", wide: true, about: "Share of images whose nearest neighbours are of their class, as training went on.",
		value: percent, label: percentLabel, include: []float64{0},
	}
	at := map[string]int{}
	for _, p := range probes {
		i, seen := at[p.Probe]
		if !seen {
			i = len(c.series)
			at[p.Probe] = i
			c.series = append(c.series, series{name: p.Probe, dots: true})
		}
		c.series[i].points = append(c.series[i].points, point{float64(p.Step), p.Top1})
	}
	for _, s := range c.series {
		slices.SortStableFunc(s.points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
	}
	for _, s := range e.bars() {
		if s.Baseline && drawable(s.Top1) {
			c.rules = append(c.rules, rule{s.Top1, s.Name + " " + percent(s.Top1)})
		}
	}
	return c
}

func driftChart(all []train.DriftResult) chartSpec {
	c := chartSpec{
		name: "Drift", about: "Distance of what came in from what the reference holds (MMD², about 0 while nothing changes), and when the alarm was raised first.",
		value: figure, label: axisLabel, include: []float64{0},
	}
	var ps []point
	for _, r := range all {
		ps = append(ps, point{float64(r.Step), r.MMD2})
		if r.Alarm && c.mark == nil {
			c.mark = &mark{float64(r.Step), "alarm"}
		}
	}
	c.series = []series{{points: ps, dots: true}}
	return c
}

func similarityChart(steps []train.StepResult) chartSpec {
	return chartSpec{
		name: "Similarity", about: "Cosine of queries with their own keys, and with the negatives: they should part.",
		value: figure, label: axisLabel, include: []float64{0, 1},
		series: []series{
			{name: "own key", points: measured(steps, func(r train.StepResult) float64 { return r.Positive }), noisy: true},
			{name: "negatives", points: measured(steps, func(r train.StepResult) float64 { return r.Negative }), noisy: true},
		},
	}
}

func spreadChart(steps []train.StepResult) chartSpec {
	return chartSpec{
		name: "Embedding spread", about: "1: embeddings fill the whole sphere. 0: they have collapsed to a point.",
		value: figure, label: axisLabel, include: []float64{0, 1},
		series: []series{{points: points(steps, func(r train.StepResult) float64 { return r.Spread }), noisy: true}},
	}
}

func rankChart(steps []train.StepResult) chartSpec {
	return chartSpec{
		name: "Effective rank", about: "In how many directions the embeddings of a batch vary (participation ratio of their covariance).",
		value: figure, label: axisLabel, include: []float64{0},
		series: []series{{points: measured(steps, func(r train.StepResult) float64 { return r.EffectiveRank }), noisy: true}},
	}
}

func top1Chart(steps []train.StepResult, negatives int64) chartSpec {
	name := "(K+1)-way accuracy"
	if negatives > 0 {
		name = count(negatives+1) + "-way accuracy"
	}
	return chartSpec{
		name: name, about: "Share of queries closest to their own key of all, and of those to which it is among the five closest.",
		value: percent, label: percentLabel, include: []float64{0},
		series: []series{
			{name: "top-1", points: points(steps, func(r train.StepResult) float64 { return r.Top1 }), noisy: true},
			{name: "top-5", points: measured(steps, func(r train.StepResult) float64 { return r.Top5 }), noisy: true},
		},
	}
}

func queueChart(steps []train.StepResult) chartSpec {
	return chartSpec{
		name: "Age of the queue", about: "Steps since the queue's keys were made, on average: they stem from an encoder of so long ago.",
		value: figure, label: axisLabel, include: []float64{0},
		series: []series{{points: measured(steps, func(r train.StepResult) float64 { return r.QueueAge })}},
	}
}

func maskChart(steps []train.StepResult) chartSpec {
	return chartSpec{
		name: "Masked negatives", about: "Share of the negatives that do not count: of the query's own image, source or near-duplicates, or no keys yet.",
		value: percent, label: percentLabel, include: []float64{0},
		series: []series{{points: measured(steps, func(r train.StepResult) float64 { return r.Masked }), noisy: true}},
	}
}

func alignmentChart(steps []train.StepResult) chartSpec {
	return chartSpec{
		name: "Alignment", about: "1 - cosine of what is predicted from queries and what the slow encoder makes of them: how fast the encoder leaves what it was.",
		value: figure, label: axisLabel, include: []float64{0},
		series: []series{{points: measured(steps, func(r train.StepResult) float64 { return r.Apart }), noisy: true}},
	}
}

func rateChart(steps []train.StepResult) chartSpec {
	return chartSpec{
		name: "Learning rate", about: "Its peak, and the schedule around it.", peak: true,
		value: func(v float64) string { return fmt.Sprintf("%.2g", v) }, label: axisLabel, include: []float64{0},
		series: []series{{points: measured(steps, func(r train.StepResult) float64 { return r.LR })}},
	}
}

func throughputChart(steps []train.StepResult) chartSpec {
	return chartSpec{
		name: "Throughput", about: "Images per second, each seen as two views.",
		value: func(v float64) string { return figure(v) + " images/s" }, label: axisLabel, include: []float64{0},
		series: []series{{points: measured(steps, func(r train.StepResult) float64 { return r.ImagesPerSecond }), noisy: true}},
	}
}

func waitChart(steps []train.StepResult) chartSpec {
	return chartSpec{
		name: "Waiting for data", about: "Share of the time without a batch to work on.",
		value: percent, label: percentLabel, include: []float64{0},
		series: []series{{points: points(steps, func(r train.StepResult) float64 { return r.DataWait }), noisy: true}},
	}
}
