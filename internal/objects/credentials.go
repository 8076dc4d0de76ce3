package objects

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// credentials hands out the credentials in force and fetches others when a server refuses those. They come from the
// functions of Options, or from the SDK's default chain, which is then loaded anew: a profile's file may have changed.
type credentials struct {
	opts Options

	mu         sync.Mutex
	cache      *aws.CredentialsCache
	generation int
	seen       []string // secrets that were handed out lately, for redact
}

// credentialsError tells failures to obtain credentials from failures of the network.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return "obtain credentials: " + e.err.Error() }

func newCredentials(opts Options) *credentials { return &credentials{opts: opts} }

func (s *credentials) loadOptions() []func(*config.LoadOptions) error {
	var load []func(*config.LoadOptions) error
	if s.opts.Region != "" {
		load = append(load, config.WithRegion(s.opts.Region))
	}
	if s.opts.Anonymous || s.opts.AccessKey != nil {
		load = append(load, config.WithCredentialsProvider(aws.AnonymousCredentials{})) // replaced in configure
	}
	return load
}

// start takes the provider of a loaded configuration, or calls the functions once.
func (s *credentials) start(ctx context.Context, cfg aws.Config) error {
	if s.opts.Anonymous {
		return nil
	}
	if s.opts.AccessKey == nil {
		s.cache = aws.NewCredentialsCache(cfg.Credentials)
		return nil
	}
	s.cache = aws.NewCredentialsCache(aws.CredentialsProviderFunc(s.call))
	_, err := s.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrCredentials, s.redact(err.Error()))
	}
	return nil
}

// call asks the functions of Options.
func (s *credentials) call(context.Context) (aws.Credentials, error) {
	var out aws.Credentials
	for _, part := range []struct {
		name string
		from func() (string, error)
		to   *string
	}{
		{"access key", s.opts.AccessKey, &out.AccessKeyID},
		{"secret key", s.opts.SecretKey, &out.SecretAccessKey},
		{"session token", s.opts.SessionToken, &out.SessionToken},
	} {
		if part.from == nil {
			continue
		}
		text, err := part.from()
		if err != nil {
			return aws.Credentials{}, fmt.Errorf("%s: %w", part.name, err)
		}
		*part.to = strings.TrimSpace(text)
	}
	if out.AccessKeyID == "" || out.SecretAccessKey == "" {
		return aws.Credentials{}, errors.New("access key or secret key is empty: set both, or anonymous for a public bucket")
	}
	out.Source = "options"
	return out, nil
}

// Retrieve implements aws.CredentialsProvider.
func (s *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	s.mu.Lock()
	cache := s.cache
	s.mu.Unlock()
	got, err := cache.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &credentialsError{err}
	}
	s.remember(got)
	return got, nil
}

// current returns the generation of the credentials in force, for renew.
func (s *credentials) current() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation
}

// renew replaces the credentials of the refused generation. Where another call did so already there is nothing to do.
func (s *credentials) renew(ctx context.Context, refused int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation != refused {
		return nil
	}
	if s.opts.AccessKey == nil && !s.opts.Anonymous {
		cfg, err := config.LoadDefaultConfig(ctx, s.loadOptions()...)
		if err != nil {
			return &credentialsError{err}
		}
		s.cache = aws.NewCredentialsCache(cfg.Credentials)
	} else if s.cache != nil {
		s.cache.Invalidate()
	}
	s.generation++
	return nil
}

// remember keeps the secrets of the last few credentials, so that a server that echoes them does not get them into a log.
func (s *credentials) remember(got aws.Credentials) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range []string{got.SecretAccessKey, got.SessionToken, got.AccessKeyID} {
		s.rememberOne(secret)
	}
	const most = 60
	if extra := len(s.seen) - most; extra > 0 {
		s.seen = s.seen[extra:]
	}
}

func (s *credentials) rememberOne(secret string) {
	if secret == "" {
		return
	}
	for _, known := range s.seen {
		if known == secret {
			return
		}
	}
	s.seen = append(s.seen, secret)
	if escaped := url.QueryEscape(secret); escaped != secret {
		s.seen = append(s.seen, escaped)
	}
}

var signedParts = regexp.MustCompile(`(?i)(X-Amz-(Signature|Credential|Security-Token)|Signature|Credential|AWSAccessKeyId)=[^&\s",]+`)

// redact takes credentials and the signed parts of URLs out of a text.
func (s *credentials) redact(text string) string {
	text = signedParts.ReplaceAllString(text, "$1=***")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range s.seen {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}
