package kafka

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

const password = "correct-horse-battery"

// authority is a certificate authority of a test with a certificate for 127.0.0.1 and its key.
type authority struct {
	caFile, certFile, keyFile string
	pool                      *x509.CertPool
	pair                      tls.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	dir := t.TempDir()
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	a := authority{
		caFile: filepath.Join(dir, "ca.pem"), certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem"),
		pool: x509.NewCertPool(), pair: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
	}
	must(t, os.WriteFile(a.caFile, cert, 0o600))
	must(t, os.WriteFile(a.certFile, cert, 0o600))
	must(t, os.WriteFile(a.keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	a.pool.AppendCertsFromPEM(cert)
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// broker starts one with the topic "images".
func broker(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	return startCluster(t, append([]kfake.Opt{kfake.SeedTopics(2, "images")}, opts...)...)
}

// withUsers makes a broker ask for one of all mechanisms.
func withUsers() []kfake.Opt {
	return []kfake.Opt{
		kfake.EnableSASL(), kfake.Superuser("PLAIN", "me", password),
		kfake.Superuser("SCRAM-SHA-256", "me", password), kfake.Superuser("SCRAM-SHA-512", "me", password),
	}
}

// ask makes a connection and asks for the cluster's topics.
func ask(t *testing.T, c *kfake.Cluster, s Security) error {
	t.Helper()
	tr, err := NewTransport(s)
	if err != nil {
		return err
	}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client := &kafkago.Client{Addr: kafkago.TCP(c.ListenAddrs()[0]), Transport: tr}
	m, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{"images"}})
	if err == nil && len(m.Topics) != 1 {
		t.Errorf("metadata of %d topics", len(m.Topics))
	}
	return err
}

func TestLogin(t *testing.T) {
	a := newAuthority(t)
	file := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(file, []byte(password+"\n"), 0o600))
	open := broker(t, withUsers()...)
	secure := broker(t, append(withUsers(), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{a.pair}}))...)
	for _, kind := range []string{SASLPlain, SASLScramSHA256, SASLScramSHA512} {
		for _, secret := range []string{password, "file:" + file} {
			s := Security{SASL: kind, Username: "me", Password: NewSecret(secret)}
			if err := ask(t, open, s); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
			s.TLS, s.CAFile = true, a.caFile
			if err := ask(t, secure, s); err != nil {
				t.Errorf("%s with TLS: %v", kind, err)
			}
		}
	}
}

// What a user gets wrong is named, with the setting that cures it, and no error, log line or print shows the password.
func TestRefusedConnections(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	server := &tls.Config{Certificates: []tls.Certificate{a.pair}}
	mutual := &tls.Config{Certificates: []tls.Certificate{a.pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool}
	users := broker(t, withUsers()...)
	encrypted, both := broker(t, kfake.TLS(server)), broker(t, kfake.TLS(mutual))
	encryptedUsers := broker(t, append(withUsers(), kfake.TLS(server))...)
	login := func(kind, secret string) Security {
		return Security{SASL: kind, Username: "me", Password: NewSecret(secret)}
	}
	for name, c := range map[string]struct {
		to   *kfake.Cluster
		with Security
		is   error
		says string
	}{
		"wrong password, plain":   {users, login(SASLPlain, password+"!"), ErrAuthentication, "ingest.kafka.password"},
		"wrong password, scram":   {users, login(SASLScramSHA256, password+"!"), ErrAuthentication, "ingest.kafka.password"},
		"wrong password, scram2":  {users, login(SASLScramSHA512, password+"!"), ErrAuthentication, "ingest.kafka.password"},
		"characters":              {users, login(SASLScramSHA512, password+"\x01"), ErrAuthentication, "characters"},
		"no login":                {users, Security{}, nil, "ingest.kafka.sasl"},
		"no login over TLS":       {encryptedUsers, Security{TLS: true, CAFile: a.caFile}, nil, "login (ingest.kafka.sasl)"},
		"plaintext to TLS":        {encrypted, Security{}, nil, "ingest.kafka.tls"},
		"login to TLS":            {encrypted, login(SASLPlain, password), nil, "ingest.kafka.tls"},
		"unknown authority":       {encrypted, Security{TLS: true}, ErrTrust, "ingest.kafka.ca_file"},
		"other authority":         {encrypted, Security{TLS: true, CAFile: other.caFile}, ErrTrust, "ingest.kafka.ca_file"},
		"other name":              {encrypted, Security{TLS: true, CAFile: a.caFile, ServerName: "kafka.example"}, ErrTrust, "server_name"},
		"no client's certificate": {both, Security{TLS: true, CAFile: a.caFile}, ErrTrust, "ingest.kafka.cert_file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := ask(t, c.to, c.with)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want it to say %s", err, c.says)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is not %v", err, c.is)
			}
			secretless(t, err, c.with)
		})
	}
}

// secretless prints all there is in many ways and looks for the password.
func secretless(t *testing.T, err error, s Security) {
	t.Helper()
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v %v %+v %#v %s %q %x", err, err, err, s, s, s, s.Password, s.Password, s.Password)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("security", "security", s, "err", err)
	slog.New(slog.NewTextHandler(&out, nil)).Info("security", "security", s, "err", err)
	core, logs := observer.New(zap.DebugLevel)
	zap.New(core).Info("security", zap.Any("security", s), zap.Any("password", s.Password), zap.Error(err))
	fmt.Fprint(&out, logs.All()[0].ContextMap())
	text, jsonErr := json.Marshal(map[string]any{"security": s, "by": map[Secret]int{s.Password: 1}})
	must(t, jsonErr)
	out.Write(text)
	for e := err; e != nil; e = errors.Unwrap(e) {
		fmt.Fprintf(&out, "%v %#v", e, e)
	}
	for _, form := range []string{password, fmt.Sprintf("%x", password), fmt.Sprintf("%v", []byte(password))} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the password shows: %s", out.String())
		}
	}
}

func TestMutualTLS(t *testing.T) {
	a := newAuthority(t)
	c := broker(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{a.pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool}))
	s := Security{TLS: true, CAFile: a.caFile, CertFile: a.certFile, KeyFile: a.keyFile}
	if err := ask(t, c, s); err != nil {
		t.Error(err)
	}
}

// A password that is changed in its file is taken at the next connection of the same transport.
func TestSecretIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(file, []byte("old"), 0o600))
	c := broker(t, withUsers()...)
	d := dialer{security: Security{SASL: SASLScramSHA256, Username: "me", Password: NewSecret("file:" + file)}}
	d.mechanism = newMechanism(&d.security)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := d.dial(ctx, "tcp", c.ListenAddrs()[0]); !errors.Is(err, ErrAuthentication) {
		t.Errorf("old password: %v", err)
	}
	must(t, os.WriteFile(file, []byte(password+"\r\n"), 0o600))
	conn, err := d.dial(ctx, "tcp", c.ListenAddrs()[0])
	must(t, err)
	must(t, conn.Close())
}

func TestPlaintextLoginOnlyToLoopback(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1": true, "::1": true, "10.0.0.1": false, "192.0.2.7": false} {
		if got := loopback(&net.TCPAddr{IP: net.ParseIP(addr)}); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
	d := dialer{security: Security{SASL: SASLPlain, Username: "me", Password: NewSecret(password)}}
	d.mechanism = newMechanism(&d.security)
	client, server := net.Pipe() // its address is no loopback
	defer client.Close()
	defer server.Close()
	_, err := d.secure(t.Context(), client, "broker:9092")
	if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "allow_plaintext") {
		t.Errorf("got %v", err)
	}
	secretless(t, err, d.security)
}

// A broker that accepts and says nothing does not hold a connection for ever.
func TestSilentBroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	for _, s := range []Security{{TLS: true}, {SASL: SASLPlain, Username: "me", Password: NewSecret(password)}} {
		d := dialer{security: s}
		d.mechanism = newMechanism(&d.security)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := d.dial(ctx, "tcp", l.Addr().String())
		cancel()
		late := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
		if !late || !strings.Contains(err.Error(), "ingest.kafka.tls") {
			t.Errorf("%s: %v", s.SASL, err)
		}
	}
}

// Brokers in Java answer what is not TLS with an alert, and what they cannot read as Kafka by hanging up.
func TestOtherProtocols(t *testing.T) {
	for _, c := range []struct {
		answer string
		with   Security
		is     error
	}{
		{"\x15\x03\x03\x00\x02\x02\x50", Security{}, ErrProtocol},
		{"\x15\x03\x03\x00\x02\x02\x50", Security{SASL: SASLPlain, Username: "me", Password: NewSecret(password)}, ErrProtocol},
		{"HTTP/1.1 400 Bad Request\r\n", Security{TLS: true}, ErrProtocol},
		{"", Security{TLS: true}, io.EOF},
		{"", Security{}, io.ErrUnexpectedEOF},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		go func() {
			if conn, err := l.Accept(); err == nil {
				_, _ = conn.Read(make([]byte, 64<<10))
				_, _ = io.WriteString(conn, c.answer)
				_ = conn.Close()
			}
			_ = l.Close()
		}()
		d := dialer{security: c.with}
		d.mechanism = newMechanism(&d.security)
		conn, err := d.dial(t.Context(), "tcp", l.Addr().String())
		if err == nil {
			_, _ = conn.Write([]byte("a request"))
			_, err = conn.Read(make([]byte, 1<<10))
			must(t, conn.Close())
		}
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), "ingest.kafka.tls") {
			t.Errorf("%q: %v", c.answer, err)
		}
	}
}

func TestInvalidSecurity(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	must(t, os.WriteFile(empty, nil, 0o600))
	for want, s := range map[string]Security{
		`sink.topic.sasl is "kerberos"; expected one of plain`: {SASL: "kerberos", Setting: "sink.topic"},
		"needs ingest.kafka.username":                          {SASL: SASLPlain},
		"ingest.kafka.sasl is not":                             {Password: NewSecret(password)},
		"set both":                                             {TLS: true, CertFile: "x"},
		"ingest.kafka.tls is off":                              {CAFile: "x"},
		"read ingest.kafka.ca_file":                            {TLS: true, CAFile: "/does/not/exist"},
		"no certificate in PEM":                                {TLS: true, CAFile: empty},
		"read ingest.kafka.cert_file":                          {TLS: true, CertFile: empty, KeyFile: empty},
		"ingest.kafka.password: read secret":                   {SASL: SASLPlain, Username: "me", Password: NewSecret("file:/does/not/exist")},
		"the file is empty":                                    {SASL: SASLPlain, Username: "me", Password: NewSecret("file:" + empty)},
	} {
		_, err := NewTransport(s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		secretless(t, err, s)
	}
}
