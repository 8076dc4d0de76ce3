package s3

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"

	"mocostream/internal/s3server"

	"golang.org/x/sync/errgroup"
)

// readers is how many reads go on at a time in the benchmarks.
const readers = 4

// BenchmarkRead compares what a Source hands out with plain HTTP reads of the same objects, in one process with the server:
//
//	go test -run - -bench Read ./ingest/s3
func BenchmarkRead(b *testing.B) {
	for _, kind := range []struct {
		name    string
		objects int
		content func(i int) []byte
	}{
		{"image.jpg", 64, func(i int) []byte { return picture(fmt.Sprint(i), 110_000) }},
		{"shard.tar", 8, func(i int) []byte { return tarOf(b, fmt.Sprint(i), 400, 110_000) }},
		{"shard.parquet", 8, func(i int) []byte { return parquetOf(b, fmt.Sprint(i), 80, 110_000) }},
	} {
		server := newBucket(b, s3server.Options{})
		var bytes int64
		for i := range kind.objects {
			content := kind.content(i)
			bytes += int64(len(content))
			server.Put(testBucket, fmt.Sprintf("%02d-%s", i, kind.name), content)
		}
		s := source(b, server, Options{})
		s.mem = nil // checked memory takes its time
		if _, err := s.Manifest(b.Context()); err != nil {
			b.Fatal(err)
		}
		for name, readOne := range map[string]func(ctx context.Context, i int) error{
			"plain HTTP": func(ctx context.Context, i int) error {
				return plain(ctx, fmt.Sprintf("%s/%s/%02d-%s", server.url, testBucket, i, kind.name))
			},
			"source": func(ctx context.Context, i int) error { return drain(ctx, s, int32(i)) },
		} {
			b.Run(kind.name+"/"+name, func(b *testing.B) {
				b.SetBytes(bytes)
				before := cpuSeconds(b)
				for b.Loop() {
					group, ctx := errgroup.WithContext(b.Context())
					group.SetLimit(readers)
					for i := range kind.objects {
						group.Go(func() error { return readOne(ctx, i) })
					}
					if err := group.Wait(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric((cpuSeconds(b)-before)/float64(b.N)/float64(bytes)*1e9, "cpu-s/GB") // the server's too
			})
		}
	}
}

// cpuSeconds is what this process has used of the CPUs.
func cpuSeconds(b *testing.B) float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func drain(ctx context.Context, s *Source, partition int32) error {
	r, err := s.Read(ctx, partition, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		record, err := r.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		record.Release()
	}
}

func plain(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}
