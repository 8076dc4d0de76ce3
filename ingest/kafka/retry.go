package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

const (
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
	// quietFailures is how often in a row something may fail before there is a warning: leaders move.
	quietFailures = 3
)

// streak counts failures in a row of something that is tried for ever.
type streak struct {
	failures int
	warned   bool
}

// pause waits longer after each failure in a row, with jitter, at most longestPause.
func (s *streak) pause(ctx context.Context) error {
	s.failures++
	d := min(firstPause<<min(s.failures-1, 10), longestPause)
	return wait(ctx, d/2+rand.N(d/2))
}

// warn says whether it is time for the one warning of this streak.
func (s *streak) warn() bool {
	if s.warned || s.failures < quietFailures {
		return false
	}
	s.warned = true
	return true
}

// wait returns after d, or earlier with the context's error.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hopeless says whether trying again soon cannot help: who we are or what they are is wrong. While a run goes on even
// that is tried again, since secrets are rotated and rights given.
func hopeless(err error) bool {
	for _, code := range []kafkago.Error{kafkago.SASLAuthenticationFailed, kafkago.UnsupportedSASLMechanism, kafkago.IllegalSASLState,
		kafkago.TopicAuthorizationFailed, kafkago.GroupAuthorizationFailed, kafkago.ClusterAuthorizationFailed} {
		if errors.Is(err, code) {
			return true
		}
	}
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	var verification *tls.CertificateVerificationError
	return errors.As(err, &unknown) || errors.As(err, &invalid) || errors.As(err, &name) || errors.As(err, &record) ||
		errors.As(err, &verification) || errors.Is(err, errTooOld) || permanent(err)
}
