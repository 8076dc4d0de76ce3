package sink

import (
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"mocostream/train"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// PrometheusOptions says what a Prometheus should know before anything happened, so that the first event is an increase
// that an alert can see.
type PrometheusOptions struct {
	Version string   // of the program
	Reasons []string // for which images can be bad
	Gates   []string // that can hold back a publication
	Alarms  []string // that can be raised
}

// Prometheus holds a run's metrics in its own registry; docs/operations.md lists them. Training tells it what happened,
// and it asks Feeds for the rest when it is scraped. Counters begin at 0 with each process. Its methods may be called
// concurrently.
type Prometheus struct {
	registry *prometheus.Registry
	version  string

	steps, samples, discarded, checkpointFailures, commitFailures prometheus.Counter

	step, epoch, loss, rate, positive, negative, top1, top5, spread, effectiveRank, gradNorm, queueAge, queueLag, masked, apart, dataWait, lastStep prometheus.Gauge

	checkpointTime, checkpointStep, commitTime, publishedTime, publishedStep prometheus.Gauge

	checkpointDuration prometheus.Histogram
	bad, refused       *prometheus.CounterVec
	build              *prometheus.GaugeVec
	watched            watched

	mu     sync.Mutex
	before int64 // samples that were counted; see From
	feeds  Feeds
}

// NewPrometheus makes the metrics of a run.
func NewPrometheus(o PrometheusOptions) *Prometheus {
	p := &Prometheus{registry: prometheus.NewRegistry(), version: o.Version}
	p.makeTraining()
	p.makeEvents()
	p.makeWatched()
	for _, reason := range o.Reasons {
		p.bad.WithLabelValues(label(reason))
	}
	for _, gate := range o.Gates {
		p.refused.WithLabelValues(label(gate))
	}
	for _, name := range o.Alarms {
		p.Alarm(name, false)
	}
	p.Backend("")
	p.registry.MustRegister(&pulled{feeds: p.attached}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return p
}

// namespace stands before the name of every metric.
const namespace = "mocostream"

func (p *Prometheus) makeTraining() {
	p.steps = p.counter("steps_total", "Optimisation steps that this process finished.")
	p.samples = p.counter("samples_total", "Images that the steps of this process consumed.")
	p.discarded = p.counter("discarded_steps_total", "Steps of this process that changed nothing because loss or gradient was not finite.")
	p.step = p.gauge("step", "Finished steps of the run, those of earlier processes included.")
	p.epoch = p.gauge("epoch", "Passes over a bounded source so far; 0 for a stream.")
	p.loss = p.gauge("loss", "InfoNCE loss of the last step, in nats.")
	p.rate = p.gauge("learning_rate", "Learning rate of the last step.")
	p.positive = p.gauge("positive_similarity", "Mean cosine similarity of queries and their keys in the last step.")
	p.negative = p.gauge("negative_similarity", "Mean cosine similarity of queries and their negatives in the last step.")
	p.top1 = p.gauge("top1", "Share of queries of the last step whose key beats all negatives.")
	p.top5 = p.gauge("top5", "Share of queries of the last step whose key is among the five best of it and the negatives.")
	p.spread = p.gauge("embedding_spread", "Spread of the last step's embeddings: 1 when they fill the sphere, 0 when collapsed.")
	p.effectiveRank = p.gauge("embedding_effective_rank", "Directions in which the last step's embeddings vary: participation ratio of their covariance.")
	p.gradNorm = p.gauge("grad_norm", "L2 norm of the last step's gradient, before clipping.")
	p.queueAge = p.gauge("queue_age_steps", "Mean age of the keys in the queue at the last step; 0 without any.")
	p.queueLag = p.gauge("queue_lag_seconds", "How much older the samples of the queue's keys are than those of the last step's batch; 0 where that is not known.")
	p.masked = p.gauge("negatives_masked_ratio", "Share of the negatives that did not count in the last step, being none of their query's.")
	p.apart = p.gauge("alignment_distance", "Mean of 1 - cosine of predicted queries and the slow encoder's in the last step; 0 without alignment.")
	p.dataWait = p.gauge("data_wait_ratio", "Share of time spent waiting for batches, over about the last twenty steps.")
	p.lastStep = p.gauge("last_step_timestamp_seconds", "When the last step was finished, Unix time; 0 before the first.")
}

// checkpointBuckets are in seconds: from a small encoder on a local disk to a large one over a network.
var checkpointBuckets = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}

func (p *Prometheus) makeEvents() {
	p.checkpointTime = p.gauge("checkpoint_last_success_timestamp_seconds", "When the last checkpoint became durable, Unix time; 0 before the first.")
	p.checkpointStep = p.gauge("checkpoint_step", "Step of the last durable checkpoint.")
	p.checkpointFailures = p.counter("checkpoint_failures_total", "Checkpoints that could not be written.")
	p.checkpointDuration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "checkpoint_duration_seconds", Buckets: checkpointBuckets,
		Help: "Time from the copy of the weights until the checkpoint was durable.",
	})
	p.commitTime = p.gauge("commit_last_success_timestamp_seconds", "When offsets were last committed to the broker, Unix time; 0 before the first.")
	p.commitFailures = p.counter("commit_failures_total", "Commits of offsets that failed. Lag tools show too much; nothing is lost.")
	p.publishedTime = p.gauge("published_timestamp_seconds", "When the encoder was last published, Unix time; 0 before the first.")
	p.publishedStep = p.gauge("published_step", "Step of the encoder that was last published.")
	p.bad = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "bad_images_total", Help: "Images that were skipped because they cannot be decoded, or that the source could not give.",
	}, []string{"reason"})
	p.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "publish_refused_total", Help: "Encoders that were not published because a gate did not hold.",
	}, []string{"gate"})
	p.build = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "1, with what the program was made of.",
	}, []string{"version", "goversion", "backend"})
	p.registry.MustRegister(p.checkpointDuration, p.bad, p.refused, p.build)
}

func (p *Prometheus) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	p.registry.MustRegister(c)
	return c
}

func (p *Prometheus) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	p.registry.MustRegister(g)
	return g
}

// label makes a label's value of any text: the library panics at one that is not UTF-8.
func label(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// Handler answers a scrape with everything, and with what there is where a part of it fails.
func (p *Prometheus) Handler() http.Handler {
	return promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// Backend says which backend trains.
func (p *Prometheus) Backend(name string) {
	p.build.Reset()
	p.build.WithLabelValues(label(p.version), runtime.Version(), label(name)).Set(1)
}

// From says with which step and how many samples this process goes on.
func (p *Prometheus) From(step, samples int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = samples
	p.step.Set(float64(step))
	p.checkpointStep.Set(float64(step))
}

// Observe tells of a finished step.
func (p *Prometheus) Observe(r train.StepResult) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps.Inc()
	p.samples.Add(float64(max(0, r.Samples-p.before)))
	p.before = r.Samples
	if r.Discarded {
		p.discarded.Inc()
	}
	p.step.Set(float64(r.Step))
	p.epoch.Set(r.Epoch)
	p.loss.Set(r.Loss)
	p.rate.Set(r.LR)
	p.positive.Set(r.Positive)
	p.negative.Set(r.Negative)
	p.top1.Set(r.Top1)
	p.top5.Set(r.Top5)
	p.spread.Set(r.Spread)
	p.effectiveRank.Set(r.EffectiveRank)
	p.gradNorm.Set(r.GradNorm)
	p.queueAge.Set(r.QueueAge)
	p.queueLag.Set(r.QueueLag)
	p.masked.Set(r.Masked)
	p.apart.Set(r.Apart)
	p.dataWait.Set(r.DataWait)
	p.lastStep.SetToCurrentTime()
}

// Checkpoint tells of a durable checkpoint, CheckpointFailed of one that is not.
func (p *Prometheus) Checkpoint(step int64, took time.Duration) {
	p.checkpointStep.Set(float64(step))
	p.checkpointTime.SetToCurrentTime()
	p.checkpointDuration.Observe(took.Seconds())
}

// CheckpointFailed tells of a checkpoint that could not be written.
func (p *Prometheus) CheckpointFailed() { p.checkpointFailures.Inc() }

// Commit tells of a commit of offsets and its error, nil if there is none.
func (p *Prometheus) Commit(err error) {
	if err != nil {
		p.commitFailures.Inc()
		return
	}
	p.commitTime.SetToCurrentTime()
}

// Bad tells of n images that were skipped, of one reason (loader.DeadLetter.Reason).
func (p *Prometheus) Bad(reason string, n int) { p.bad.WithLabelValues(label(reason)).Add(float64(n)) }

// Published tells that the encoder of step was published, Refused that a gate held it back.
func (p *Prometheus) Published(step int64) {
	p.publishedStep.Set(float64(step))
	p.publishedTime.SetToCurrentTime()
}

// Refused tells of an encoder that gate kept from being published.
func (p *Prometheus) Refused(gate string) { p.refused.WithLabelValues(label(gate)).Inc() }
