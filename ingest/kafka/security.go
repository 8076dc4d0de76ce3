package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
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

// refusal is an error of a connection in a person's words. Its cause is for errors.Is and errors.As, not for reading: a
// broker chose the words.
type refusal struct {
	text  string
	kind  error // ErrAuthentication, ErrTrust or ErrProtocol
	cause error
}

// Error implements error.
func (r *refusal) Error() string { return r.text }

// Unwrap gives both the kind and the cause.
func (r *refusal) Unwrap() []error { return []error{r.kind, r.cause} }

// refuse makes a refusal whose text names its kind after what was tried.
func refuse(kind, cause error, what, remedy string, args ...any) error {
	return &refusal{text: fmt.Sprintf("%s: %v: %s", what, kind, fmt.Sprintf(remedy, args...)), kind: kind, cause: cause}
}

// permanent says whether an error of a connection stays until configuration, files or the broker are changed.
func permanent(err error) bool {
	return errors.Is(err, ErrAuthentication) || errors.Is(err, ErrTrust) || errors.Is(err, ErrProtocol)
}

// explainTLS says what a failed handshake means.
func (s *Security) explainTLS(addr string, err error) error {
	var (
		record tls.RecordHeaderError
		cert   *tls.CertificateVerificationError
		what   = "tls to broker " + addr
	)
	switch {
	case errors.As(err, &record):
		return refuse(ErrProtocol, err, what, "the port does not speak TLS; take the broker's TLS port or set %s to false", s.setting("tls"))
	case errors.As(err, &cert):
		return refuse(ErrTrust, err, what, "%v; set %s to the broker's certificate authority, or %s to the name in its certificate",
			cert.Err, s.setting("ca_file"), s.setting("server_name"))
	case remoteAlert(err):
		return refuse(ErrTrust, err, what, "the broker says %q; it may ask for a client's certificate: set %s and %s",
			err, s.setting("cert_file"), s.setting("key_file"))
	}
	return fmt.Errorf("%s: %w; does that port speak TLS? If not, set %s to false", what, err, s.setting("tls"))
}

// remoteAlert says whether the other side ended TLS with an alert; crypto/tls has no type for it.
func remoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
