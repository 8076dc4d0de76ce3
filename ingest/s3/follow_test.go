package s3

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
	"mocostream/internal/objects"
	"mocostream/internal/s3server"

	"github.com/apache/arrow/go/v17/arrow"
)

func follow(t testing.TB, b *bucket, o FollowOptions) *Follow {
	t.Helper()
	if o.Client == nil {
		o.Client = b.client(t)
	}
	o.Bucket, o.Allocator = cmp.Or(o.Bucket, testBucket), checked(t)
	if o.StateDir == "" {
		o.StateDir = t.TempDir()
	}
	if o.Interval == 0 {
		o.Interval = 5 * time.Millisecond
	}
	f, err := NewFollow(o)
	if err != nil {
		t.Fatal(err)
	}
	f.first, f.longest = time.Millisecond, 5*time.Millisecond
	t.Cleanup(func() { f.Close() })
	return f
}

// tail is an open reader of a Follow and the progress of a consumer that takes everything.
type tail struct {
	ingest.StreamReader
	done ingest.Progress
}

func openTail(t testing.TB, f *Follow, done ingest.Progress) *tail {
	t.Helper()
	r, err := f.Open(t.Context(), done)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return &tail{r, done.Clone()}
}

// take reads n samples and returns their keys.
func (r *tail) take(t testing.TB, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var keys []string
	for len(keys) < n {
		record, err := r.Next(ctx)
		if err != nil {
			t.Fatalf("after %q: %v", keys, err)
		}
		r.pass()
		for _, s := range ingesttest.Samples(record) {
			if r.done.Contains(s.ID) {
				t.Errorf("%v comes again", s)
			}
			r.done.AddItem(s.ID, s.Items)
			keys = append(keys, s.Key)
		}
		record.Release()
	}
	return keys
}

func (r *tail) pass() {
	for _, p := range r.Passed() {
		r.done.AddRange(p.Source, p.Partition, p.Start, p.End)
	}
}

// quiet waits for two whole scans, and checks that nothing comes.
func (r *tail) quiet(t testing.TB, b *bucket) {
	t.Helper()
	n := b.Requests()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		record, err := r.Next(ctx)
		if err == nil {
			if rows := ingesttest.Samples(record); len(rows) > 0 {
				err = fmt.Errorf("%v comes", rows)
			}
			record.Release()
		}
		ended <- err
	}()
	eventually(t, "it is scanned again", func() bool { return b.Requests() >= n+3 })
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.pass()
}

func TestFollowConforms(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	for _, key := range []string{"a.jpg", "c.jpg", "z.png"} {
		b.Put(testBucket, "in/"+key, picture(key, 3000))
	}
	b.Put(testBucket, "in/b.tar", tarOf(t, "b", 70, 100))
	b.Put(testBucket, "in/d.parquet", parquetOf(t, "d", 3, 100))
	b.Put(testBucket, "in/e.tar", tarOf(t, "e", 1, 100))
	ingesttest.TestStream(t, func(t *testing.T) (ingest.Stream, []ingesttest.Sample) {
		client := b.client(t)
		f := follow(t, b, FollowOptions{Client: client, Prefix: "in", Labels: true, Interval: time.Hour})
		if err := f.scan(t.Context()); err != nil { // progress can only be of objects that are known
			t.Fatal(err)
		}
		times := map[string]arrow.Timestamp{}
		for o, err := range client.List(t.Context(), testBucket, "in/", "") {
			if err != nil {
				t.Fatal(err)
			}
			times[o.Key] = arrow.Timestamp(o.Modified.UnixMicro())
		}
		client.Close()
		var want []ingesttest.Sample
		add := func(ordinal int64, key string, samples ...ingesttest.Sample) {
			for i, s := range samples {
				s.ID = ingest.ID{Source: "s3://images/in#follow", Offset: ordinal, Item: int32(i)}
				s.Time = new(times[key])
				want = append(want, s)
			}
		}
		image := func(key string) ingesttest.Sample {
			return ingesttest.Sample{Row: ingest.Row{Key: "in/" + key}, Image: picture(key, 3000)}
		}
		add(0, "in/a.jpg", image("a.jpg"))
		add(1, "in/b.tar", samplesOf(ingest.ID{}, "b", 70, 100)...)
		add(2, "in/c.jpg", image("c.jpg"))
		add(3, "in/d.parquet", samplesOf(ingest.ID{}, "d", 3, 100)...)
		add(4, "in/e.tar", samplesOf(ingest.ID{}, "e", 1, 100)...)
		add(5, "in/z.png", image("z.png"))
		return tidyStream{f, client}, want
	})
}

type tidyStream struct {
	*Follow
	client *objects.Client
}

func (s tidyStream) Open(ctx context.Context, done ingest.Progress) (ingest.StreamReader, error) {
	r, err := s.Follow.Open(ctx, done)
	return tidyStreamReader{r, s.client}, err
}

type tidyStreamReader struct {
	ingest.StreamReader
	client *objects.Client
}

func (r tidyStreamReader) Close() error {
	defer r.client.Close()
	return r.StreamReader.Close()
}

// New keys anywhere, new contents and vanished objects.
func TestFollowChanges(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	f := follow(t, b, FollowOptions{Lateness: time.Hour, Fetchers: 1})
	b.Put(testBucket, "m.jpg", []byte("m"))
	r := openTail(t, f, ingest.Progress{})
	steps := []struct {
		change func()
		want   []string
	}{
		{func() {}, []string{"m.jpg"}},
		{func() { b.Put(testBucket, "a.jpg", []byte("a")) }, []string{"a.jpg"}}, // sorts before
		{func() { b.Put(testBucket, "m.jpg", []byte("other")) }, []string{"m.jpg"}},
		{func() { b.Put(testBucket, "m.jpg", []byte("other")) }, nil}, // the same content again
		{func() { b.Put(testBucket, "notes.txt", []byte("other")) }, nil},
		{func() { b.Delete(testBucket, "a.jpg") }, nil},
		{func() { b.Put(testBucket, "s.tar", tarOf(t, "s", 2, 10)) }, []string{"s-000", "s-001"}},
		{func() { b.Put(testBucket, "bad.tar", bytes.Repeat([]byte("no tar"), 200)) }, []string{"bad.tar"}},
		{func() { b.Put(testBucket, "empty.tar", tarOf(t, "s", 0, 10)) }, nil},
	}
	for i, step := range steps {
		step.change()
		if got := r.take(t, len(step.want)); !slices.Equal(got, step.want) {
			t.Errorf("step %d: got %q, want %q", i, got, step.want)
		}
		r.quiet(t, b)
	}
	done := r.done.Streams["s3://images/#follow"][0]
	if !slices.Equal(done, ingest.Intervals{{Start: 0, End: 6}}) {
		t.Errorf("done is %v", done)
	}
	if s := f.Stats(); s.Pending != 0 || s.Seen != 6 || s.Objects != 6 {
		t.Errorf("stats are %+v", s)
	}
}

// Objects that vanish or change between a scan and their turn are passed.
func TestFollowVanished(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	for _, key := range []string{"0.jpg", "1.jpg", "2.tar", "3.jpg"} {
		content := []byte(key)
		if key == "2.tar" {
			content = tarOf(t, "x", 2, 10)
		}
		b.Put(testBucket, key, content)
	}
	dir := t.TempDir()
	f := follow(t, b, FollowOptions{StateDir: dir, Interval: time.Hour})
	if err := f.scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.Stats(); got.Pending != 4 {
		t.Errorf("stats are %+v", got)
	}
	b.Delete(testBucket, "0.jpg")
	b.Put(testBucket, "1.jpg", []byte("another one"))
	b.Delete(testBucket, "2.tar")
	r := openTail(t, f, ingest.Progress{})
	if got := r.take(t, 2); !slices.Equal(got, []string{"3.jpg", "1.jpg"}) {
		t.Errorf("got %q", got)
	}
	if !slices.Equal(r.done.Streams[f.Source()][0], ingest.Intervals{{Start: 0, End: 5}}) || f.Stats().Skipped != 3 {
		t.Errorf("done is %v, stats %+v", r.done, f.Stats())
	}
}

func TestFollowStart(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	for name, test := range map[string]struct {
		start Start
		want  []string
	}{
		"earliest": {Start{}, []string{"new.jpg", "old.jpg", "later.jpg"}},
		"latest":   {Start{Latest: true}, []string{"later.jpg"}},
		"time":     {Start{Time: now.Add(-time.Minute)}, []string{"new.jpg", "later.jpg"}},
	} {
		b := newBucket(t, s3server.Options{})
		c := &clock{Client: b.client(t)}
		for _, key := range []string{"old.jpg", "new.jpg"} {
			b.Put(testBucket, key, []byte(key))
		}
		c.set("old.jpg", now.Add(-time.Hour))
		f := follow(t, b, FollowOptions{Client: c, Start: test.start, Lateness: time.Minute})
		r := openTail(t, f, ingest.Progress{})
		got := r.take(t, len(test.want)-1)
		r.quiet(t, b)
		b.Put(testBucket, "later.jpg", []byte("later"))
		if got = append(got, r.take(t, 1)...); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
		r.quiet(t, b)
		if s := f.Stats(); s.Late != 0 {
			t.Errorf("%s: stats are %+v", name, s)
		}
	}
}

// Memory holds what may come late; what is older and unknown is counted once, and not read.
func TestFollowLateness(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	c := &clock{Client: b.client(t)}
	told := &warnings{}
	dir := t.TempDir()
	begin := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	put := func(key string, minute int) {
		c.set(key, begin.Add(time.Duration(minute)*time.Minute))
		b.Put(testBucket, key, []byte(key))
	}
	options := FollowOptions{Client: c, Lateness: 10 * time.Minute, Warn: told.warn, StateDir: dir}
	f := follow(t, b, options)
	r := openTail(t, f, ingest.Progress{})
	for minute := range 40 {
		put(fmt.Sprintf("%02d.jpg", minute), minute)
		r.take(t, 1)
	}
	r.quiet(t, b)
	if n := f.Stats().Seen; n > 12 || n < 10 {
		t.Errorf("%d objects are remembered", n)
	}
	put("in-time.jpg", 30)
	if got := r.take(t, 1); got[0] != "in-time.jpg" {
		t.Errorf("got %q", got)
	}
	put("late.jpg", 20)
	put("25-late.jpg", 25)
	b.Delete(testBucket, "03.jpg") // does not hide another that is late
	r.quiet(t, b)
	if n := f.Stats().Late; n != 2 || told.about("late.jpg") == 0 {
		t.Errorf("%d are late; a person is told %q", n, told.texts)
	}
	r.quiet(t, b)
	if n := f.Stats().Late; n != 2 {
		t.Errorf("the same two are late again: %d", n)
	}
	r.Close()
	f.Close()
	again := follow(t, b, options)
	if n := again.Stats().Late; n != 2 {
		t.Errorf("after a restart %d are late", n)
	}
	put("12-late.jpg", 12)
	r = openTail(t, again, r.done)
	r.quiet(t, b)
	if n := again.Stats().Late; n != 3 {
		t.Errorf("after a restart and another %d are late", n)
	}
}

// sealed returns what a checkpoint holds.
func sealed(t testing.TB, f *Follow, done ingest.Progress) []byte {
	t.Helper()
	var raw, again bytes.Buffer
	s := f.Seal(done)
	n, err := s.WriteTo(&raw)
	if err != nil || n != int64(raw.Len()) {
		t.Fatalf("sealed %d bytes: %v", n, err)
	}
	if _, err := s.WriteTo(&again); err != nil || !bytes.Equal(raw.Bytes(), again.Bytes()) {
		t.Errorf("written again it is other: %v", err)
	}
	return raw.Bytes()
}

// A run is killed at any point and resumed from a checkpoint, with the folder or on another machine: each object once.
func TestFollowResume(t *testing.T) {
	for name, sameFolder := range map[string]bool{"same folder": true, "another machine": false} {
		t.Run(name, func(t *testing.T) {
			b := newBucket(t, s3server.Options{})
			dir := t.TempDir()
			var state []byte
			var done ingest.Progress
			consumed := map[string]int{}
			for round := range 6 {
				for i := range 3 {
					b.Put(testBucket, fmt.Sprintf("%d-%d.jpg", (7*round+i)%10, round), fmt.Append(nil, round, i))
				}
				if !sameFolder {
					dir = t.TempDir()
				}
				o := FollowOptions{StateDir: dir, Lateness: time.Hour}
				if state != nil {
					o.State = bytes.NewReader(state)
				}
				f := follow(t, b, o)
				r := openTail(t, f, done)
				kept := r.take(t, 2)
				state, done = sealed(t, f, r.done), r.done.Clone()
				b.Put(testBucket, fmt.Sprintf("%d-lost.jpg", round), fmt.Append(nil, "lost", round))
				r.take(t, 1) // does not survive
				for _, key := range kept {
					consumed[key]++
				}
				r.Close()
				f.Close()
			}
			f := follow(t, b, FollowOptions{StateDir: dir, State: bytes.NewReader(state), Lateness: time.Hour})
			r := openTail(t, f, done)
			for _, key := range r.take(t, 6*4-12) {
				consumed[key]++
			}
			r.quiet(t, b)
			for _, key := range b.Keys(testBucket) {
				if consumed[key] != 1 {
					t.Errorf("%s is consumed %d times", key, consumed[key])
				}
			}
		})
	}
}

// Ordinals found after the checkpoint stay as they are, where the folder is still there.
func TestFollowKeepsOrdinals(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	dir := t.TempDir()
	told := &warnings{}
	f := follow(t, b, FollowOptions{StateDir: dir, Lateness: time.Hour})
	b.Put(testBucket, "z.jpg", []byte("z"))
	r := openTail(t, f, ingest.Progress{})
	r.take(t, 1)
	state, done := sealed(t, f, r.done), r.done.Clone()
	b.Put(testBucket, "y.jpg", []byte("y"))
	r.take(t, 1)
	r.Close()
	f.Close()
	b.Put(testBucket, "a.jpg", []byte("a"))
	for _, test := range []struct {
		dir  string
		want []string
	}{{dir, []string{"y.jpg", "a.jpg"}}, {t.TempDir(), []string{"a.jpg", "y.jpg"}}} {
		f = follow(t, b, FollowOptions{StateDir: test.dir, State: bytes.NewReader(state), Lateness: time.Hour, Warn: told.warn})
		r = openTail(t, f, done)
		if got := r.take(t, 2); !slices.Equal(got, test.want) {
			t.Errorf("got %q, want %q", got, test.want)
		}
		r.Close()
	}
	if len(told.texts) > 0 {
		t.Errorf("a person is told %q", told.texts)
	}
}

// A folder of another history, a torn journal, and a checkpoint of something else.
func TestFollowFolders(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	b.Put(testBucket, "1.jpg", []byte("1"))
	b.Put(testBucket, "2.jpg", []byte("2"))
	first, other := t.TempDir(), t.TempDir()
	f := follow(t, b, FollowOptions{StateDir: first, Lateness: time.Hour})
	r := openTail(t, f, ingest.Progress{})
	r.take(t, 1)
	state, done := sealed(t, f, r.done), r.done.Clone()
	r.Close()
	f.Close()

	b.Put(testBucket, "0.jpg", []byte("0")) // another history: ordinals differ
	g := follow(t, b, FollowOptions{StateDir: other, Lateness: time.Hour})
	openTail(t, g, ingest.Progress{}).take(t, 3)
	told := &warnings{}
	f = follow(t, b, FollowOptions{StateDir: other, State: bytes.NewReader(state), Lateness: time.Hour, Warn: told.warn})
	if got := openTail(t, f, done).take(t, 2); !slices.Equal(got, []string{"2.jpg", "0.jpg"}) || told.about("another history") != 1 {
		t.Errorf("got %q; a person is told %q", got, told.texts)
	}

	journal := filepath.Join(first, journalFile)
	whole, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(whole) - 60; cut < len(whole); cut += 7 {
		if err := os.WriteFile(journal, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		f = follow(t, b, FollowOptions{StateDir: first, State: bytes.NewReader(state), Lateness: time.Hour})
		r = openTail(t, f, done)
		if got := r.take(t, 2); !slices.Contains(got, "2.jpg") || !slices.Contains(got, "0.jpg") {
			t.Errorf("cut to %d bytes: %q", cut, got)
		}
		r.Close()
	}
	if _, err := NewFollow(FollowOptions{Client: b.client(t), Bucket: testBucket, Prefix: "else", StateDir: t.TempDir(), State: bytes.NewReader(state)}); err == nil ||
		!strings.Contains(err.Error(), "s3://images/#follow, not of s3://images/else#follow") {
		t.Errorf("a checkpoint of another prefix: %v", err)
	}
	if _, err := NewFollow(FollowOptions{Client: b.client(t), Bucket: testBucket, StateDir: t.TempDir(), State: strings.NewReader("nonsense")}); !errors.Is(err, errJournal) {
		t.Errorf("a checkpoint of nonsense: %v", err)
	}
	if _, err := follow(t, b, FollowOptions{}).Open(t.Context(), done); err == nil || !strings.Contains(err.Error(), "begin a new run") {
		t.Errorf("progress without its list: %v", err)
	}
}

// The journal stays short, however long the stream, and readers go on over its compaction.
func TestFollowCompacts(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	f := follow(t, b, FollowOptions{Lateness: 0, Interval: time.Hour})
	now := time.Now()
	r := openTail(t, f, ingest.Progress{})
	eventually(t, "the first scan ends", func() bool { return f.Stats().Seen == 0 && b.Requests() > 0 })
	r.Close()
	c := f.catalog
	add := func(n int) {
		for range n {
			o := objects.Object{Key: strings.Repeat("k", 500) + fmt.Sprint(c.next), Size: 1, ETag: `"e"`, Modified: now}
			if err := c.add(objectPayload(found{Object: o, ordinal: c.next})); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.commit(); err != nil {
			t.Fatal(err)
		}
	}
	at := &cursor{Follow: f}
	defer at.close()
	add(10_000)
	for want := range int64(8000) {
		if o, err := at.take(t.Context()); err != nil || o.ordinal != want {
			t.Fatalf("object %d is %v, %v", want, o, err)
		}
	}
	var done ingest.Progress
	done.AddRange(f.Source(), 0, 0, 7000)
	f.Seal(done) // the one before is needed until this one is durable
	before := f.Seal(done)
	c.state.forget = now.Unix() + 1
	c.publish()
	if err := c.compact(); err != nil {
		t.Fatal(err)
	}
	if c.base != 7000 || c.size > 2<<20 {
		t.Errorf("the journal begins at %d and has %d bytes", c.base, c.size)
	}
	if _, err := before.WriteTo(io.Discard); err != nil {
		t.Errorf("a seal of the file before: %v", err)
	}
	add(10)
	for want := int64(8000); want < 10_010; want++ {
		if o, err := at.take(t.Context()); err != nil || o.ordinal != want {
			t.Fatalf("object %d is %v, %v", want, o, err)
		}
	}
	if _, err := f.Open(t.Context(), ingest.Progress{}); err == nil {
		t.Error("objects that were dropped are read again")
	}
}

// A bucket that cannot be listed ends the stream with its error, after what was found.
func TestFollowFails(t *testing.T) {
	b := newBucket(t, s3server.Options{})
	f := follow(t, b, FollowOptions{Bucket: "none"})
	r := openTail(t, f, ingest.Progress{})
	_, err := r.Next(t.Context())
	for err == nil {
		_, err = r.Next(t.Context())
	}
	if !strings.Contains(err.Error(), "list s3://none/") {
		t.Errorf("error is %v", err)
	}
	if _, again := r.Next(t.Context()); !errors.Is(again, err) {
		t.Errorf("then it is %v", again)
	}
	r.Close()
	if _, err := r.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func FuzzJournal(f *testing.F) {
	object := found{Object: objects.Object{Key: "k", ETag: `"e"`, Size: 3, Modified: time.Unix(5, 0)}, ordinal: 0}
	raw := appendEntry(nil, firstPayload("n"))
	for _, payload := range [][]byte{
		basePayload(0, link{}), objectPayload(object), seenPayload(print{1}, 7), statePayload(state{begun: true, horizon: -5, late: 3}),
	} {
		raw = appendEntry(raw, payload)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)-3])
	f.Add([]byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		k := knowledge{seen: map[print]uint32{}}
		whole, err := k.replay(bytes.NewReader(raw), "n", nil)
		if whole > int64(len(raw)) || err == nil && whole != int64(len(raw)) {
			t.Errorf("%d of %d bytes are whole, %v", whole, len(raw), err)
		}
	})
}
