//go:build integration

package servertest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// within gives a server that has just started, or that lost a broker, time to answer as it should.
func within(t *testing.T, d time.Duration, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %v", what, d, err)
		}
	}
}

// link is one way to reach a cluster.
type link struct {
	*kafka.Client
	*kafka.Transport
}

func dial(t *testing.T, addresses []string, config *tls.Config, mechanism sasl.Mechanism) link {
	transport := &kafka.Transport{TLS: config, SASL: mechanism, MetadataTTL: time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	return link{&kafka.Client{Addr: kafka.TCP(addresses...), Timeout: 10 * time.Second, Transport: transport}, transport}
}

// topic makes a topic with one partition that every broker has.
func (l link) topic(t *testing.T, name string, replicas int) {
	t.Helper()
	within(t, 30*time.Second, "create topic", func(ctx context.Context) error {
		r, err := l.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{
			{Topic: name, NumPartitions: 1, ReplicationFactor: replicas},
		}})
		if err == nil && !errors.Is(r.Errors[name], kafka.TopicAlreadyExists) {
			err = r.Errors[name]
		}
		return err
	})
}

func (l link) produce(ctx context.Context, topic, value string) error {
	r, err := l.Produce(ctx, &kafka.ProduceRequest{
		Topic: topic, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes([]byte(value))}),
	})
	if err == nil {
		err = r.Error
	}
	return err
}

func (l link) last(ctx context.Context, topic string) (string, error) {
	offsets, err := l.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {kafka.LastOffsetOf(0)}}})
	if err != nil {
		return "", err
	}
	r, err := l.Fetch(ctx, &kafka.FetchRequest{Topic: topic, Offset: offsets.Topics[topic][0].LastOffset - 1, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second})
	if err != nil {
		return "", err
	}
	if r.Error != nil {
		return "", r.Error
	}
	record, err := r.Records.ReadRecord()
	if err != nil {
		return "", err
	}
	value, err := io.ReadAll(record.Value)
	return string(value), err
}

// roundTrip writes a value through one link and reads it through the same.
func (l link) roundTrip(t *testing.T, topic, value string) {
	t.Helper()
	within(t, 30*time.Second, "produce "+value, func(ctx context.Context) error { return l.produce(ctx, topic, value) })
	within(t, 30*time.Second, "fetch "+value, func(ctx context.Context) error {
		got, err := l.last(ctx, topic)
		if err == nil && got != value {
			err = fmt.Errorf("the last record is %q", got)
		}
		return err
	})
}

func trusting(t *testing.T, file string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(file)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("certificate %s: %v", file, err)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func mechanisms(t *testing.T, user, password string) map[string]sasl.Mechanism {
	t.Helper()
	m := map[string]sasl.Mechanism{"plain": plain.Mechanism{Username: user, Password: password}}
	for name, algorithm := range map[string]scram.Algorithm{"scram-sha-256": scram.SHA256, "scram-sha-512": scram.SHA512} {
		mechanism, err := scram.Mechanism(algorithm, user, password)
		if err != nil {
			t.Fatal(err)
		}
		m[name] = mechanism
	}
	return m
}

func TestKafkaPlainAndSecure(t *testing.T) {
	for name, cluster := range map[string]func(testing.TB) Kafka{"one broker": OneBroker, "three brokers": ThreeBrokers} {
		t.Run(name, func(t *testing.T) {
			k := cluster(t)
			topic := fmt.Sprintf("servertest-%d", time.Now().UnixNano())
			open := dial(t, k.Brokers, nil, nil)
			open.topic(t, topic, len(k.Brokers))
			open.roundTrip(t, topic, "open")
			for name, mechanism := range mechanisms(t, k.User, k.Password) {
				dial(t, k.Secure, trusting(t, k.CA), mechanism).roundTrip(t, topic, name)
			}
			wrong := dial(t, k.Secure, trusting(t, k.CA), plain.Mechanism{Username: k.User, Password: "not " + k.Password})
			if err := wrong.produce(t.Context(), topic, "wrong"); err == nil {
				t.Error("a wrong password was taken")
			}
		})
	}
}

// A cluster of three takes writes while one broker is dead, and while one is frozen.
func TestKafkaWithoutABroker(t *testing.T) {
	k := ThreeBrokers(t)
	k.Alone(t)
	topic := fmt.Sprintf("servertest-%d", time.Now().UnixNano())
	l := dial(t, k.Brokers, nil, nil)
	l.topic(t, topic, 3)
	l.roundTrip(t, topic, "whole")
	k.Kill(t, 2)
	l.roundTrip(t, topic, "killed")
	k.Restart(t, 2)
	k.Freeze(t, 3)
	l.roundTrip(t, topic, "frozen")
	k.Thaw(t, 3)
	l.roundTrip(t, topic, "whole again")
}

func TestObjectStore(t *testing.T) {
	s := ObjectStore(t)
	client := s3.New(s3.Options{
		Region: s.Region, BaseEndpoint: aws.String(s.Endpoint), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
	})
	bucket, key, body := aws.String(fmt.Sprintf("servertest-%d", time.Now().UnixNano())), aws.String("a/b"), []byte("content")
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	put := func() error {
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: key, Body: bytes.NewReader(body), IfNoneMatch: aws.String("*")})
		return err
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	if err := put(); err == nil {
		t.Error("an object was replaced although If-None-Match forbade it")
	}
	out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	if got, err := io.ReadAll(out.Body); err != nil || !bytes.Equal(got, body) {
		t.Errorf("read %q, %v", got, err)
	}
}
