package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"mocostream/augment"
	"mocostream/ingest/s3"
	"mocostream/internal/control"
	"mocostream/internal/flow"
	"mocostream/loader"
	"mocostream/sink"
	"mocostream/train"
	"mocostream/train/monitor"
)

// watch is told what a run does: for metrics, and for those who ask how it is. A run that nobody watches has one too.
type watch struct {
	state   *control.State
	metrics *sink.Prometheus

	mu  sync.Mutex
	run runStatus
	ask func(*runStatus) // completes a status; nil: there is no run yet
}

func newWatch() *watch {
	return &watch{
		state: control.NewState(),
		metrics: sink.NewPrometheus(sink.PrometheusOptions{
			Version: version, Reasons: augment.Reasons(), Gates: []string{gateFinite, gateCollapsed, gateWorse},
			Alarms: monitor.Alarms(),
		}),
	}
}

func (w *watch) handler() http.Handler { return w.metrics.Handler() }

func (w *watch) waiting(since time.Time) { w.state.Waiting(since) }
func (w *watch) resumed()                { w.state.Resumed() }

func (w *watch) step(r train.StepResult) {
	w.state.Step(r.Step)
	w.metrics.Observe(r)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.run.Step, w.run.Samples, w.run.Loss, w.run.DataWait = r.Step, r.Samples, r.Loss, r.DataWait
}

func (w *watch) saved(name string, step int64, took time.Duration) {
	w.state.Progress()
	w.metrics.Checkpoint(step, took)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.run.Checkpoint = name
}

// probes tells how the probes were answered so far.
func (w *watch) probes(f *monitor.Forgetting) {
	w.state.Progress()
	all := maps.Clone(f.State())
	for name, p := range all {
		w.metrics.Probe(name, p.Last, p.Best)
	}
	transfer, known := f.BackwardTransfer()
	w.metrics.BackwardTransfer(transfer)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.run.Probes, w.run.BackwardTransfer = all, nil
	if known {
		w.run.BackwardTransfer = &transfer
	}
}

// alarm tells whether an alarm is raised.
func (w *watch) alarm(name string, raised bool) {
	w.metrics.Alarm(name, raised)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.run.Alarms = slices.DeleteFunc(slices.Clone(w.run.Alarms), func(other string) bool { return other == name })
	if raised {
		w.run.Alarms = append(w.run.Alarms, name)
	}
}

// drift tells what a window brought, by the encoder of a step.
func (w *watch) drift(encoder int64, m *monitor.Measured) {
	w.state.Progress()
	w.metrics.Drift(encoder, m.Result)
}

func (w *watch) bad(reason string) {
	w.metrics.Bad(reason, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.run.BadImages++
}

func (w *watch) refused(gate string)  { w.metrics.Refused(gate) }
func (w *watch) published(step int64) { w.metrics.Published(step) }
func (w *watch) committed(err error)  { w.metrics.Commit(err) }

// partitions is where the run stands in each partition, for metrics and /status.
func (in *input) partitions() []sink.PartitionStats {
	t, ok := in.feed.(*topics)
	if !ok {
		return nil
	}
	var all []sink.PartitionStats
	for _, p := range t.Stats().Partitions {
		all = append(all, sink.PartitionStats{
			Topic: p.Topic, Partition: p.Partition, Records: p.Records, Bytes: p.Bytes, Aborted: p.Aborted, Lost: p.Lost, Shed: p.Shed,
			ChecksumErrors: p.CRCErrors, Retries: p.Retries, Reconnects: p.Reconnects,
			LagRecords: p.Lag, LagSeconds: p.LagTime.Seconds(), RetentionLeft: p.Retained,
		})
	}
	return all
}

// objects is what the run read of buckets.
func (in *input) objects() sink.ObjectStats {
	var o sink.ObjectStats
	for _, from := range []any{in.bounded, in.feed} {
		f, ok := from.(interface{ Stats() s3.Stats })
		if !ok {
			continue
		}
		s := f.Stats()
		o.Objects += int64(s.Objects)
		o.Bytes += int64(s.Bytes)
		o.Skipped += int64(s.Skipped)
		o.Corrupt += int64(s.Corrupt)
		o.Late += int64(s.Late)
		o.Pending += s.Pending
		o.Paused = o.Paused || s.Paused
	}
	return o
}

// trouble is what keeps the source from reading, "" for nothing.
func (in *input) trouble() string {
	if in.objects().Paused {
		return "reading waits for valid credentials of the bucket"
	}
	if t, ok := in.feed.(*topics); ok {
		for _, p := range t.Stats().Partitions {
			if p.Trouble != "" {
				return fmt.Sprintf("kafka topic %q partition %d cannot be read: %s", p.Topic, p.Partition, p.Trouble)
			}
		}
	}
	return ""
}

func (in *input) loaderStats(s loader.Stats) sink.LoaderStats {
	l := sink.LoaderStats{HeldBytes: s.Held, LimitBytes: s.Limit, Samples: int64(s.Samples)}
	if in.window != nil {
		l.Duplicates = int64(in.window.Duplicates())
	}
	if t, ok := in.feed.(*topics); ok {
		l.MergeTimeouts = t.Stats().MergeTimeouts
	}
	return l
}

// runStatus is the run's part of /status.
type runStatus struct {
	Dir        string  `json:"dir"`
	Checkpoint string  `json:"checkpoint"`
	Step       int64   `json:"step"`
	Samples    int64   `json:"samples"`
	Loss       float64 `json:"loss"`
	DataWait   float64 `json:"data_wait"`
	BadImages  int64   `json:"bad_images"`

	Alarms           []string                      `json:"alarms,omitempty"` // that are raised
	Probes           map[string]monitor.ProbeState `json:"probes,omitempty"`
	BackwardTransfer *float64                      `json:"backward_transfer,omitempty"`

	LagRecords int64                 `json:"lag_records"`
	Partitions []sink.PartitionStats `json:"partitions,omitempty"`
	Objects    *sink.ObjectStats     `json:"objects,omitempty"`
	Loader     sink.LoaderStats      `json:"loader"`
	Replay     *sink.ReplayStats     `json:"replay,omitempty"`
	Flow       flowStatus            `json:"flow"`
}

// flowStatus is what the stages of the pipeline did in about the last minute.
type flowStatus struct {
	Bottleneck flow.Judgement `json:"bottleneck"`
	flow.Figures
}

// attach has metrics and status ask the run's parts where they stand, from now on.
func (w *watch) attach(s *session, line *pipeline) {
	stats := func() sink.LoaderStats {
		l := s.in.loaderStats(line.loader.Stats())
		l.BatchesQueued = line.pool.Stats().Delivered
		return l
	}
	feeds := sink.Feeds{State: w.state.Snapshot, Partitions: s.in.partitions, Objects: s.in.objects, Loader: stats, Flow: s.governor.Figures}
	if s.replay != nil {
		feeds.Replay = s.replay.stats
	}
	w.metrics.Attach(feeds)
	w.state.Problem(s.in.trouble)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ask = func(r *runStatus) {
		r.Partitions, r.Loader = s.in.partitions(), stats()
		r.Flow.Figures = s.governor.Figures()
		r.Flow.Bottleneck = r.Flow.Judge(s.governor.Means)
		for _, p := range r.Partitions {
			r.LagRecords += p.LagRecords
		}
		if s.replay != nil {
			buffer := s.replay.stats()
			r.Replay = &buffer
		}
		if o := s.in.objects(); o != (sink.ObjectStats{}) {
			r.Objects = &o
		}
	}
	if s.from != nil {
		w.run.Step, w.run.Samples, w.run.Checkpoint = s.from.Step, s.from.Samples, s.fromName
		w.metrics.From(s.from.Step, s.from.Samples)
	}
	w.run.Dir = s.config.Sink.Dir
	w.metrics.Backend(s.backend.Name())
}

// status is the run's part of /status; nil before there is one.
func (w *watch) status() any {
	w.mu.Lock()
	r, ask := w.run, w.ask
	w.mu.Unlock()
	if ask == nil {
		return nil
	}
	ask(&r)
	return r
}
