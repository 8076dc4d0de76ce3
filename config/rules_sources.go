package config

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// sourceRules are those of buckets and topics.
func (c *Config) sourceRules(k *checker) {
	in := c.Ingest
	if n := len(in.Sequence); n != 0 && n != 2 {
		k.fail(fmt.Sprintf("lists %d sources; list two, one with an end and one without, as [s3, kafka]", n), "ingest.sequence")
	}
	k.bucket(in.S3.URL, "ingest.s3.url")
	k.access(in.S3.S3Access, "ingest.s3")
	if in.S3.Follow && in.S3.URL == "" {
		k.fail("is true without ingest.s3.url; name the bucket there", "ingest.s3.follow", "ingest.s3.url")
	}
	k.brokers(in.Kafka.KafkaAccess, "ingest.kafka")
	c.kafkaRules(k)
}

func (c *Config) kafkaRules(k *checker) {
	in := c.Ingest.Kafka
	if _, err := regexp.Compile(in.TopicPattern); err != nil {
		k.fail("is no regular expression: "+err.Error(), "ingest.kafka.topic_pattern")
	}
	if _, _, ok := Share(in.Partitions); !ok {
		k.fail(fmt.Sprintf("%q is no share; write i/n with 0 <= i < n, as 0/1 for all", in.Partitions), "ingest.kafka.partitions")
	}
	if in.Start == "timestamp" {
		if _, err := time.Parse(time.RFC3339, in.StartTime); err != nil {
			k.fail(fmt.Sprintf("%q is no time; write it as 2026-01-31T12:00:00Z", in.StartTime), "ingest.kafka.start_time", "ingest.kafka.start")
		}
	}
	if in.Start == "offsets" && len(in.StartOffsets) == 0 {
		k.fail("is empty, and start: offsets goes by it; list them, as [images/0=1500]", "ingest.kafka.start_offsets", "ingest.kafka.start")
	}
	for _, s := range in.StartOffsets {
		if _, _, _, ok := StartOffset(s); !ok {
			k.fail(fmt.Sprintf("%q is no offset of a partition; write topic/partition=offset, as images/0=1500", s), "ingest.kafka.start_offsets")
		}
	}
}

// kafkaMemory is asked of a run that reads topics: half of the memory is for messages read ahead, of which several must fit.
func (c *Config) kafkaMemory(k *checker) {
	if most := c.Loader.MemoryLimit / 16; c.Ingest.Kafka.MaxMessageBytes > most {
		k.fail(fmt.Sprintf("%s is more than a sixteenth of loader.memory_limit (%s), so that messages could not be read ahead; lower it to %s or raise the limit",
			formatSize(c.Ingest.Kafka.MaxMessageBytes), formatSize(c.Loader.MemoryLimit), formatSize(most)),
			"ingest.kafka.max_message_bytes", "loader.memory_limit")
	}
	if in := c.Ingest.Kafka; in.Merge == "deterministic" && in.Overload != "lag" {
		k.fail(fmt.Sprintf("is %s, and what is shed depends on time; with merge: deterministic use lag", in.Overload), "ingest.kafka.overload", "ingest.kafka.merge")
	}
}

// Share reads "i/n".
func Share(text string) (index, of int, ok bool) {
	i, n, found := strings.Cut(text, "/")
	index, err1 := strconv.Atoi(i)
	of, err2 := strconv.Atoi(n)
	return index, of, found && err1 == nil && err2 == nil && index >= 0 && index < of
}

// StartOffset reads "topic/partition=offset".
func StartOffset(text string) (topic string, partition int32, offset int64, ok bool) {
	place, number, found := strings.Cut(text, "=")
	slash := strings.LastIndexByte(place, '/')
	if !found || slash <= 0 {
		return "", 0, 0, false
	}
	p, err1 := strconv.ParseInt(place[slash+1:], 10, 32)
	offset, err2 := strconv.ParseInt(number, 10, 64)
	return place[:slash], int32(p), offset, err1 == nil && err2 == nil && p >= 0 && offset >= 0
}

// Bucket reads "s3://bucket/prefix".
func Bucket(text string) (bucket, prefix string, ok bool) {
	rest, found := strings.CutPrefix(text, "s3://")
	bucket, prefix, _ = strings.Cut(rest, "/")
	return bucket, prefix, found && bucket != ""
}

func (k *checker) bucket(text, key string) {
	if _, _, ok := Bucket(text); text != "" && !ok {
		k.fail(fmt.Sprintf("%q is no place in a bucket; write s3://bucket/prefix", text), key)
	}
}

func (k *checker) access(a S3Access, section string) {
	u, err := url.Parse(a.Endpoint)
	if a.Endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil) {
		k.fail("is no URL of a server; write https://host or http://localhost:9000, without a user", section+".endpoint")
	}
	if (a.AccessKey == "") != (a.SecretKey == "") {
		k.fail("is set without the other; set access_key and secret_key, or neither for the AWS default chain", section+".access_key", section+".secret_key")
	}
	if a.Anonymous && a.AccessKey != "" {
		k.fail("is true beside access_key; delete one of them", section+".anonymous", section+".access_key")
	}
}

func (k *checker) brokers(a KafkaAccess, section string) {
	for _, b := range a.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			k.fail(fmt.Sprintf("%q is no address; write host:port, as localhost:9092", b), section+".brokers")
			return
		}
	}
	if (a.CertFile == "") != (a.KeyFile == "") {
		k.fail("is set without the other; mutual TLS needs cert_file and key_file", section+".cert_file", section+".key_file")
	}
}

// login is asked of a run alone: what config print shows, and what a checkpoint keeps, holds no password and no path.
func (k *checker) login(a KafkaAccess, section string) {
	if !a.TLS && (a.CAFile != "" || a.CertFile != "") {
		k.fail("is false, and certificates are named; set it to true or delete them", section+".tls", section+".ca_file", section+".cert_file")
	}
	login := a.SASL == "plain" || strings.HasPrefix(a.SASL, "scram-")
	if login && (a.Username == "" || a.Password == "") {
		k.fail(fmt.Sprintf("is %s, which needs username and password; set both", a.SASL), section+".sasl", section+".username", section+".password")
	}
}

// sinkRules are those of what leaves.
func (c *Config) sinkRules(k *checker) {
	s := c.Sink
	k.bucket(s.S3.URL, "sink.s3.url")
	k.access(s.S3.S3Access, "sink.s3")
	k.brokers(s.Kafka, "sink.kafka")
	if (s.DeadTopic != "" || s.Embeddings.To == "topic") && len(s.Kafka.Brokers) == 0 && len(c.Ingest.Kafka.Brokers) == 0 {
		k.fail("is empty, and a topic is to be written; name the brokers", "sink.kafka.brokers", "sink.dead_topic", "sink.embeddings.to")
	}
	if s.Embeddings.To == "topic" && s.Embeddings.Topic == "" {
		k.fail("is not set, and embeddings.to is topic; name it", "sink.embeddings.topic", "sink.embeddings.to")
	}
	if s.Embeddings.To != "none" && s.Publish.Every == 0 {
		k.fail(fmt.Sprintf("is %s, and no encoder is ever published that could make features; set sink.publish.every", s.Embeddings.To),
			"sink.embeddings.to", "sink.publish.every")
	}
	if s.Embeddings.To != "none" && c.Ingest.Bounded() != "" && c.Ingest.Stream() == "" {
		k.fail("is "+s.Embeddings.To+", and the source has an end; use mocostream embed for it", "sink.embeddings.to")
	}
	if c.Daemon.HTTP != "" {
		if host, _, err := net.SplitHostPort(c.Daemon.HTTP); err != nil {
			k.fail(fmt.Sprintf("%q is no address; write host:port, as 127.0.0.1:9464, or nothing for none", c.Daemon.HTTP), "daemon.http")
		} else if ip := net.ParseIP(host); c.Daemon.Token == "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			k.fail(fmt.Sprintf("%s can be reached from elsewhere, and there is no token; set daemon.token, or listen on 127.0.0.1", c.Daemon.HTTP),
				"daemon.http", "daemon.token")
		}
	}
}
