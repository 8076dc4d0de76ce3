// Package servertest tells tests where the real servers are that make integration starts (or make kafka-up and make
// s3-up, their env files sourced). A test that asks for one that is not there is skipped, saying what to start;
// MOCOSTREAM_REQUIRE_SERVERS=1 makes that a failure.
package servertest

import (
	"os"
	"strings"
	"testing"
)

// requireEnv makes a missing server a failure.
const requireEnv = "MOCOSTREAM_REQUIRE_SERVERS"

// Kafka is a cluster of Apache Kafka.
type Kafka struct {
	Brokers []string // host:port, plain
	Secure  []string // host:port, SASL (SCRAM-SHA-512, SCRAM-SHA-256, PLAIN) over TLS

	CA             string // file with the certificate to trust
	User, Password string

	dir string // of its data, pid files and settings
}

// OneBroker returns the cluster of one broker.
func OneBroker(t testing.TB) Kafka {
	t.Helper()
	return cluster(t, "MOCOSTREAM_KAFKA", "make kafka-up")
}

// ThreeBrokers returns the cluster of three: replication factor 3, two of them in sync for a write.
func ThreeBrokers(t testing.TB) Kafka {
	t.Helper()
	return cluster(t, "MOCOSTREAM_KAFKA3", "make integration")
}

func cluster(t testing.TB, prefix, remedy string) Kafka {
	t.Helper()
	k := Kafka{
		Brokers: list(ask(t, prefix, remedy)), Secure: list(os.Getenv(prefix + "_SECURE")), CA: os.Getenv(prefix + "_CA"),
		User: os.Getenv(prefix + "_USER"), Password: os.Getenv(prefix + "_PASSWORD"), dir: os.Getenv(prefix + "_DIR"),
	}
	return k
}

// S3 is a server that speaks S3.
type S3 struct {
	Endpoint             string // URL; buckets in the path
	AccessKey, SecretKey string
	Region               string
}

// ObjectStore returns the S3 server.
func ObjectStore(t testing.TB) S3 {
	t.Helper()
	s := S3{
		Endpoint: ask(t, "MOCOSTREAM_S3_ENDPOINT", "make s3-up"), AccessKey: os.Getenv("MOCOSTREAM_S3_ACCESS_KEY"),
		SecretKey: os.Getenv("MOCOSTREAM_S3_SECRET_KEY"), Region: os.Getenv("MOCOSTREAM_S3_REGION"),
	}
	if s.Region == "" {
		s.Region = "us-east-1"
	}
	return s
}

// ask returns the environment's value; without one the test goes no further.
func ask(t testing.TB, name, remedy string) string {
	t.Helper()
	value := os.Getenv(name)
	switch {
	case value != "":
	case os.Getenv(requireEnv) == "1":
		t.Fatalf("%s is not set and %s=1; %s starts the server", name, requireEnv, remedy)
	default:
		t.Skipf("%s is not set; %s starts the server", name, remedy)
	}
	return value
}

func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}
