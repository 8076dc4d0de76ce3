package objects_test

import (
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"mocostream/internal/objects"
	"mocostream/internal/s3server"
)

// asked is what a server sees of a request, without what tells one try from another.
type asked struct{ host, uri, match, span, sum, mode, encoding, token, scope string }

func ask(r *http.Request) asked {
	scope, _, _ := strings.Cut(r.Header.Get("Authorization"), ", SignedHeaders=")
	return asked{
		host: r.Host, uri: r.RequestURI, match: r.Header.Get("If-Match"), span: r.Header.Get("Range"),
		sum: r.Header.Get("X-Amz-Content-Sha256"), mode: r.Header.Get("X-Amz-Checksum-Mode"),
		encoding: r.Header.Get("Accept-Encoding"), token: r.Header.Get("X-Amz-Security-Token"), scope: scope,
	}
}

// isDirect tells requests made directly from the SDK's.
func isDirect(r *http.Request) bool { return r.Header.Get("User-Agent") == "mocostream" }

// A read made directly asks for the same as one of the SDK.
func TestDirectAsksAlike(t *testing.T) {
	for _, opts := range []objects.Options{
		{Region: "eu-west-3"},
		{AccessKey: constant(accessKey), SecretKey: constant(secretKey), SessionToken: constant(session)},
		{Anonymous: true},
	} {
		s, c, f := start(t, s3server.Options{}, opts)
		if opts.SessionToken != nil {
			s.SetCredentials(accessKey, session)
		}
		if opts.Anonymous {
			s.SetCredentials("", "")
		}
		for _, key := range []string{"o", "a/b.jpg", "a b+c", "ä/日本", "%25", "q?x=1&y#z", "/lead", "a//b", "a/../b", "~-_.!*'()", ";:@=,$[]"} {
			s.Put(bucket, key, noise(1000))
			o := stat(t, c, key)
			var sdk, direct []asked
			f.set(func(r *http.Request) *s3server.Fault {
				if isDirect(r) {
					direct = append(direct, ask(r))
				} else {
					sdk = append(sdk, ask(r))
				}
				return nil
			})
			for range 2 {
				c.Forget()
				for range 2 {
					for _, from := range []int64{0, 7} {
						if _, err := readFrom(t.Context(), c, o, from); err != nil {
							t.Fatal(err)
						}
					}
				}
				o.Version = "v 1/+"
			}
			f.set(nil)
			if len(sdk) != 2 || len(direct) != 6 {
				t.Fatalf("%q: %d requests of the SDK and %d others", key, len(sdk), len(direct))
			}
			if sdk[0] != direct[1] || sdk[1] != direct[4] {
				t.Errorf("%q: the SDK asked\n%+v\n%+v, we\n%+v\n%+v", key, sdk[0], sdk[1], direct[1], direct[4])
			}
			if span := direct[0].span; span != "bytes=7-999" {
				t.Errorf("%q: range %q", key, span)
			}
		}
	}
}

// What refuses a direct read has the next one go through the SDK.
func TestDirectIsRefused(t *testing.T) {
	s, c, f := start(t, s3server.Options{}, objects.Options{})
	s.Put(bucket, "o", noise(1000))
	o := stat(t, c, "o")
	read := func() error { _, err := readFrom(t.Context(), c, o, 0); return err }
	var ways []bool
	fault := &s3server.Fault{}
	f.set(func(r *http.Request) *s3server.Fault {
		ways = append(ways, isDirect(r))
		if isDirect(r) {
			return fault
		}
		return nil
	})
	for _, f := range []s3server.Fault{
		{Status: 503, Code: "SlowDown"}, {Status: 500}, {Status: 403, Code: "RequestTimeTooSkewed"}, {Reset: true},
		{Status: 400, Code: "ExpiredToken", Text: "The provided token has expired."},
	} {
		c.Forget()
		fault, ways = &s3server.Fault{}, nil
		if err := errors.Join(read(), read()); err != nil {
			t.Fatal(err)
		}
		fault = &f
		if err := read(); err != nil {
			t.Errorf("%+v: %v", f, err)
		}
		if n := len(ways); n < 4 || ways[0] || !ways[1] || !ways[n-2] || ways[n-1] { // net/http itself tries again once
			t.Errorf("%+v: made directly: %v", f, ways)
		}
	}
	c.Forget()
	fault = &s3server.Fault{}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	for code, want := range map[string]error{"NoSuchKey": fs.ErrNotExist, "PreconditionFailed": objects.ErrChanged, "": fs.ErrPermission} {
		fault = &s3server.Fault{Status: 403, Code: code, Text: "words of " + accessKey}
		if code == "PreconditionFailed" {
			fault.Status = 412
		}
		err := read()
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "s3://imgs/o") {
			t.Errorf("%s: %v", code, err)
		}
		noSecrets(t, err.Error())
		fault = &s3server.Fault{}
		if err := read(); err != nil { // through the SDK, and learned from
			t.Fatal(err)
		}
	}
}

// Only what is addressed and signed as most are is made directly.
func TestRoutes(t *testing.T) {
	signed := func(algorithm, scope string) http.Header {
		return http.Header{"Authorization": {algorithm + " Credential=AK/" + scope + ", SignedHeaders=host, Signature=00"}, "X-Amz-Date": {objects.NowAmz()}}
	}
	const usual = "20260102/us-west-2/s3/aws4_request"
	for _, c := range []struct {
		url    string
		header http.Header
		want   string
	}{
		{"https://imgs.s3.us-west-2.amazonaws.com/a%20b", signed("AWS4-HMAC-SHA256", usual), "https://imgs.s3.us-west-2.amazonaws.com us-west-2"},
		{"http://h:9000/base/imgs/a%20b", signed("AWS4-HMAC-SHA256", usual), "http://h:9000/base/imgs us-west-2"},
		{"https://imgs.s3.us-west-2.amazonaws.com/a%20b", signed("AWS4-ECDSA-P256-SHA256", usual), ""},
		{"https://imgs--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com/a%20b", signed("AWS4-HMAC-SHA256", "20260102/us-west-2/s3express/aws4_request"), ""},
		{"https://h/imgs/a%20b", http.Header{}, ""},
		{"https://h/imgs/a%20b", http.Header{"Authorization": signed("AWS4-HMAC-SHA256", usual)["Authorization"], "X-Amz-Date": {"20260102T000000Z"}}, ""},
		{"https://h/imgs/other", signed("AWS4-HMAC-SHA256", usual), ""},
	} {
		r, err := http.NewRequest(http.MethodGet, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = c.header
		if got := objects.RouteOf("a b", r); got != c.want {
			t.Errorf("%s: %q, want %q", c.url, got, c.want)
		}
	}
}

// FuzzRefusal reads what servers write about an error.
func FuzzRefusal(f *testing.F) {
	f.Add([]byte("<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>"), 404)
	f.Add([]byte("<html>502</html>"), 502)
	f.Add([]byte{}, 999)
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		if err := objects.Refusal(body, status); err == nil || len(err.Error()) > len(body)+1000 {
			t.Errorf("%v", err)
		}
	})
}
