package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// What Security.SASL may be; "" is none.
const (
	SASLPlain       = "plain"
	SASLScramSHA256 = "scram-sha-256"
	SASLScramSHA512 = "scram-sha-512"
	SASLAWSMSKIAM   = "aws-msk-iam"
)

// Errors of a connection that no repetition cures as long as configuration, files and broker stay as they are. A
// password may be on its way to being changed, though: what has worked before may be tried again.
var (
	// ErrAuthentication says that the broker refused who we are.
	ErrAuthentication = errors.New("authentication refused")
	// ErrTrust says that the broker's certificate, or ours, is not accepted.
	ErrTrust = errors.New("certificate refused")
	// ErrProtocol says that the broker's port speaks something else: TLS or none, SASL or none.
	ErrProtocol = errors.New("wrong protocol")
)

// Security says how to speak to the brokers. Files and secrets are read again at every connection.
type Security struct {
	TLS        bool
	CAFile     string // PEM; "" trusts what the system trusts
	CertFile   string // PEM, a client's own certificate, with KeyFile; "" has none
	KeyFile    string // PEM
	ServerName string // that the certificate must have; "" is the host that was dialled

	SASL     string // "" or one of the constants above
	Username string
	Password Secret
	Region   string // of aws-msk-iam; "" takes the SDK's

	// AllowPlaintext lets SASL go without TLS over a network; without it only to the loopback interface.
	AllowPlaintext bool
	// Setting is what stands before a field's name in messages; "" is "ingest.kafka".
	Setting string
}

// setting returns the configuration's name of a field, for messages.
func (s *Security) setting(field string) string {
	if s.Setting == "" {
		return "ingest.kafka." + field
	}
	return s.Setting + "." + field
}

// validate finds what cannot work whatever the broker says. Files and secrets are read once, so that a wrong path is
// known before the first connection.
func (s *Security) validate() error {
	if err := s.validateFields(); err != nil {
		return err
	}
	if s.TLS {
		if _, err := s.tlsConfig("localhost"); err != nil {
			return err
		}
	}
	if s.hasPassword() {
		if _, err := s.Password.Read(); err != nil {
			return fmt.Errorf("%s: %w", s.setting("password"), err)
		}
	}
	return nil
}

func (s *Security) validateFields() error {
	known := []string{"", SASLPlain, SASLScramSHA256, SASLScramSHA512, SASLAWSMSKIAM}
	switch {
	case !slices.Contains(known, s.SASL):
		return fmt.Errorf("%s is %q; expected one of %s", s.setting("sasl"), s.SASL, strings.Join(known[1:], ", "))
	case s.hasPassword() && (s.Username == "" || s.Password.IsZero()):
		return fmt.Errorf("%s %s needs %s and %s", s.setting("sasl"), s.SASL, s.setting("username"), s.setting("password"))
	case !s.hasPassword() && (s.Username != "" || !s.Password.IsZero()):
		return fmt.Errorf("%s and %s are set, but %s is not; set it to plain, scram-sha-256 or scram-sha-512",
			s.setting("username"), s.setting("password"), s.setting("sasl"))
	case (s.CertFile == "") != (s.KeyFile == ""):
		return fmt.Errorf("%s and %s belong together; set both", s.setting("cert_file"), s.setting("key_file"))
	case !s.TLS && (s.CAFile != "" || s.CertFile != "" || s.ServerName != ""):
		return fmt.Errorf("%s is off, but files or a name of certificates are given; set it to true", s.setting("tls"))
	}
	return nil
}

// hasPassword says whether the mechanism takes a name and a password.
func (s *Security) hasPassword() bool { return s.SASL != "" && s.SASL != SASLAWSMSKIAM }

// tlsConfig reads the certificates for a connection to host.
func (s *Security) tlsConfig(host string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.ServerName}
	if c.ServerName == "" {
		c.ServerName = host
	}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", s.setting("ca_file"), err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read %s: %s holds no certificate in PEM", s.setting("ca_file"), s.CAFile)
		}
	}
	if s.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read %s and %s: %w", s.setting("cert_file"), s.setting("key_file"), err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// explainTLS says what a failed handshake means.
func (s *Security) explainTLS(addr string, err error) error {
	var (
		record   tls.RecordHeaderError
		untested *tls.CertificateVerificationError
		alert    tls.AlertError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &record):
		return fmt.Errorf("tls to broker %s: %w: the port does not speak TLS; take the broker's TLS port or set %s to false",
			addr, ErrProtocol, s.setting("tls"))
	case errors.As(err, &untested):
		return fmt.Errorf("tls to broker %s: %w: %w; set %s to the broker's certificate authority, or %s to the name in its certificate",
			addr, ErrTrust, untested.Err, s.setting("ca_file"), s.setting("server_name"))
	case errors.As(err, &alert):
		return fmt.Errorf("tls to broker %s: %w: the broker says %q; it may ask for a client's certificate: set %s and %s",
			addr, ErrTrust, alert.Error(), s.setting("cert_file"), s.setting("key_file"))
	}
	return fmt.Errorf("tls to broker %s: %w (a broker that does not speak TLS on that port may hang up so: see %s)",
		addr, err, s.setting("tls"))
}
