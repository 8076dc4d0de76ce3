package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	signer "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/aws_msk_iam_v2"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// mechanism logs connections in with the secret of that moment. Its methods may be called concurrently.
type mechanism struct {
	security *Security

	mu     sync.Mutex
	config *aws.Config // of aws-msk-iam, nil before its first use
}

func newMechanism(s *Security) *mechanism { return &mechanism{security: s} }

// authenticate logs a connection in, within the deadline that it has. The broker's own words are left out of errors: they
// are the broker's to choose.
func (m *mechanism) authenticate(ctx context.Context, conn net.Conn, addr string) error {
	kind, err := m.current(ctx, addr)
	if err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(addr)
	ctx = sasl.WithMetadata(ctx, &sasl.Metadata{Host: host})
	pc := protocol.NewConn(conn, "mocostream")
	// Fixed, not negotiated: every broker since 1.0 has these versions.
	pc.SetVersions(map[protocol.ApiKey]int16{protocol.SaslHandshake: 1, protocol.SaslAuthenticate: 0})
	if err := handshake(pc, kind.Name()); err != nil {
		return m.explain(addr, err)
	}
	if err := converse(ctx, pc, kind); err != nil {
		m.forget()
		return m.explain(addr, err)
	}
	return nil
}

// current makes the mechanism out of what files and environment hold now.
func (m *mechanism) current(ctx context.Context, addr string) (sasl.Mechanism, error) {
	s := m.security
	if s.SASL == SASLAWSMSKIAM {
		return m.iam(ctx)
	}
	password, err := s.Password.Read()
	if err != nil {
		return nil, fmt.Errorf("log in to broker %s: %s: %w", addr, s.setting("password"), err)
	}
	algorithm := scram.SHA256
	switch s.SASL {
	case SASLPlain:
		return plain.Mechanism{Username: s.Username, Password: password}, nil
	case SASLScramSHA512:
		algorithm = scram.SHA512
	}
	kind, err := scram.Mechanism(algorithm, s.Username, password)
	if err != nil { // err may hold a character of the password
		return nil, refuse(ErrAuthentication, nil, "log in to broker "+addr, "%s or %s holds characters that SCRAM does not allow",
			s.setting("username"), s.setting("password"))
	}
	return kind, nil
}

// iam signs with the SDK's credentials (environment, profile, role), which it renews itself.
func (m *mechanism) iam(ctx context.Context) (sasl.Mechanism, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.config == nil {
		var region []func(*awsconfig.LoadOptions) error
		if m.security.Region != "" {
			region = append(region, awsconfig.WithRegion(m.security.Region))
		}
		config, err := awsconfig.LoadDefaultConfig(ctx, region...)
		if err != nil {
			return nil, fmt.Errorf("load AWS configuration for %s: %w", SASLAWSMSKIAM, err)
		}
		if config.Region == "" {
			return nil, fmt.Errorf("log in with %s: no region; set %s or AWS_REGION", SASLAWSMSKIAM, m.security.setting("aws_region"))
		}
		m.config = &config
	}
	return &aws_msk_iam_v2.Mechanism{
		Signer:      signer.NewSigner(),
		Credentials: m.config.Credentials,
		Region:      m.config.Region,
	}, nil
}

// forget makes the next login ask for new credentials, in case those of before have expired.
func (m *mechanism) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.config == nil {
		return
	}
	if cache, ok := m.config.Credentials.(*aws.CredentialsCache); ok {
		cache.Invalidate()
	}
}

func handshake(pc *protocol.Conn, name string) error {
	answer, err := pc.RoundTrip(&saslhandshake.Request{Mechanism: name})
	if err != nil {
		return err
	}
	if code := answer.(*saslhandshake.Response).ErrorCode; code != 0 {
		return kafkago.Error(code)
	}
	return nil
}

func converse(ctx context.Context, pc *protocol.Conn, kind sasl.Mechanism) error {
	session, ours, err := kind.Start(ctx)
	for done := false; err == nil && !done; {
		var theirs []byte
		if theirs, err = answerTo(pc, ours); err == nil {
			done, ours, err = session.Next(ctx, theirs)
			if err != nil {
				err = errors.Join(ErrAuthentication, err)
			}
		}
	}
	return err
}

func answerTo(pc *protocol.Conn, ours []byte) ([]byte, error) {
	answer, err := pc.RoundTrip(&saslauthenticate.Request{AuthBytes: ours})
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, kafkago.SASLAuthenticationFailed // some brokers say no by hanging up
	}
	if err != nil {
		return nil, err
	}
	r := answer.(*saslauthenticate.Response)
	if r.ErrorCode != 0 {
		return nil, kafkago.Error(r.ErrorCode)
	}
	return r.AuthBytes, nil
}

// explain says what a refused login means.
func (m *mechanism) explain(addr string, err error) error {
	s := m.security
	what := fmt.Sprintf("log in to broker %s with %s", addr, s.SASL)
	switch {
	case errors.Is(err, kafkago.UnsupportedSASLMechanism):
		return refuse(ErrProtocol, err, what, "the broker does not offer this mechanism; set %s to one that it has", s.setting("sasl"))
	case errors.Is(err, kafkago.IllegalSASLState):
		return refuse(ErrProtocol, err, what, "the broker asks for no login on this port; take its SASL port or remove %s", s.setting("sasl"))
	case errors.Is(err, ErrProtocol), errors.Is(err, ErrTrust):
		return err
	case errors.Is(err, kafkago.SASLAuthenticationFailed), errors.Is(err, ErrAuthentication):
		if s.SASL == SASLAWSMSKIAM {
			return refuse(ErrAuthentication, err, what, "check the role's kafka-cluster:Connect permission, its credentials and %s", s.setting("aws_region"))
		}
		return refuse(ErrAuthentication, err, what, "check %s and %s", s.setting("username"), s.setting("password"))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%s: %w; is that the broker's SASL port, and does it ask for TLS (%s)?", what, err, s.setting("tls"))
	}
	return fmt.Errorf("%s: %w", what, err)
}
