package sink

import (
	"mocostream/internal/flow"

	"github.com/prometheus/client_golang/prometheus"
)

// stageMetric is read off each stage of the pipeline.
type stageMetric struct {
	pull[flow.Stage]
	on string // value of the label of that name; "": there is none
}

func stageMetrics() []stageMetric {
	metric := func(name, help, on string, value func(flow.Stage) float64) stageMetric {
		labels := []string{"stage"}
		if on != "" {
			labels = append(labels, "on")
		}
		return stageMetric{pull[flow.Stage]{desc: describe(name, help, labels...), kind: prometheus.GaugeValue, value: value}, on}
	}
	const waits = "Share of about the last minute in which a stage waited for what comes in, or for who takes what it made."
	return []stageMetric{
		metric("stage_busy_ratio", "Share of about the last minute in which a stage's workers were at work.", "", func(s flow.Stage) float64 { return s.Busy }),
		metric("stage_workers", "Workers of a stage that may work at a time.", "", func(s flow.Stage) float64 { return float64(s.Workers) }),
		metric("stage_queued", "Images, or batches, that a stage has done and nobody took yet.", "", func(s flow.Stage) float64 { return float64(s.Queued) }),
		metric("stage_wait_ratio", waits, "input", func(s flow.Stage) float64 { return s.WaitInput }),
		metric("stage_wait_ratio", waits, "output", func(s flow.Stage) float64 { return s.WaitOutput }),
	}
}

func memoryWait() pull[flow.Figures] {
	return pull[flow.Figures]{
		desc: describe("loader_memory_wait_ratio", "Share of about the last minute in which reading stood still because loader_bytes was at its bound."),
		kind: prometheus.GaugeValue, value: func(f flow.Figures) float64 { return f.Memory },
	}
}

func flowDescs() (descs []*prometheus.Desc) {
	for _, m := range stageMetrics() {
		descs = append(descs, m.desc)
	}
	return append(descs, memoryWait().desc)
}

func collectFlow(to chan<- prometheus.Metric, f flow.Figures) {
	for _, m := range stageMetrics() {
		for _, s := range f.Stages {
			labels := []string{s.Name}
			if m.on != "" {
				labels = append(labels, m.on)
			}
			collect(to, []pull[flow.Stage]{m.pull}, s, labels...)
		}
	}
	collect(to, []pull[flow.Figures]{memoryWait()}, f)
}
