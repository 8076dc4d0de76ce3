package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mocostream/internal/standin"

	"github.com/twmb/franz-go/pkg/kgo"
)

// produced reads n messages of a topic.
func produced(t *testing.T, address, topic string, n int) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var all []*kgo.Record
	for len(all) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d of %d messages: %v", len(all), n, err)
		}
		all = append(all, fetches.Records()...)
	}
	return all
}

func standinBroker(t *testing.T, topic string) *standin.Broker {
	t.Helper()
	b, err := standin.StartBroker(t.TempDir(), topic, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// labelled draws n little images of three classes.
func labelled(t *testing.T, n string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "images")
	if code, _, text := command("synth", "--out", root, "--images", n, "--classes", "3", "--size", "32"); code != exitOK {
		t.Fatal(text)
	}
	return root
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// A folder becomes messages: each image once a pass, whole, with its label; the topic is made where it is missing.
func TestProduce(t *testing.T) {
	root := labelled(t, "30")
	b := standinBroker(t, "other")
	code, out, text := command("produce", "--data", root, "--brokers", b.Address(), "--topic", "pictures", "--partitions", "3",
		"--labels", "--shuffle", "--passes", "2", "--rate", "1000", "--json")
	if code != exitOK {
		t.Fatalf("%d %s", code, text)
	}
	if got := lastObject(t, out); got["images"] != 60.0 || got["skipped"] != 0.0 || got["topic"] != "pictures" {
		t.Errorf("says %v", got)
	}
	times, partitions := map[string]int{}, map[int32]bool{}
	for _, r := range produced(t, b.Address(), "pictures", 60) {
		key := string(r.Key)
		times[key]++
		partitions[r.Partition] = true
		want, err := os.ReadFile(filepath.Join(root, key))
		if err != nil || !bytes.Equal(r.Value, want) {
			t.Errorf("%s: other bytes (%v)", key, err)
		}
		class := filepath.Base(filepath.Dir(key))
		if label := header(r, "label"); label != classIndex(t, root, class) || header(r, "content-type") != "image/jpeg" {
			t.Errorf("%s: headers %v", key, r.Headers)
		}
	}
	for key, n := range times {
		if n != 2 {
			t.Errorf("%s: %d times", key, n)
		}
	}
	if len(times) != 30 || len(partitions) != 3 {
		t.Errorf("%d keys in %d partitions", len(times), len(partitions))
	}
	if code, _, text = command("produce", "--data", root, "--brokers", b.Address(), "--topic", "pictures", "--partitions", "9"); code != exitOK {
		t.Errorf("topic that exists: %s", text)
	}
}

// classIndex is the place of a class among the sub-folders of root.
func classIndex(t *testing.T, root, class string) string {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	place := '0'
	for _, e := range entries {
		switch {
		case e.Name() == class:
			return string(place)
		case e.IsDir():
			place++
		}
	}
	t.Fatalf("no class %s", class)
	return ""
}

// Brokers, topic and names of headers come from the file that training reads. What does not fit is left out and named.
func TestProduceByConfiguration(t *testing.T) {
	root := labelled(t, "6")
	large := filepath.Join(root, "large.jpg")
	if err := os.WriteFile(large, append([]byte("\xff\xd8\xff"), make([]byte, 5000)...), 0o644); err != nil {
		t.Fatal(err)
	}
	b := standinBroker(t, "images")
	file := filepath.Join(t.TempDir(), "run.yaml")
	text := "ingest:\n  kafka:\n    brokers: [" + b.Address() + "]\n    topics: [images]\n    key_header: id\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, warning := command("produce", "--data", root, "-c", file, "--max-message", "6KiB", "--json")
	if code != exitOK {
		t.Fatal(warning)
	}
	if got := lastObject(t, out); got["images"] != 6.0 || got["skipped"] != 1.0 {
		t.Errorf("says %v; %s", got, warning)
	}
	if !strings.Contains(warning, `"large.jpg" is left out: 5003 bytes are more than --max-message`) {
		t.Errorf("warns %q", warning)
	}
	for _, r := range produced(t, b.Address(), "images", 6) {
		if header(r, "id") != string(r.Key) || header(r, "label") != "" {
			t.Errorf("%s: headers %v", r.Key, r.Headers)
		}
	}
}

// Without an end it sends until it is told to stop, and that is a good end.
func TestProduceUntilStopped(t *testing.T) {
	b := standinBroker(t, "images")
	var out bytes.Buffer
	stop := make(chan struct{})
	term := &terminal{out: &out, err: io.Discard, ctx: t.Context(), stop: stop}
	ended := make(chan error, 1)
	c := produceCommand{Data: labelled(t, "5"), Brokers: []string{b.Address()}, Topic: "images", Rate: 500, MaxMessage: 1 << 20}
	go func() { ended <- c.Run(term) }()
	produced(t, b.Address(), "images", 12) // more than two passes
	close(stop)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "images sent to topic images, 0 left out") {
		t.Errorf("says %q", out.String())
	}
	c.Passes = 1
	if err := c.Run(term); err == nil || err.Error() != "interrupted" {
		t.Errorf("a pass that was stopped ends with %v", err)
	}
}

func TestProduceWrongInput(t *testing.T) {
	root := labelled(t, "3")
	b := standinBroker(t, "images")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.MkdirAll(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no brokers":     {[]string{"--data", root, "--topic", "images"}, exitUsage, "no brokers; name them by --brokers"},
		"no topic":       {[]string{"--data", root, "--brokers", b.Address()}, exitUsage, "no topic; name it by --topic"},
		"topic missing":  {[]string{"--data", root, "--brokers", b.Address(), "--topic", "gone"}, exitFailed, `send to topic "gone"`},
		"broker missing": {[]string{"--data", root, "--brokers", "127.0.0.1:1", "--topic", "images", "--partitions", "1"}, exitFailed, `create topic "images"`},
		"size":           {[]string{"--data", root, "--brokers", b.Address(), "--topic", "images", "--max-message", "1KiB"}, exitUsage, "from 2KiB to 1GiB"},
		"no images":      {[]string{"--data", empty, "--brokers", b.Address(), "--topic", "images"}, exitFailed, empty},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, text := command(append([]string{"produce"}, c.args...)...)
			if code != c.code || !strings.Contains(text, c.want) {
				t.Errorf("%d %s", code, text)
			}
		})
	}
}
