package config

import "time"

// Sink is the section of what a run leaves behind.
type Sink struct {
	Dir                string        `yaml:"dir" path:"true" nonempty:"true" change:"free" doc:"Folder of the run: checkpoints, metrics, dead letters. A run whose folder holds a checkpoint goes on from it."`
	CheckpointEvery    int           `yaml:"checkpoint_every" range:"[1,)" unit:"steps" change:"free" doc:"Steps between checkpoints; one more is written at the end."`
	CheckpointInterval time.Duration `yaml:"checkpoint_interval" range:"[0s,)" change:"free" doc:"Longest time between checkpoints of a run that makes steps; 0 goes by steps alone."`
	Keep               int           `yaml:"keep" range:"[1,)" unit:"checkpoints" change:"free" doc:"Newest checkpoints kept."`
	KeepEvery          int           `yaml:"keep_every" range:"[0,)" unit:"steps" change:"free" doc:"Checkpoints at multiples of this are kept for ever; 0 keeps none."`
	LogEvery           time.Duration `yaml:"log_every" range:"(0s,)" change:"free" doc:"Time between progress lines in the log."`
	Ledger             bool          `yaml:"ledger" change:"free" doc:"Record the identity of every sample that a finished step took, about 24 bytes each: see mocostream ledger."`
	DeadTopic          string        `yaml:"dead_topic" change:"free" example:"images-dead" doc:"Kafka topic that dead letters are sent to as well, over sink.kafka."`

	S3         S3Sink      `yaml:"s3" doc:"Checkpoints and exports in a bucket, instead of in sink.dir, which then holds metrics and other records alone."`
	Kafka      KafkaAccess `yaml:"kafka" doc:"Brokers of the topics that are written; without brokers those of ingest.kafka."`
	Publish    Publish     `yaml:"publish" doc:"Encoders for other services to pick up."`
	Embeddings Embeddings  `yaml:"embeddings" doc:"Features of what comes in, by the encoder published last."`
}

// S3Sink is sink.s3.
type S3Sink struct {
	URL   string        `yaml:"url" change:"free" example:"s3://bucket/runs/photos" doc:"Bucket and prefix of this run alone."`
	Lease time.Duration `yaml:"lease" range:"[1s,)" change:"free" doc:"How long a run's sign of life must have stayed the same before one that stands by takes over."`
	S3Access
}

// Publish is sink.publish.
type Publish struct {
	Every     int     `yaml:"every" range:"[0,)" unit:"steps" change:"free" doc:"Steps between exports; 0 publishes none."`
	Keep      int     `yaml:"keep" range:"[1,)" unit:"versions" change:"free" doc:"Newest versions kept."`
	MinSpread float64 `yaml:"min_spread" range:"[0,1]" change:"free" doc:"Spread of the embedding below which the encoder counts as collapsed and is not published."`
	MaxPValue float64 `yaml:"max_p_value" range:"(0,1)" change:"free" doc:"An encoder is held back when a paired test finds its probes worse than those of the last or the best one published, at this significance."`
}

// Embeddings is sink.embeddings.
type Embeddings struct {
	To    string        `yaml:"to" allowed:"none|parquet|topic" change:"free" doc:"Where features go: Parquet files in sink.dir/embeddings, or a Kafka topic."`
	Topic string        `yaml:"topic" change:"free" example:"images-embedded" doc:"The topic for to: topic, over sink.kafka."`
	Every time.Duration `yaml:"every" range:"[1s,)" change:"free" doc:"Time between two batches of features."`
}

// Daemon is the section of mocostream daemon.
type Daemon struct {
	HTTP            string        `yaml:"http" change:"free" example:"127.0.0.1:9464" doc:"Address of /healthz, /readyz, /metrics and /status; empty opens none. Beyond loopback it needs a token."`
	Token           string        `yaml:"token" secret:"true" change:"free" example:"'${MOCOSTREAM_TOKEN}'" doc:"Bearer token that HTTP requests must carry."`
	Socket          string        `yaml:"socket" path:"true" change:"free" example:"/run/mocostream/control.sock" doc:"Unix socket of mocostream ctl; empty is control.sock in sink.dir."`
	Standby         bool          `yaml:"standby" change:"free" doc:"Wait while another process runs here, and take over when it ends."`
	StallTimeout    time.Duration `yaml:"stall_timeout" range:"[1s,)" change:"free" doc:"Time without a finished step, while data waits, after which /healthz fails."`
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout" range:"[1s,)" change:"free" doc:"Time that a stop may take for step, checkpoint and commit before the process ends anyway."`
}

// Eval is the section of k-nearest-neighbour evaluation.
type Eval struct {
	Every       int     `yaml:"every" range:"[0,)" unit:"steps" change:"free" doc:"Steps between evaluations; 0 evaluates at the end only."`
	Probes      []Probe `yaml:"probes" change:"free" example:"[{name: animals, reference: data/animals/train, query: data/animals/test}]" doc:"Labelled data sets on which the features are measured."`
	K           int     `yaml:"k" range:"[1,)" unit:"neighbours" change:"free" doc:"Neighbours that vote."`
	Temperature float64 `yaml:"temperature" range:"(0,)" change:"free" doc:"Temperature of the votes: a neighbour counts exp(similarity / temperature)."`
}

// Probe is one element of eval.probes: folders with a sub-folder a class.
type Probe struct {
	Name      string `yaml:"name" nonempty:"true" doc:"Name in metrics; letters, digits, dot, dash and underscore."`
	Reference string `yaml:"reference" path:"true" nonempty:"true" doc:"Folder of labelled images whose classes are known."`
	Query     string `yaml:"query" path:"true" nonempty:"true" doc:"Folder of labelled images whose classes are guessed."`
	Limit     int    `yaml:"limit" range:"[0,)" unit:"images" doc:"Most images taken of each folder; 0 takes all."`
}
