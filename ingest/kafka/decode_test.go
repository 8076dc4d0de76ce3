package kafka

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mocostream/ingest"
	"mocostream/internal/objects"

	"github.com/apache/arrow/go/v17/arrow/array"
)

const (
	jpegBytes = "\xff\xd8\xff\xe0 a JPEG"
	pngBytes  = "\x89PNG\r\n\x1a\n a PNG"
	webpBytes = "RIFF\x00\x00\x00\x00WEBP"
)

// sample is a row as a test writes it.
type sample struct {
	Key, Image, Problem string // of Problem a part
	Label               int32  // -1: none
	Time                int64  // microseconds, 0: none
}

// unfold decodes one message and checks its identity columns.
func unfold(t testing.TB, o DecoderOptions, r *record) []sample {
	t.Helper()
	d, err := NewDecoder(o)
	must(t, err)
	b := ingest.NewBuilder(nil)
	defer b.Release()
	row := ingest.Row{ID: ingest.ID{Source: "kafka:c/t/i", Partition: 3, Offset: 7}}
	n, err := d.Append(t.Context(), b, row, r)
	must(t, err)
	samples := samplesOf(t, b)
	if int(n) != len(samples) {
		t.Errorf("%d images are said, %d there", n, len(samples))
	}
	return samples
}

func samplesOf(t testing.TB, b *ingest.Builder) []sample {
	t.Helper()
	rec := b.Record()
	defer rec.Release()
	samples := make([]sample, rec.NumRows())
	text := func(c, row int) string {
		if rec.Column(c).IsNull(row) {
			return ""
		}
		return strings.Clone(rec.Column(c).(*array.String).Value(row))
	}
	for i := range samples {
		s := sample{Key: text(ingest.ColKey, i), Problem: text(ingest.ColProblem, i), Label: -1,
			Image: string(rec.Column(ingest.ColImage).(*array.Binary).Value(i))}
		if c := rec.Column(ingest.ColLabel).(*array.Int32); c.IsValid(i) {
			s.Label = c.Value(i)
		}
		if c := rec.Column(ingest.ColTime).(*array.Timestamp); c.IsValid(i) {
			s.Time = int64(c.Value(i))
		}
		samples[i] = s
		id := [3]any{rec.Column(ingest.ColPartition).(*array.Int32).Value(i), rec.Column(ingest.ColOffset).(*array.Int64).Value(i), text(ingest.ColSource, i)}
		if id != [3]any{int32(3), int64(7), "kafka:c/t/i"} {
			t.Errorf("row %d is of %v", i, id)
		}
		item, items := rec.Column(ingest.ColItem).(*array.Int32).Value(i), rec.Column(ingest.ColItems).(*array.Int32).Value(i)
		if item != int32(i) || int(items) != len(samples) {
			t.Errorf("row %d is item %d of %d", i, item, items)
		}
	}
	return samples
}

// equal compares samples; a problem has to hold the wanted one.
func equal(t *testing.T, got, want []sample) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d samples, want %d: %+v", len(got), len(want), got)
	}
	for i := range got {
		if (got[i].Problem == "") != (want[i].Problem == "") || !strings.Contains(got[i].Problem, want[i].Problem) {
			t.Errorf("sample %d: problem %q, want %q", i, got[i].Problem, want[i].Problem)
		}
		g, w := got[i], want[i]
		g.Problem, w.Problem = "", ""
		if g != w {
			t.Errorf("sample %d: %+v, want %+v", i, g, w)
		}
	}
}

func TestImages(t *testing.T) {
	at := time.UnixMilli(1700000000123)
	us := at.UnixMicro()
	h := func(pairs ...string) (hs []header) {
		for i := 0; i < len(pairs); i += 2 {
			hs = append(hs, header{Key: pairs[i], Value: []byte(pairs[i+1])})
		}
		return hs
	}
	long := strings.Repeat("k", maxKey+1)
	for name, c := range map[string]struct {
		record record
		want   []sample
	}{
		"tombstone": {record{}, nil},
		"empty":     {record{Key: []byte("k"), Value: []byte{}}, []sample{{Key: "k", Problem: "empty", Label: -1}}},
		"image":     {record{Key: []byte("k"), Time: at, Value: []byte(jpegBytes)}, []sample{{Key: "k", Image: jpegBytes, Label: -1, Time: us}}},
		"unknown":   {record{Value: []byte("what")}, []sample{{Image: "what", Label: -1}}},
		"headers": {record{Key: []byte("k"), Time: at, Value: []byte(pngBytes), Headers: h("key", "other", "label", "3", "label", "4", "time", "2023-11-14T22:13:21+00:00")},
			[]sample{{Key: "other", Image: pngBytes, Label: 4, Time: 1700000001000000}}},
		"time in ms":  {record{Value: []byte(webpBytes), Headers: h("time", "1700000000123")}, []sample{{Image: webpBytes, Label: -1, Time: us}}},
		"bad headers": {record{Time: at, Value: []byte("x"), Headers: h("time", "soon", "label", "cat")}, []sample{{Image: "x", Label: -1, Time: us}}},
		"binary key":  {record{Key: []byte("\xff\x01"), Value: []byte("x")}, []sample{{Key: "0xff01", Image: "x", Label: -1}}},
		"long key": {record{Key: []byte(long), Value: []byte("x")},
			[]sample{{Key: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(long))), Image: "x", Label: -1}}},
		"content type": {record{Value: []byte("{}"), Headers: h("Content-Type", "image/png")}, []sample{{Image: "{}", Label: -1}}},
	} {
		t.Run(name, func(t *testing.T) {
			equal(t, unfold(t, DecoderOptions{}, &c.record), c.want)
		})
	}
}

func TestLongImageIsCut(t *testing.T) {
	got := unfold(t, DecoderOptions{MaxImage: 4}, &record{Value: []byte("123456789")})
	equal(t, got, []sample{{Image: "12345", Label: -1}})
}

func TestDeletions(t *testing.T) {
	got := unfold(t, DecoderOptions{Deletions: true}, &record{Key: []byte("k")})
	equal(t, got, []sample{{Key: "k", Problem: ingest.Deleted, Label: -1}})
}

func TestWarnsOnce(t *testing.T) {
	var warned []string
	d, err := NewDecoder(DecoderOptions{Warn: func(text string) { warned = append(warned, text) }})
	must(t, err)
	b := ingest.NewBuilder(nil)
	defer b.Release()
	for range 3 {
		r := &record{Value: []byte("x"), Headers: []header{{Key: "label", Value: []byte("cat")}, {Key: "time", Value: []byte("late")}}}
		if _, err := d.Append(t.Context(), b, ingest.Row{}, r); err != nil {
			t.Fatal(err)
		}
	}
	if len(warned) != 2 {
		t.Errorf("warnings: %q", warned)
	}
}

func TestInvalidDecoder(t *testing.T) {
	for want, o := range map[string]DecoderOptions{
		`ingest.kafka.schema is "xml"`: {Schema: "xml"},
		"largest image":                {MaxImage: -1},
		"largest message":              {MaxMessage: 10},
		"positive":                     {Fetchers: -1},
	} {
		if _, err := NewDecoder(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// store is a fetcher of test objects that counts what goes on at the same time.
type store struct {
	objects map[string]string // by URL
	errs    map[string]error
	busy    atomic.Int32
	most    atomic.Int32
	hold    chan struct{} // nil: none
	mu      sync.Mutex
	refs    []ObjectRef
}

func (s *store) Fetch(ctx context.Context, ref ObjectRef) ([]byte, error) {
	if n := s.busy.Add(1); n > s.most.Load() {
		s.most.Store(n)
	}
	defer s.busy.Add(-1)
	s.mu.Lock()
	s.refs = append(s.refs, ref)
	s.mu.Unlock()
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := s.errs[ref.URL()]; err != nil {
		return nil, err
	}
	if image, ok := s.objects[ref.URL()]; ok {
		return []byte(image), nil
	}
	return nil, fs.ErrNotExist
}

func TestFetchProblems(t *testing.T) {
	s := &store{
		objects: map[string]string{"s3://b/a.jpg": jpegBytes, "s3://b/empty": "", "s3://b/long": "123456789012"},
		errs: map[string]error{
			"s3://b/secret":  fmt.Errorf("get it: %w", ErrNotAllowed),
			"s3://b/changed": fmt.Errorf("get it: %w", objects.ErrChanged),
			"s3://b/broken":  fmt.Errorf("get it: %w", objects.ErrCorrupt),
		},
	}
	value := `[{"url":"s3://b/a.jpg"},{"url":"s3://b/gone"},{"url":"s3://b/secret"},{"url":"s3://b/changed"},{"url":"s3://b/broken"},
		{"url":"s3://b/empty"},{"url":"s3://b/long"}]`
	want := []sample{
		{Key: "s3://b/a.jpg", Image: jpegBytes[:11], Label: -1}, {Key: "s3://b/gone", Problem: "not exist", Label: -1},
		{Key: "s3://b/secret", Problem: "ingest.kafka.objects.allow", Label: -1}, {Key: "s3://b/changed", Problem: "changed", Label: -1},
		{Key: "s3://b/broken", Problem: "corrupt", Label: -1}, {Key: "s3://b/empty", Problem: "empty", Label: -1},
		{Key: "s3://b/long", Image: "12345678901", Label: -1},
	}
	equal(t, unfold(t, DecoderOptions{Objects: s, MaxImage: 10}, &record{Value: []byte(value)}), want)

	denied := unfold(t, DecoderOptions{}, &record{Value: []byte(`{"url":"s3://b/a.jpg"}`)})
	equal(t, denied, []sample{{Key: "s3://b/a.jpg", Problem: "ingest.kafka.objects.allow", Label: -1}})
}

// An error that is no bad image's ends the call and leaves nothing behind, also in the middle of a message.
func TestFetchError(t *testing.T) {
	bad := errors.New("no credentials")
	s := &store{objects: map[string]string{"s3://b/1": "1"}, errs: map[string]error{"s3://b/2": bad}}
	d, err := NewDecoder(DecoderOptions{Objects: s})
	must(t, err)
	b := ingest.NewBuilder(nil)
	defer b.Release()
	r := &record{Value: []byte(`[{"url":"s3://b/1"},{"url":"s3://b/2"}]`)}
	if _, err := d.Append(t.Context(), b, ingest.Row{}, r); !errors.Is(err, bad) || !strings.Contains(err.Error(), "s3://b/2") {
		t.Errorf("got %v", err)
	}
	if b.Len() != 0 {
		t.Errorf("%d rows are left", b.Len())
	}
	s.hold = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Append(ctx, b, ingest.Row{}, r); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Objects of several messages are fetched together, no more at a time than allowed, and stay in order.
func TestFetchesTogether(t *testing.T) {
	s := &store{objects: map[string]string{}, hold: make(chan struct{})}
	var records []*record
	var rows []ingest.Row
	for i := range 30 {
		s.objects[fmt.Sprintf("s3://b/%d", i)] = fmt.Sprint(i)
		records = append(records, &record{Value: fmt.Appendf(nil, `{"bucket":"b","key":"%d"}`, i)})
		rows = append(rows, ingest.Row{})
	}
	d, err := NewDecoder(DecoderOptions{Objects: s, Fetchers: 7})
	must(t, err)
	b := ingest.NewBuilder(nil)
	defer b.Release()
	go func() {
		for s.busy.Load() < 7 && t.Context().Err() == nil {
			runtime.Gosched()
		}
		close(s.hold)
	}()
	images, err := d.(batchDecoder).AppendBatch(t.Context(), b, rows, records)
	must(t, err)
	if len(images) != 30 || s.most.Load() != 7 {
		t.Errorf("%d messages, %d at a time", len(images), s.most.Load())
	}
	rec := b.Record()
	defer rec.Release()
	for i := range int(rec.NumRows()) {
		if got := rec.Column(ingest.ColImage).(*array.Binary).ValueString(i); got != fmt.Sprint(i) {
			t.Errorf("row %d has image %s", i, got)
		}
	}
}

// What one call gathers and what one message points at are bounded, and which images a message loses does not depend on
// the order in which they come.
func TestFetchedBytesAreBounded(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	s := &store{objects: map[string]string{"s3://b/big": big}}
	d, err := NewDecoder(DecoderOptions{Objects: s, MaxImage: 1 << 20, MaxMessage: 3<<20 + 5, Fetchers: 3})
	must(t, err)
	one := `{"url":"s3://b/big"}`
	for range 5 {
		b := ingest.NewBuilder(nil)
		if _, err := d.Append(t.Context(), b, ingest.Row{ID: ingest.ID{Source: "kafka:c/t/i", Partition: 3, Offset: 7}},
			&record{Value: []byte("[" + one + strings.Repeat(","+one, 9) + "]")}); err != nil {
			t.Fatal(err)
		}
		for i, got := range samplesOf(t, b) {
			if whole := len(got.Image) == 1<<20; whole != (i < 3) || whole == (got.Problem != "") {
				t.Errorf("image %d has %d bytes, problem %q", i, len(got.Image), got.Problem)
			}
		}
		b.Release()
	}
	records, rows := make([]*record, 40), make([]ingest.Row, 40)
	for i := range records {
		records[i] = &record{Value: []byte(one)}
	}
	b := ingest.NewBuilder(nil)
	defer b.Release()
	images, err := d.(batchDecoder).AppendBatch(t.Context(), b, rows, records)
	must(t, err)
	if n := len(images); n < 8 || n > 8+3+1 || b.Len() != n {
		t.Errorf("%d messages in one call, %d rows", n, b.Len())
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{jpegBytes, "", `{"image":"AAAA","label":"3","time":12}`, `[{"url":"s3://b/k"},{}]`, testEvent, createdEvent, "ARROW1\x00\x00"} {
		f.Add([]byte(seed), "")
	}
	f.Add([]byte(`{"images":[{"bucket":"b","key":"k"}]}`), "application/json")
	f.Fuzz(func(t *testing.T, value []byte, kind string) {
		o := DecoderOptions{MaxImage: 1 << 16, MaxMessage: 1 << 20, MaxItems: 100, Objects: &store{objects: map[string]string{"s3://b/k": "x"}}}
		r := &record{Value: value, Headers: []header{{Key: "content-type", Value: []byte(kind)}}}
		got := unfold(t, o, r)
		again := unfold(t, o, &record{Value: bytes.Clone(value), Headers: r.Headers})
		if fmt.Sprint(got) != fmt.Sprint(again) {
			t.Errorf("not the same twice: %v, %v", got, again)
		}
	})
}
