package sink

import (
	"strconv"

	"mocostream/internal/control"
	"mocostream/internal/flow"

	"github.com/prometheus/client_golang/prometheus"
)

// Feeds are where a Prometheus asks for what others count themselves, at each scrape and so concurrently with everything.
// nil ones have no metrics.
type Feeds struct {
	State      func() control.Snapshot
	Partitions func() []PartitionStats
	Objects    func() ObjectStats
	Loader     func() LoaderStats
	Replay     func() ReplayStats
	Flow       func() flow.Figures // of about the last minute
}

// PartitionStats is where a source stands in one partition of a topic. Counters begin when the source was opened.
type PartitionStats struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`

	Records        int64 `json:"records"`
	Bytes          int64 `json:"bytes"`
	Aborted        int64 `json:"aborted"`
	Lost           int64 `json:"lost"`
	Shed           int64 `json:"shed"`
	ChecksumErrors int64 `json:"checksum_errors"`
	Retries        int64 `json:"retries"`
	Reconnects     int64 `json:"reconnects"`

	LagRecords     int64   `json:"lag_records"`
	LagSeconds     float64 `json:"lag_seconds"`
	RetentionLeft  int64   `json:"retention_left_records"`     // records that retention has yet to delete before it reaches unread ones
	NothingIsKnown bool    `json:"nothing_is_known,omitempty"` // of lag and retention: the broker has not been asked yet
}

// ObjectStats is what a source of objects counted since it was opened.
type ObjectStats struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
	Skipped int64 `json:"skipped"`
	Corrupt int64 `json:"corrupt"`
	Late    int64 `json:"late"`
	Pending int64 `json:"pending"`
	Paused  bool  `json:"paused"` // it waits for valid credentials
}

// LoaderStats is the state of the loader.
type LoaderStats struct {
	HeldBytes     int64 `json:"held_bytes"` // encoded images in memory
	LimitBytes    int64 `json:"limit_bytes"`
	Samples       int64 `json:"samples"`        // handed out
	Duplicates    int64 `json:"duplicates"`     // passed over by dedupe
	MergeTimeouts int64 `json:"merge_timeouts"` // a deterministic merge went on without an idle partition
	BatchesQueued int   `json:"batches_queued"` // rendered, and not taken by a step yet
}

// Attach has p ask f from now on, in place of what was attached before.
func (p *Prometheus) Attach(f Feeds) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.feeds = f
}

func (p *Prometheus) attached() Feeds {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.feeds
}

// pulled is a collector of Feeds.
type pulled struct{ feeds func() Feeds }

// Describe implements prometheus.Collector.
func (c *pulled) Describe(to chan<- *prometheus.Desc) {
	for _, family := range [][]*prometheus.Desc{
		stateDescs(), descsOf(partitionMetrics()), descsOf(objectMetrics()), descsOf(loaderMetrics()), descsOf(replayMetrics()), flowDescs(),
	} {
		for _, d := range family {
			to <- d
		}
	}
}

// Collect implements prometheus.Collector.
func (c *pulled) Collect(to chan<- prometheus.Metric) {
	f := c.feeds()
	if f.State != nil {
		collectState(to, f.State())
	}
	if f.Partitions != nil {
		for _, s := range mergedPartitions(f.Partitions()) {
			collect(to, partitionMetrics(), s, label(s.Topic), strconv.Itoa(int(s.Partition)))
		}
	}
	if f.Objects != nil {
		collect(to, objectMetrics(), f.Objects())
	}
	if f.Loader != nil {
		collect(to, loaderMetrics(), f.Loader())
	}
	if f.Replay != nil {
		collect(to, replayMetrics(), f.Replay())
	}
	if f.Flow != nil {
		collectFlow(to, f.Flow())
	}
}

// pull is one metric that is read off an S.
type pull[S any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(S) float64
	known func(S) bool // nil: always
}

func collect[S any](to chan<- prometheus.Metric, all []pull[S], s S, labels ...string) {
	for _, m := range all {
		if m.known == nil || m.known(s) {
			to <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s), labels...)
		}
	}
}

func descsOf[S any](all []pull[S]) []*prometheus.Desc {
	descs := make([]*prometheus.Desc, len(all))
	for i, m := range all {
		descs[i] = m.desc
	}
	return descs
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
}

func partitionMetrics() []pull[PartitionStats] {
	metric := func(kind prometheus.ValueType, name, help string, value func(PartitionStats) float64) pull[PartitionStats] {
		return pull[PartitionStats]{desc: describe(name, help, "topic", "partition"), kind: kind, value: value}
	}
	count := func(name, help string, value func(PartitionStats) int64) pull[PartitionStats] {
		return metric(prometheus.CounterValue, name, help, func(s PartitionStats) float64 { return float64(value(s)) })
	}
	level := func(name, help string, value func(PartitionStats) float64) pull[PartitionStats] {
		m := metric(prometheus.GaugeValue, name, help, value)
		m.known = func(s PartitionStats) bool { return !s.NothingIsKnown }
		return m
	}
	return []pull[PartitionStats]{
		count("records_total", "Records read.", func(s PartitionStats) int64 { return s.Records }),
		count("record_bytes_total", "Bytes of records read, decompressed.", func(s PartitionStats) int64 { return s.Bytes }),
		count("records_aborted_total", "Records passed over because their transaction was aborted.", func(s PartitionStats) int64 { return s.Aborted }),
		count("records_lost_total", "Records that the broker no longer had when they were due, or that were damaged.", func(s PartitionStats) int64 { return s.Lost }),
		count("records_shed_total", "Records left out on purpose, by the overload rule.", func(s PartitionStats) int64 { return s.Shed }),
		count("checksum_errors_total", "Batches of records that arrived with a wrong checksum.", func(s PartitionStats) int64 { return s.ChecksumErrors }),
		count("source_retries_total", "Requests to the source that failed and were repeated.", func(s PartitionStats) int64 { return s.Retries }),
		count("source_reconnects_total", "Requests among them that lost or found no connection.", func(s PartitionStats) int64 { return s.Reconnects }),
		level("lag_records", "Records that wait at the source.", func(s PartitionStats) float64 { return float64(s.LagRecords) }),
		level("lag_seconds", "Age of the newest record read while others wait; 0 when there are none.", func(s PartitionStats) float64 { return s.LagSeconds }),
		level("retention_left_records", "Records that retention has yet to delete before it reaches unread ones.", func(s PartitionStats) float64 { return float64(s.RetentionLeft) }),
	}
}

// mergedPartitions joins what has equal labels: a topic that was made anew, or of two clusters. One name twice would spoil the scrape.
func mergedPartitions(all []PartitionStats) []PartitionStats {
	type key struct {
		topic     string
		partition int32
	}
	at := map[key]int{}
	var joined []PartitionStats
	for _, s := range all {
		k := key{label(s.Topic), s.Partition}
		i, ok := at[k]
		if !ok {
			at[k] = len(joined)
			joined = append(joined, s)
			continue
		}
		joined[i] = join(joined[i], s)
	}
	return joined
}

func join(a, b PartitionStats) PartitionStats {
	sum := PartitionStats{
		Topic: a.Topic, Partition: a.Partition,
		Records: a.Records + b.Records, Bytes: a.Bytes + b.Bytes, Aborted: a.Aborted + b.Aborted,
		Lost: a.Lost + b.Lost, Shed: a.Shed + b.Shed,
		ChecksumErrors: a.ChecksumErrors + b.ChecksumErrors, Retries: a.Retries + b.Retries, Reconnects: a.Reconnects + b.Reconnects,
	}
	switch {
	case a.NothingIsKnown:
		a = b
	case !b.NothingIsKnown:
		a.LagRecords += b.LagRecords
		a.LagSeconds = max(a.LagSeconds, b.LagSeconds)
		a.RetentionLeft = min(a.RetentionLeft, b.RetentionLeft)
	}
	sum.LagRecords, sum.LagSeconds, sum.RetentionLeft, sum.NothingIsKnown = a.LagRecords, a.LagSeconds, a.RetentionLeft, a.NothingIsKnown
	return sum
}

func objectMetrics() []pull[ObjectStats] {
	count := func(name, help string, value func(ObjectStats) int64) pull[ObjectStats] {
		return pull[ObjectStats]{
			desc: describe(name, help), kind: prometheus.CounterValue, value: func(s ObjectStats) float64 { return float64(value(s)) },
		}
	}
	return []pull[ObjectStats]{
		count("objects_total", "Image objects read and shards opened.", func(s ObjectStats) int64 { return s.Objects }),
		count("object_bytes_total", "Bytes read of objects.", func(s ObjectStats) int64 { return s.Bytes }),
		count("objects_skipped_total", "Samples, or whole objects of a followed prefix, that changed or vanished before they were read.", func(s ObjectStats) int64 { return s.Skipped }),
		count("objects_corrupt_total", "Reads whose bytes did not fit their checksum and were repeated.", func(s ObjectStats) int64 { return s.Corrupt }),
		count("objects_late_total", "Objects of a followed prefix that turned up too late to be told from old ones, and were not read.", func(s ObjectStats) int64 { return s.Late }),
		{desc: describe("objects_pending", "Objects of a followed prefix that were found and not read yet."), kind: prometheus.GaugeValue,
			value: func(s ObjectStats) float64 { return float64(s.Pending) }},
		{desc: describe("objects_paused", "1 while reading waits for valid credentials."), kind: prometheus.GaugeValue,
			value: func(s ObjectStats) float64 { return oneIf(s.Paused) }},
	}
}

func loaderMetrics() []pull[LoaderStats] {
	metric := func(kind prometheus.ValueType, name, help string, value func(LoaderStats) int64) pull[LoaderStats] {
		return pull[LoaderStats]{desc: describe(name, help), kind: kind, value: func(s LoaderStats) float64 { return float64(value(s)) }}
	}
	return []pull[LoaderStats]{
		metric(prometheus.GaugeValue, "loader_bytes", "Bytes of encoded images in memory.", func(s LoaderStats) int64 { return s.HeldBytes }),
		metric(prometheus.GaugeValue, "loader_limit_bytes", "Bound of loader_bytes.", func(s LoaderStats) int64 { return s.LimitBytes }),
		metric(prometheus.CounterValue, "loader_samples_total", "Encoded images that the loader handed out.", func(s LoaderStats) int64 { return s.Samples }),
		metric(prometheus.GaugeValue, "batches_queued", "Batches that are rendered and wait for a step.", func(s LoaderStats) int64 { return int64(s.BatchesQueued) }),
		metric(prometheus.CounterValue, "duplicates_total", "Samples passed over because dedupe had seen them.", func(s LoaderStats) int64 { return s.Duplicates }),
		metric(prometheus.CounterValue, "merge_timeouts_total", "Times that a deterministic merge went on without an idle partition.", func(s LoaderStats) int64 { return s.MergeTimeouts }),
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
