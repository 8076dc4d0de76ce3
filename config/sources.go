package config

import "time"

// Sequence names the sections that a sequence of sources may list.
const (
	SourceDir    = "dir"
	SourceShards = "shards"
	SourceS3     = "s3"
	SourceKafka  = "kafka"
)

// S3Access says how a bucket is reached.
type S3Access struct {
	Region       string `yaml:"region" change:"free" example:"eu-central-1" doc:"Region of the bucket; empty takes the environment's."`
	Endpoint     string `yaml:"endpoint" path:"true" change:"free" example:"https://s3.example.org" doc:"URL of an S3-compatible server; empty is AWS."`
	PathStyle    bool   `yaml:"path_style" change:"free" doc:"Put the bucket into the path of a URL and not into the host name."`
	Anonymous    bool   `yaml:"anonymous" change:"free" doc:"Do not sign requests: for public buckets."`
	AllowHTTP    bool   `yaml:"allow_http" change:"free" doc:"Talk plain http to hosts that are not this one; whoever listens sees the data."`
	Checksum     string `yaml:"checksum" allowed:"auto|when_supported|when_required" change:"free" doc:"Which requests carry checksums; auto is when_required for an endpoint of one's own, many of which know none."`
	AccessKey    string `yaml:"access_key" secret:"true" change:"free" example:"'${AWS_ACCESS_KEY_ID}'" doc:"Access key, or file:PATH, which is read again when credentials expire. Empty takes the AWS default chain (environment, profile, role)."`
	SecretKey    string `yaml:"secret_key" secret:"true" change:"free" example:"'${AWS_SECRET_ACCESS_KEY}'" doc:"Secret key, or file:PATH."`
	SessionToken string `yaml:"session_token" secret:"true" change:"free" example:"'${AWS_SESSION_TOKEN}'" doc:"Session token of temporary credentials, or file:PATH."`
}

// S3Source is ingest.s3.
type S3Source struct {
	URL            string        `yaml:"url" change:"free" example:"s3://bucket/photos/" doc:"Bucket and prefix of image objects or of shards."`
	Kind           string        `yaml:"kind" allowed:"auto|images|shards" change:"free" doc:"What lies below the prefix; auto looks at the names."`
	OnChange       string        `yaml:"on_change" allowed:"stop|skip" change:"free" doc:"What an object that changed or vanished since it was listed means: the end of the run, or a bad image."`
	Follow         bool          `yaml:"follow" change:"accept" doc:"Keep watching the prefix for new objects: a source without an end."`
	FollowEvery    time.Duration `yaml:"follow_every" range:"[100ms,)" change:"free" doc:"Time between two listings of a followed prefix."`
	FollowLateness time.Duration `yaml:"follow_lateness" range:"[0s,)" change:"accept" doc:"How much older than the newest object a new one may be and still be taken; later ones are counted as late. Names are remembered for this long."`
	FollowStart    string        `yaml:"follow_start" allowed:"earliest|latest" change:"free" doc:"Whether a new run takes the objects that are there already."`
	PartSize       int64         `yaml:"part_size" range:"[1MiB,)" unit:"bytes" change:"free" doc:"Size of the ranges in which large objects are read."`
	Parallel       int           `yaml:"parallel" range:"[1,)" unit:"requests" change:"free" doc:"Ranges of one large object that are read at the same time."`
	PauseLimit     time.Duration `yaml:"pause_limit" range:"[0s,)" change:"free" doc:"How long a run waits for credentials that are accepted before it ends."`
	S3Access
}

// KafkaAccess says how brokers are reached.
type KafkaAccess struct {
	Brokers        []string `yaml:"brokers" change:"free" example:"[broker-1:9092, broker-2:9092]" doc:"Addresses to start from, host:port."`
	TLS            bool     `yaml:"tls" change:"free" doc:"Encrypt the connections, TLS 1.2 or newer."`
	CAFile         string   `yaml:"ca_file" path:"true" change:"free" example:"ca.pem" doc:"Certificates to trust, PEM; empty takes the system's."`
	CertFile       string   `yaml:"cert_file" path:"true" change:"free" example:"client.pem" doc:"Certificate to show to the brokers (mutual TLS), PEM."`
	KeyFile        string   `yaml:"key_file" path:"true" change:"free" example:"client-key.pem" doc:"Private key of cert_file, PEM."`
	ServerName     string   `yaml:"server_name" change:"free" example:"kafka.example.org" doc:"Name expected in the brokers' certificates, where it is not their address."`
	SASL           string   `yaml:"sasl" allowed:"none|plain|scram-sha-256|scram-sha-512|aws-msk-iam" change:"free" doc:"How to log in."`
	Username       string   `yaml:"username" change:"free" example:"trainer" doc:"User of sasl."`
	Password       string   `yaml:"password" secret:"true" change:"free" example:"'${KAFKA_PASSWORD}'" doc:"Password of sasl, or file:PATH, which is read again at every new connection."`
	AWSRegion      string   `yaml:"aws_region" change:"free" example:"eu-central-1" doc:"Region of an MSK cluster, for aws-msk-iam."`
	AllowPlaintext bool     `yaml:"allow_plaintext" change:"free" doc:"Log in without tls to hosts that are not this one; whoever listens sees the password."`
}

// KafkaSource is ingest.kafka.
type KafkaSource struct {
	KafkaAccess
	Topics       []string `yaml:"topics" change:"free" example:"[images]" doc:"Topics to read."`
	TopicPattern string   `yaml:"topic_pattern" change:"free" example:"images-.*" doc:"Regular expression that whole topic names match, instead of topics; new ones are found while the run goes on."`
	Partitions   string   `yaml:"partitions" nonempty:"true" change:"accept" doc:"Which share of the partitions this run reads, i/n: share i (from 0) of n."`
	Group        string   `yaml:"group" change:"free" example:"mocostream" doc:"Consumer group under which offsets are committed once a checkpoint covers them, for lag tools; the run itself never reads them. Empty commits nothing."`

	Schema      string       `yaml:"schema" allowed:"auto|image|arrow|json|s3_event" change:"accept" doc:"What a message holds: an encoded image, an Arrow IPC batch, JSON, or a bucket notification; auto goes by the header content-type and the first bytes."`
	KeyHeader   string       `yaml:"key_header" change:"free" example:"id" doc:"Header with the sample's key; empty takes the message's key."`
	LabelHeader string       `yaml:"label_header" change:"free" example:"label" doc:"Header with the class, a whole number."`
	TimeHeader  string       `yaml:"time_header" change:"free" example:"time" doc:"Header with the time, RFC 3339 or milliseconds since 1970; empty takes the message's own."`
	ImagesField string       `yaml:"images_field" nonempty:"true" change:"accept" doc:"Field of a JSON message that holds a list of images."`
	Objects     KafkaObjects `yaml:"objects" doc:"Objects that messages point at; ingest.s3 says how their buckets are reached."`

	Start         string        `yaml:"start" allowed:"earliest|latest|timestamp|offsets" change:"free" doc:"Where a partition without progress begins."`
	StartTime     string        `yaml:"start_time" change:"free" example:"'2026-01-31T12:00:00Z'" doc:"The time for start: timestamp, RFC 3339."`
	StartOffsets  []string      `yaml:"start_offsets" change:"free" example:"[images/0=1500, images/1=1498]" doc:"The offsets for start: offsets, topic/partition=offset; other partitions begin at the earliest."`
	OnDataLoss    string        `yaml:"on_data_loss" allowed:"stop|skip" change:"free" doc:"What it means that messages were deleted before they were read, or that a log was cut or made anew: the end of the run, or counted and passed over."`
	Merge         string        `yaml:"merge" allowed:"arrival|deterministic" change:"accept" doc:"Order of messages of several partitions: as they arrive, or by offset, which makes a run repeatable."`
	MergeTimeout  time.Duration `yaml:"merge_timeout" range:"(0s,)" change:"accept" doc:"How long merge: deterministic waits for a partition that has no messages before it goes on without it."`
	Overload      string        `yaml:"overload" allowed:"lag|sample|jump" change:"accept" doc:"What happens when messages come faster than they are trained on: the lag grows, a sample of them is taken, or the run jumps ahead."`
	OverloadLag   int64         `yaml:"overload_lag" range:"[1,)" unit:"messages" change:"accept" doc:"Lag of a partition from which on sample and jump act."`
	OverloadShare float64       `yaml:"overload_share" range:"(0,1)" change:"accept" doc:"Share of the messages that overload: sample keeps."`
	OverloadJump  int64         `yaml:"overload_jump" range:"[0,)" unit:"messages" change:"accept" doc:"Messages before the end at which overload: jump goes on."`

	FetchBytes      int64         `yaml:"fetch_bytes" range:"[64KiB,)" unit:"bytes" change:"free" doc:"Bytes asked of a partition at a time."`
	Timeout         time.Duration `yaml:"timeout" range:"[1s,)" change:"free" doc:"How long a broker may take to accept a connection or to send the next byte."`
	MaxMessageBytes int64         `yaml:"max_message_bytes" range:"[64KiB,)" unit:"bytes" change:"free" doc:"Most bytes of a message, decompressed; a larger one is a bad image. A sixteenth of loader.memory_limit at most."`
	MetadataEvery   time.Duration `yaml:"metadata_every" range:"[100ms,)" change:"free" doc:"Time between two looks for new partitions, topics and leaders."`
}

// KafkaObjects is ingest.kafka.objects.
type KafkaObjects struct {
	Allow []string `yaml:"allow" change:"free" example:"[my-bucket/incoming/]" doc:"Buckets, or buckets with a prefix, that messages may point into; everything else is refused."`
}

// validSequence are the orders in which sources may follow each other.
func (in Ingest) bounded() []string {
	var set []string
	for _, s := range []struct {
		name string
		set  bool
	}{
		{SourceDir, in.Dir != ""},
		{SourceShards, in.Shards != ""},
		{SourceS3, in.S3.URL != "" && !in.S3.Follow},
	} {
		if s.set {
			set = append(set, s.name)
		}
	}
	return set
}

// streams names the sections that are set and have no end.
func (in Ingest) streams() []string {
	var set []string
	if in.S3.URL != "" && in.S3.Follow {
		set = append(set, SourceS3)
	}
	if len(in.Kafka.Brokers) > 0 {
		set = append(set, SourceKafka)
	}
	return set
}

// Bounded names the section of the source with an end, "" if the run has none.
func (in Ingest) Bounded() string { return first(in.bounded()) }

// Stream names the section of the source without an end, "" if the run has none.
func (in Ingest) Stream() string { return first(in.streams()) }

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}
