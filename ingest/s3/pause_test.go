package s3

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mocostream/internal/objects"
	"mocostream/internal/s3server"
)

const password = "correct-horse-battery"

// expiring is a client whose token the test renews.
func expiring(t *testing.T, b *bucket, token *atomic.Pointer[string]) *objects.Client {
	fixed := func(value string) func() (string, error) {
		return func() (string, error) { return value, nil }
	}
	return b.clientWith(t, objects.Options{
		AccessKey: fixed("someone"), SecretKey: fixed(password),
		SessionToken: func() (string, error) { return *token.Load(), nil },
	})
}

// Expired credentials make reading pause, say so once, and go on with valid ones.
func TestPause(t *testing.T) {
	b := newBucket(t, s3server.Options{AccessKey: "someone", Token: "first"})
	b.Put(testBucket, "0.jpg", []byte("image"))
	b.Put(testBucket, "1.tar", tarOf(t, "x", 3, 100))
	token := &atomic.Pointer[string]{}
	token.Store(new("first"))
	told := &warnings{}
	s := source(t, b, Options{Client: expiring(t, b, token), Warn: told.warn})
	if _, err := s.Manifest(t.Context()); err != nil {
		t.Fatal(err)
	}
	for partition := range int32(2) {
		next := strings.Repeat("next", int(partition)+1)
		b.SetCredentials("someone", next)
		ended := make(chan error, 1)
		go func() {
			got, err := read(t, s, partition, 0)
			if err == nil && len(got) == 0 {
				err = errors.New("nothing was read")
			}
			ended <- err
		}()
		eventually(t, "reading pauses", func() bool { return s.Stats().Paused })
		token.Store(&next)
		if err := <-ended; err != nil {
			t.Errorf("partition %d: %v", partition, err)
		}
		if s.Stats().Paused {
			t.Error("reading still pauses")
		}
	}
	if told.about("reading pauses") != 2 || told.about("goes on") < 2 {
		t.Errorf("a person was told %q", told.texts)
	}
}

func TestPauseEnds(t *testing.T) {
	b := newBucket(t, s3server.Options{AccessKey: "someone", Token: "first"})
	b.Put(testBucket, "0.jpg", []byte("image"))
	token := &atomic.Pointer[string]{}
	token.Store(new("old-token-of-mine"))
	told := &warnings{}
	s := source(t, b, Options{Client: expiring(t, b, token), Warn: told.warn, PauseLimit: 20 * time.Millisecond})
	_, err := s.Manifest(t.Context())
	if !errors.Is(err, objects.ErrCredentials) || !strings.Contains(err.Error(), "renew them and resume") {
		t.Errorf("error is %v", err)
	}
	for _, secret := range []string{password, "old-token-of-mine"} {
		if strings.Contains(err.Error(), secret) || told.about(secret) > 0 {
			t.Errorf("a secret is told: %v, %q", err, told.texts)
		}
	}
}

// A listing that pauses half-way goes on behind what it has.
func TestPauseInListing(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	for i := range 1500 {
		b.Put(testBucket, picName(i), []byte("image"))
	}
	var pages atomic.Int64
	b.misbehave(func(r *http.Request) *s3server.Fault {
		if n := pages.Add(1); n >= 2 && n < 6 {
			return &s3server.Fault{Status: 400, Code: "ExpiredToken"}
		}
		return nil
	})
	m, err := source(t, b, Options{}).Manifest(t.Context())
	if err != nil || m.Len() != 1500 {
		t.Errorf("manifest is %v, %v", m, err)
	}
}
