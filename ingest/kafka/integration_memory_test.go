//go:build integration && !race

package kafka

import (
	"cmp"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"mocostream/ingest"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	largeMessage = 20 << 20  // bytes
	largeBudget  = 512 << 20 // Options.MemoryLimit
	// largeRest is how far a process may stand above its budget: Go, the program, the record in hand, and what the
	// collector has not come to yet.
	largeRest = 64 << 20
	// largeBrokers and largeCount tell the process that reads what to read.
	largeBrokers = "MOCOSTREAM_TEST_LARGE_BROKERS"
	largeCount   = "MOCOSTREAM_TEST_LARGE_MESSAGES" // also a person's, for more than the 200 of each test
)

// TestIntegrationLargeMessages has a process of its own read messages of 20 MB from four partitions of a broker that
// serves the same one again and again, and looks at the most memory that process ever had.
func TestIntegrationLargeMessages(t *testing.T) {
	if brokers := os.Getenv(largeBrokers); brokers != "" {
		readLarge(t, strings.Split(brokers, ","))
		return
	}
	for name, codec := range map[string]kgo.CompressionCodec{"plain": kgo.NoCompression(), "zstd": kgo.ZstdCompression()} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, kfake.SeedTopics(4, "imgs"),
				kfake.SyntheticFetch(kfake.SyntheticBatch{Records: 1, RecordBytes: largeMessage, RandomFrac: 0.5, Compression: codec}))
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestIntegrationLargeMessages$", "-test.v")
			cmd.Env = append(os.Environ(), largeBrokers+"="+strings.Join(c.ListenAddrs(), ","), largeCount+"="+cmp.Or(os.Getenv(largeCount), "200"))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v", err)
			}
			t.Logf("%s", out)
		})
	}
}

// readLarge is the process that reads.
func readLarge(t *testing.T, brokers []string) {
	count, err := strconv.ParseInt(os.Getenv(largeCount), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	decoder, err := NewDecoder(DecoderOptions{Schema: SchemaImage})
	if err != nil {
		t.Fatal(err)
	}
	source := newSource(t, Options{Brokers: brokers, Topics: []string{"imgs"}, Decoder: decoder, MemoryLimit: largeBudget, Timeout: time.Minute})
	reader, err := source.Open(t.Context(), ingest.Progress{})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	start, held := time.Now(), int64(0)
	for n := int64(0); n < count; {
		rec, err := reader.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if size := len(imageOf(rec, 0)); size != largeMessage {
			t.Fatalf("an image of %d bytes", size)
		}
		n += rec.NumRows()
		rec.Release()
		held = max(held, source.Stats().HeldBytes)
	}
	peak := peakMemory(t)
	t.Logf("%d messages in %v; at most %d MiB were held and %d MiB resident, limit %d MiB + %d MiB", count,
		time.Since(start).Round(100*time.Millisecond), held>>20, peak>>20, largeBudget>>20, largeRest>>20)
	if held > largeBudget || peak > largeBudget+largeRest {
		t.Errorf("the limit is exceeded")
	}
}

// peakMemory returns the most bytes that this process ever had resident.
func peakMemory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc here that tells of memory")
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("/proc/self/status has no VmHWM")
	return 0
}
