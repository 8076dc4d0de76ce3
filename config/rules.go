package config

import (
	"fmt"
	"regexp"
)

// rules are those that compare keys; what concerns one key alone stands in its tags.
func (c *Config) rules(k *checker) {
	c.loaderRules(k)
	c.trainRules(k)
	c.scheduleRules(k)
	if s := c.Sink; s.KeepEvery > 0 && s.CheckpointEvery > 0 && s.KeepEvery%s.CheckpointEvery != 0 {
		k.fail(fmt.Sprintf("%d is no multiple of sink.checkpoint_every (%d), so that some would never be written; use a multiple or 0",
			s.KeepEvery, s.CheckpointEvery), "sink.keep_every", "sink.checkpoint_every")
	}
	c.probeRules(k)
	c.sourceRules(k)
	c.sinkRules(k)
}

func (c *Config) loaderRules(k *checker) {
	l := c.Loader.Limits
	if l.MinSide > l.MaxSide {
		k.fail(fmt.Sprintf("%d is larger than max_side (%d), so that every image would be bad; use less", l.MinSide, l.MaxSide),
			"loader.limits.min_side", "loader.limits.max_side")
	}
	if l.MaxBytes > c.Loader.MemoryLimit {
		k.fail(fmt.Sprintf("%s is more than loader.memory_limit (%s), so that one image could not be held; lower it or raise the limit",
			formatSize(l.MaxBytes), formatSize(c.Loader.MemoryLimit)), "loader.limits.max_bytes", "loader.memory_limit")
	}
}

func (c *Config) trainRules(k *checker) {
	t := c.Train
	if t.Mechanism == MechanismMoCo && t.K != 0 && t.Batch != 0 && t.K < t.Batch {
		k.fail(fmt.Sprintf("%d is smaller than the batch (%d); use a multiple of batch or auto", t.K, t.Batch), "train.k", "train.batch")
	} else if t.Mechanism == MechanismMoCo && t.Symmetric && t.K != 0 && t.K < 2*t.Batch {
		k.fail(fmt.Sprintf("%d is smaller than the %d keys of a step, two an image of the batch (%d); use a multiple of them or auto", t.K, 2*t.Batch, t.Batch),
			"train.k", "train.batch", "train.symmetric")
	}
	if t.Mechanism == MechanismMemoryBank && t.Symmetric {
		k.fail("is true, and memory_bank has no key encoder for the second view; set it to false", "train.symmetric", "train.mechanism")
	}
	c.queueRules(k)
	c.partRules(k)
}

// queueRules are those of what is no negative.
func (c *Config) queueRules(k *checker) {
	t := c.Train
	if t.Mechanism == MechanismMemoryBank && t.Queue.Mask != MaskNone && t.Queue.Mask != MaskSample {
		k.fail(fmt.Sprintf("is %s, and memory_bank knows of its entries only which image they are of; use sample or none", t.Queue.Mask),
			"train.queue.mask", "train.mechanism")
	}
	if t.Mechanism != MechanismMoCo && t.Queue.Warm == WarmMasked {
		k.fail(fmt.Sprintf("is masked, and %s has no queue that fills; use random", t.Mechanism), "train.queue.warm", "train.mechanism")
	}
}

// partRules are those of a batch's parts.
func (c *Config) partRules(k *checker) {
	t := c.Train
	if t.Batch == 0 || t.Accumulate < 1 || t.Devices < 1 { // auto, or reported by its tag
		return
	}
	if t.Batch%t.Accumulate != 0 || t.Batch/t.Accumulate < 2 {
		k.fail(fmt.Sprintf("%d does not cut the batch (%d) into equal parts of 2 images or more; use a divisor of batch", t.Accumulate, t.Batch),
			"train.accumulate", "train.batch")
		return
	}
	if part := t.Batch / t.Accumulate; t.BNGroups > 0 && part%t.BNGroups != 0 {
		of := "the batch"
		if t.Accumulate > 1 {
			of = "a part of the batch"
		}
		k.fail(fmt.Sprintf("%d does not divide %s (%d); use a divisor of it or auto", t.BNGroups, of, part), "train.bn_groups", "train.batch", "train.accumulate")
	}
	if part := t.Batch / t.Accumulate; part%t.Devices != 0 {
		k.fail(fmt.Sprintf("%d devices cannot share %s of %d images evenly; use a divisor of it", t.Devices, choose(t.Accumulate > 1, "a part", "a batch"), part),
			"train.devices", "train.batch", "train.accumulate")
	}
	if t.BN == "groups" && t.Devices > 1 && t.BNGroups%t.Devices != 0 {
		k.fail(fmt.Sprintf("%d is no multiple of devices (%d), so that every normalisation would wait for other devices; use a multiple of devices or auto, or bn: plain or sync",
			t.BNGroups, t.Devices), "train.bn_groups", "train.devices")
	}
}

func (c *Config) scheduleRules(k *checker) {
	t, s := c.Train, c.Train.Schedule
	if t.Steps == 0 && t.Epochs == 0 && s.Name == "cosine" {
		k.fail("cosine needs an end to fall to, and train.steps and train.epochs are both 0; set one of them, or use wsd or constant",
			"train.schedule.name", "train.epochs", "train.steps")
	}
	if t.Steps > 0 && s.WarmupSteps >= t.Steps {
		k.fail(fmt.Sprintf("%d leaves nothing of train.steps (%d) after the warm-up; use less", s.WarmupSteps, t.Steps),
			"train.schedule.warmup_steps", "train.steps")
	}
	if s.Name == "wsd" && t.Steps > 0 && s.DecaySteps > t.Steps-s.WarmupSteps {
		k.fail(fmt.Sprintf("%d is more than train.steps (%d) leaves after the warm-up (%d); use less or auto", s.DecaySteps, t.Steps, s.WarmupSteps),
			"train.schedule.decay_steps", "train.steps", "train.schedule.warmup_steps")
	}
	if s.Name == "step" && len(s.Milestones) == 0 {
		k.fail("is empty, so that step would never lower the rate; list epochs, as [120, 160], or use constant",
			"train.schedule.milestones", "train.schedule.name")
	}
	for i := 1; i < len(s.Milestones); i++ {
		if s.Milestones[i] <= s.Milestones[i-1] {
			k.fail(fmt.Sprintf("%d comes after %d; list epochs in rising order", s.Milestones[i], s.Milestones[i-1]), "train.schedule.milestones")
			return
		}
	}
}

// probeName keeps names fit for metrics and files.
var probeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (c *Config) probeRules(k *checker) {
	seen := map[string]bool{}
	for i, p := range c.Eval.Probes {
		key := fmt.Sprintf("eval.probes[%d].name", i)
		switch {
		case p.Name == "": // reported by its tag
		case !probeName.MatchString(p.Name):
			k.fail(fmt.Sprintf("%q is no name for metrics; use letters, digits, dot, dash and underscore", p.Name), key)
		case seen[p.Name]:
			k.fail(fmt.Sprintf("%q names two probes; give each its own", p.Name), key)
		}
		seen[p.Name] = true
	}
}

// trainingRules are what only a training run asks for.
func (c *Config) trainingRules(k *checker) {
	in := c.Ingest
	bounded, streams := in.bounded(), in.streams()
	switch {
	case len(bounded)+len(streams) == 0:
		k.fail("is not set; name a folder of images here, or another source: ingest.shards, ingest.s3.url or ingest.kafka.brokers",
			"ingest.dir", "ingest.shards", "ingest.s3.url", "ingest.kafka.brokers")
	case len(bounded) > 1:
		k.fail(fmt.Sprintf("is set beside ingest.%s; a run reads one source with an end, so delete one of them", bounded[1]),
			"ingest."+sourceKey(bounded[0]), "ingest."+sourceKey(bounded[1]))
	case len(streams) > 1:
		k.fail("is set beside ingest.kafka.brokers; a run reads one source without an end, so delete one of them",
			"ingest.s3.follow", "ingest.kafka.brokers")
	case len(bounded) == 1 && len(streams) == 1 && len(in.Sequence) == 0:
		k.fail(fmt.Sprintf("is set beside ingest.%s; a run reads one source, so delete one of them, or set ingest.sequence: [%[1]s, %[2]s]",
			bounded[0], streams[0]), "ingest."+sourceKey(streams[0]), "ingest."+sourceKey(bounded[0]))
	case len(in.Sequence) > 0 && (len(bounded) != 1 || len(streams) != 1 || in.Sequence[0] != bounded[0] || in.Sequence[1] != streams[0]):
		k.fail(fmt.Sprintf("names %v, and set are %v; set one source with an end and one without, and list them in this order",
			in.Sequence, append(bounded, streams...)), "ingest.sequence")
	}
	if in.Stream() != "" {
		c.streamRules(k)
	}
	k.login(in.Kafka.KafkaAccess, "ingest.kafka")
	k.login(c.Sink.Kafka, "sink.kafka")
}

// sourceKey is the key by which a section of sources is chosen.
func sourceKey(section string) string {
	switch section {
	case SourceS3:
		return "s3.url"
	case SourceKafka:
		return "kafka.brokers"
	}
	return section
}

// streamRules are what a source without an end asks for.
func (c *Config) streamRules(k *checker) {
	if t := c.Train; t.Steps == 0 && t.Schedule.Name != "constant" && t.Schedule.Name != "wsd" {
		k.fail(fmt.Sprintf("%s needs an end to fall to, and a stream has none; set train.steps, or use wsd or constant", t.Schedule.Name),
			"train.schedule.name", "train.steps")
	}
	if c.Train.Mechanism == MechanismMemoryBank {
		k.fail("is memory_bank, which keeps an entry for every image, and a stream has no end; use moco, or a source with an end alone", "train.mechanism")
	}
	if c.Ingest.Stream() == SourceKafka {
		c.kafkaMemory(k)
	}
	if in := c.Ingest.Kafka; len(in.Brokers) > 0 && (len(in.Topics) == 0) == (in.TopicPattern == "") {
		k.fail("needs either topics or topic_pattern beside it; set one of them", "ingest.kafka.brokers", "ingest.kafka.topics", "ingest.kafka.topic_pattern")
	}
}
