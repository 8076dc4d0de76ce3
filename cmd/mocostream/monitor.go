package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"mocostream/augment"
	"mocostream/config"
	"mocostream/internal/safetensors"
	"mocostream/train"
	"mocostream/train/drift"
	"mocostream/train/monitor"

	"go.uber.org/zap"
)

const (
	monitorKey = "monitor"           // of a checkpoint: what is watched, and where it stands
	driftFile  = "drift.safetensors" // of a checkpoint: drift's encoder, reference and window
)

// monitors watch the run: they look, and change nothing.
type monitors struct {
	session    *session
	collapse   *monitor.Collapse
	forgetting *monitor.Forgetting
	drift      *monitor.Drift // nil: not asked for, or failed
	toldFew    bool
}

// monitorState is what a checkpoint keeps of them, beside driftFile.
type monitorState struct {
	Collapse monitor.CollapseState         `json:"collapse"`
	Probes   map[string]monitor.ProbeState `json:"probes,omitempty"`
	Drift    *monitor.DriftState           `json:"drift,omitempty"`
}

// openMonitors brings them to where the checkpoint was taken.
func (s *session) openMonitors(context.Context) error {
	var state monitorState
	if s.from != nil && s.from.Extra[monitorKey] != nil {
		if err := json.Unmarshal(s.from.Extra[monitorKey], &state); err != nil {
			return fmt.Errorf("%s of the checkpoint: %w", monitorKey, err)
		}
	}
	c := s.config.Monitor
	m := &monitors{
		session:    s,
		collapse:   monitor.NewCollapse(collapseLimits(c), state.Collapse),
		forgetting: monitor.NewForgetting(probeNames(s.config), state.Probes),
	}
	if c.Drift.Every > 0 {
		if err := m.openDrift(state.Drift); err != nil {
			return err
		}
	}
	s.monitors = m
	s.onClose(func() error { m.close(); return nil })
	m.show(state)
	return nil
}

// show has the metrics begin where the checkpoint was.
func (m *monitors) show(state monitorState) {
	for _, name := range monitor.Alarms() {
		m.session.watch.alarm(name, state.Collapse.Raised[name])
	}
	if d := state.Drift; d != nil && m.drift != nil {
		m.session.watch.alarm(monitor.Shift, d.Windows.Alarm)
	}
	m.session.watch.probes(m.forgetting)
}

func (m *monitors) close() {
	if m.drift != nil {
		m.drift.Close()
		m.drift = nil
	}
}

func (m *monitors) openDrift(state *monitor.DriftState) error {
	s := m.session
	o := m.driftOptions()
	s.log.Info("drift is measured", zap.Int64("window_steps", o.Every),
		zap.Float64("false_alarms_per_million_images", o.FalseAlarms(float64(o.Every)*float64(s.config.Train.Batch))))
	if state == nil {
		m.drift = monitor.NewDrift(o)
		return nil
	}
	return readState(s.from, driftFile, func(r io.Reader) error {
		content, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		tensors, _, err := safetensors.Read(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return err
		}
		if m.drift, err = monitor.RestoreDrift(o, *state, tensors); err != nil {
			s.log.Warn("the reference of drift is taken anew", zap.Error(err))
			m.drift = monitor.NewDrift(o)
		}
		return nil
	})
}

func (m *monitors) driftOptions() monitor.DriftOptions {
	s := m.session
	o := driftOptions(s.config)
	o.Freeze = s.backbone
	o.Open = func(weights []safetensors.Tensor) (monitor.Encoder, error) {
		e := embedderOptions(s.config)
		e.Batch = monitor.Chunk
		return train.NewEmbedderFrom(s.backend, e, &train.Checkpoint{Model: weights}, "q")
	}
	return o
}

// backbone copies the query encoder as of now, without its head.
func (s *session) backbone() ([]safetensors.Tensor, error) {
	all, err := s.trainer.Weights()
	if err != nil {
		return nil, err
	}
	var weights []safetensors.Tensor
	for _, t := range all {
		if strings.HasPrefix(t.Name, "encoder_q.") && !strings.HasPrefix(t.Name, "encoder_q.fc.") {
			weights = append(weights, t)
		}
	}
	return weights, nil
}

// batch is shown what a step is about to take.
func (m *monitors) batch(ctx context.Context, b *augment.Batch) error {
	if m.drift == nil {
		return nil
	}
	return m.bear(m.drift.Batch(ctx, b, m.session.trainer.Steps()))
}

// step is told of a finished step.
func (m *monitors) step(ctx context.Context, r train.StepResult) error {
	m.tell(m.collapse.Step(r))
	if m.drift == nil {
		return nil
	}
	measured, err := m.drift.Step(ctx, r.Step)
	if err != nil || measured == nil {
		return m.bear(err)
	}
	return m.measured(r.Step, measured)
}

// bear goes on without drift where it cannot be measured: a run is not to end of being watched.
func (m *monitors) bear(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	m.session.log.Warn("drift is not measured any more, until the run is started again", zap.Error(err))
	m.close()
	return nil
}

// measured records what a window of drift brought.
func (m *monitors) measured(step int64, d *monitor.Measured) error {
	s := m.session
	since, _ := m.drift.Reference()
	switch {
	case d.Taken:
		s.log.Info("the reference of drift is taken", zap.Int64("step", step), zap.Int64("encoder_of_step", since), zap.Int("sources", d.ReferenceSources))
	case d.TooFew > 0 && !m.toldFew:
		m.toldFew = true
		s.log.Warn("images of too few sources for drift to be told from chance; name what makes a source (ingest.source), split sources that are always there (monitor.drift.scene), or lengthen the window (monitor.drift.every)",
			zap.Int("sources", d.TooFew), zap.Int("reference_sources", d.ReferenceSources))
	}
	s.watch.drift(since, d)
	m.tell(d.Events)
	if d.Result == nil {
		return nil
	}
	s.log.Info("drift", zap.Int64("step", step), zap.Float64("mmd2", d.MMD2), zap.Float64("p_value", d.PValue), zap.Int("sources", d.Sources))
	return s.metrics.Drift(*d.Result)
}

// tell says what was raised or cleared, once.
func (m *monitors) tell(events []monitor.Event) {
	for _, e := range events {
		say := m.session.log.Info
		if e.Raised {
			say = m.session.log.Warn
		}
		say(e.Text, zap.String("alarm", e.Alarm), zap.Bool("raised", e.Raised), zap.Int64("step", e.Step),
			zap.Float64("value", e.Value), zap.Float64("limit", e.Limit))
		m.session.watch.alarm(e.Alarm, e.Raised)
	}
}

// probe is told of an evaluation.
func (m *monitors) probe(r train.ProbeResult) {
	m.forgetting.Probe(r)
	m.session.watch.probes(m.forgetting)
}

// errNoDrift says that there is nothing to take anew.
var errNoDrift = errors.New("drift is not measured; set monitor.drift.every")

// rebase has the reference of drift taken anew.
func (m *monitors) rebase() error {
	if m.drift == nil {
		return errNoDrift
	}
	m.drift.Rebase()
	m.session.watch.alarm(monitor.Shift, false)
	m.session.log.Info("the reference of drift is taken anew", zap.Int64("step", m.session.trainer.Steps()))
	return nil
}

// seal adds their state to a checkpoint.
func (m *monitors) seal(c *train.Checkpoint) (err error) {
	state := monitorState{Collapse: m.collapse.State(), Probes: m.forgetting.State()}
	if m.drift != nil {
		d, tensors := m.drift.State()
		state.Drift = &d
		if len(tensors) > 0 {
			addFile(c, driftFile, tensorFile(tensors))
		}
	}
	c.Extra[monitorKey], err = json.Marshal(state)
	return err
}

func collapseLimits(c config.Monitor) monitor.Limits {
	return monitor.Limits{After: int64(c.After), MinSpread: c.MinSpread, MinRank: c.MinRank, MinMargin: c.MinMargin}
}

func driftOptions(c *config.Config) monitor.DriftOptions {
	d := c.Monitor.Drift
	return monitor.DriftOptions{
		Options: drift.Options{Reference: d.Reference, Alpha: d.Alpha, Raise: d.Raise, Clear: d.Clear, Rebase: d.Rebase, Seed: c.Train.Seed},
		After:   int64(c.Monitor.After), Every: int64(d.Every), Images: d.Images, Frames: d.Frames, Scene: d.Scene, Size: c.Augment.Size,
	}
}

func probeNames(c *config.Config) (names []string) {
	for _, p := range c.Eval.Probes {
		names = append(names, p.Name)
	}
	return names
}
