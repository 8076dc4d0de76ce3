package servertest

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// recorder stands for a test that is skipped or fails.
type recorder struct {
	testing.TB
	said string
}

func (r *recorder) Helper() {}
func (r *recorder) Skipf(format string, args ...any) {
	r.said = "skip: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.said = "fail: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func said(t *testing.T, f func(testing.TB)) string {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() { defer close(done); f(r) }()
	<-done
	return r.said
}

func TestMissingServersAreNeverPassedOverInSilence(t *testing.T) {
	for _, name := range []string{"MOCOSTREAM_KAFKA", "MOCOSTREAM_KAFKA3", "MOCOSTREAM_S3_ENDPOINT"} {
		t.Setenv(name, "")
	}
	for _, c := range []struct {
		require string
		ask     func(testing.TB)
		want    string
	}{
		{"", func(t testing.TB) { OneBroker(t) }, "skip: MOCOSTREAM_KAFKA is not set; make kafka-up starts the server"},
		{"", func(t testing.TB) { ObjectStore(t) }, "skip: MOCOSTREAM_S3_ENDPOINT is not set; make s3-up starts the server"},
		{"1", func(t testing.TB) { ThreeBrokers(t) }, "fail: MOCOSTREAM_KAFKA3 is not set and MOCOSTREAM_REQUIRE_SERVERS=1; make integration starts the server"},
	} {
		t.Setenv(requireEnv, c.require)
		if got := said(t, c.ask); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestEnvironmentIsRead(t *testing.T) {
	t.Setenv("MOCOSTREAM_KAFKA3", "a:1,b:2,c:3")
	t.Setenv("MOCOSTREAM_KAFKA3_SECURE", "")
	t.Setenv("MOCOSTREAM_KAFKA3_USER", "moco")
	t.Setenv("MOCOSTREAM_S3_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("MOCOSTREAM_S3_REGION", "")
	if k := ThreeBrokers(t); !slices.Equal(k.Brokers, []string{"a:1", "b:2", "c:3"}) || k.Secure != nil || k.User != "moco" {
		t.Errorf("%+v", k)
	}
	if s := ObjectStore(t); s.Endpoint != "http://127.0.0.1:1" || s.Region != "us-east-1" {
		t.Errorf("%+v", s)
	}
}
