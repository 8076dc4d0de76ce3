package sink

import (
	"mocostream/internal/control"

	"github.com/prometheus/client_golang/prometheus"
)

func stateDescs() []*prometheus.Desc {
	return []*prometheus.Desc{stateDesc(), stalledDesc(), problemDesc(), progressDesc()}
}

func stateDesc() *prometheus.Desc {
	return describe("state", "1 for what the daemon is doing, 0 for everything else.", "state")
}

func stalledDesc() *prometheus.Desc {
	return describe("stalled", "1 while data waits and nothing was finished for the stall timeout.")
}

func problemDesc() *prometheus.Desc {
	return describe("problem", "1 while the source or the backend cannot work and is tried again; /status says why.")
}

func progressDesc() *prometheus.Desc {
	return describe("progress_age_seconds", "Time since a step or anything else was finished.")
}

func collectState(to chan<- prometheus.Metric, s control.Snapshot) {
	for _, state := range []string{
		control.Starting, control.Standby, control.Training, control.Waiting, control.Paused, control.Stopping,
	} {
		to <- prometheus.MustNewConstMetric(stateDesc(), prometheus.GaugeValue, oneIf(s.State == state), state)
	}
	to <- prometheus.MustNewConstMetric(stalledDesc(), prometheus.GaugeValue, oneIf(s.Stalled))
	to <- prometheus.MustNewConstMetric(problemDesc(), prometheus.GaugeValue, oneIf(s.Problem != ""))
	to <- prometheus.MustNewConstMetric(progressDesc(), prometheus.GaugeValue, s.Progress)
}
