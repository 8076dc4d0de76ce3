package objects_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"mocostream/internal/objects"
	"mocostream/internal/s3server"
)

// BenchmarkRead compares the client's reads of a 64 MiB object with plain HTTP from the same server: verified by CRC32,
// verified by the ETag, from byte 1 (not verified), in parts, and without the client.
func BenchmarkRead(b *testing.B) {
	const size = 64 << 20
	for _, server := range []s3server.Options{{}, {NoChecksums: true}} {
		s := s3server.New(server)
		url, err := s.Start(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		s.Put(bucket, "o", noise(size))
		c, err := objects.Open(b.Context(), objects.Options{Endpoint: url, PathStyle: true, Anonymous: true})
		if err != nil {
			b.Fatal(err)
		}
		o, err := c.Stat(b.Context(), bucket, "o")
		if err != nil {
			b.Fatal(err)
		}
		get := func(from int64) func(ctx context.Context) (io.ReadCloser, error) {
			return func(ctx context.Context) (io.ReadCloser, error) { return c.Get(ctx, bucket, o, from) }
		}
		web := &http.Client{Transport: &http.Transport{}}
		ways := map[string]func(ctx context.Context) (io.ReadCloser, error){"etag": get(0)}
		if !server.NoChecksums {
			ways = map[string]func(ctx context.Context) (io.ReadCloser, error){
				"crc32": get(0), "unverified": get(1),
				"parallel": func(ctx context.Context) (io.ReadCloser, error) {
					return c.GetParallel(ctx, bucket, o, 0, 8<<20, 4)
				},
				"plain": func(ctx context.Context) (io.ReadCloser, error) {
					r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/"+bucket+"/o", nil)
					if err != nil {
						return nil, err
					}
					answer, err := web.Do(r)
					if err != nil {
						return nil, err
					}
					return answer.Body, nil
				},
			}
		}
		for name, open := range ways {
			b.Run(name, func(b *testing.B) { drain(b, size, open) })
		}
		web.CloseIdleConnections()
		c.Close()
		s.Close()
	}
}

func drain(b *testing.B, size int64, open func(ctx context.Context) (io.ReadCloser, error)) {
	b.SetBytes(size)
	buf := make([]byte, 1<<20)
	for b.Loop() {
		r, err := open(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buf); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}
