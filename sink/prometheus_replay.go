package sink

import "github.com/prometheus/client_golang/prometheus"

// ReplayStats is the state of the replay buffer. What is counted is counted since the run began.
type ReplayStats struct {
	Samples  int     `json:"samples"` // in the buffer
	Size     int     `json:"size"`    // most of them
	Bytes    int64   `json:"bytes"`   // of their images
	Admitted int64   `json:"admitted"`
	Evicted  int64   `json:"evicted"`
	Undrawn  int64   `json:"evicted_undrawn"` // of those, before any draw
	Draws    int64   `json:"draws"`
	PerTaken float64 `json:"draws_per_sample"` // of those admitted
	Age      int64   `json:"age_samples"`      // admissions since that of the oldest sample
}

func replayMetrics() []pull[ReplayStats] {
	metric := func(kind prometheus.ValueType, name, help string, value func(ReplayStats) float64) pull[ReplayStats] {
		return pull[ReplayStats]{desc: describe(name, help), kind: kind, value: value}
	}
	count := func(name, help string, value func(ReplayStats) int64) pull[ReplayStats] {
		return metric(prometheus.CounterValue, name, help, func(s ReplayStats) float64 { return float64(value(s)) })
	}
	level := func(name, help string, value func(ReplayStats) float64) pull[ReplayStats] {
		return metric(prometheus.GaugeValue, name, help, value)
	}
	return []pull[ReplayStats]{
		level("replay_samples", "Samples in the replay buffer.", func(s ReplayStats) float64 { return float64(s.Samples) }),
		level("replay_size_samples", "Most samples that the replay buffer holds.", func(s ReplayStats) float64 { return float64(s.Size) }),
		level("replay_bytes", "Bytes of the encoded images in the replay buffer.", func(s ReplayStats) float64 { return float64(s.Bytes) }),
		count("replay_admitted_total", "Samples that the replay buffer took from the source, over the run.", func(s ReplayStats) int64 { return s.Admitted }),
		count("replay_evicted_total", "Samples that left the replay buffer or found no place in it, over the run.", func(s ReplayStats) int64 { return s.Evicted }),
		count("replay_evicted_undrawn_total", "Samples among those that no draw ever took.", func(s ReplayStats) int64 { return s.Undrawn }),
		count("replay_draws_total", "Draws from the replay buffer, over the run; the pool is ahead of the steps.", func(s ReplayStats) int64 { return s.Draws }),
		level("replay_draws_per_sample", "Draws for each sample that was admitted, over the run.", func(s ReplayStats) float64 { return s.PerTaken }),
		level("replay_age_samples", "Samples that were admitted after the oldest one in the buffer.", func(s ReplayStats) float64 { return float64(s.Age) }),
	}
}
