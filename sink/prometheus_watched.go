package sink

import (
	"mocostream/train"

	"github.com/prometheus/client_golang/prometheus"
)

// watched are the metrics of what is watched while a run goes on.
type watched struct {
	alarm, probe, best *prometheus.GaugeVec

	transfer, mmd2, pValue, driftStep, driftEncoder prometheus.Gauge

	windows prometheus.Counter
}

func (p *Prometheus) makeWatched() {
	vector := func(name, help, label string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
		p.registry.MustRegister(v)
		return v
	}
	w := &p.watched
	w.alarm = vector("alarm", "1 while an alarm is raised; the log says what to do.", "alarm")
	w.probe = vector("probe_top1", "Share of a probe's queries that k-NN classified right, at the last evaluation.", "probe")
	w.best = vector("probe_best_top1", "The same at the best evaluation of the run.", "probe")
	w.transfer = p.gauge("backward_transfer", "Mean over all probes but the last of their last answer less their best: below 0, forgotten.")
	w.mmd2 = p.gauge("drift_mmd2", "Distance of the last window from the reference: unbiased estimate of the squared maximum mean discrepancy.")
	w.pValue = p.gauge("drift_p_value", "Chance of such a distance without drift; 1 before the first comparison.")
	w.pValue.Set(1)
	w.windows = p.counter("drift_windows_total", "Windows that this process compared with the reference.")
	w.driftStep = p.gauge("drift_step", "Step at which the last window was compared; 0 before the first.")
	w.driftEncoder = p.gauge("drift_reference_step", "Step of the encoder that reference and windows are embedded by; 0 before there is one.")
}

// Alarm tells whether an alarm is raised.
func (p *Prometheus) Alarm(name string, raised bool) {
	p.watched.alarm.WithLabelValues(label(name)).Set(oneIf(raised))
}

// Probe tells how a probe was answered, at last and at best.
func (p *Prometheus) Probe(name string, top1, best float64) {
	p.watched.probe.WithLabelValues(label(name)).Set(top1)
	p.watched.best.WithLabelValues(label(name)).Set(best)
}

// BackwardTransfer tells what was forgotten.
func (p *Prometheus) BackwardTransfer(mean float64) { p.watched.transfer.Set(mean) }

// Drift tells what a window brought, embedded by the encoder of a step; nil if it could not be compared.
func (p *Prometheus) Drift(encoder int64, r *train.DriftResult) {
	p.watched.driftEncoder.Set(float64(encoder))
	if r == nil {
		return
	}
	p.watched.windows.Inc()
	p.watched.driftStep.Set(float64(r.Step))
	p.watched.mmd2.Set(r.MMD2)
	p.watched.pValue.Set(r.PValue)
}
