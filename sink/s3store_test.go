package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"mocostream/internal/failpoint"
	"mocostream/internal/objects"
)

func openS3(t *testing.T, b bucketOfTest, edit func(*S3Options)) *S3Store {
	t.Helper()
	h := &s3Shelf{bucket: b, cache: t.TempDir()}
	o := h.options(Options{})
	if edit != nil {
		edit(&o)
	}
	s, err := OpenS3Store(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// chain returns the numbers that the newest generation goes back to by its parents, as far as they are still there, having
// compared their sums, and the steps that the newest one names, both newest first.
func chain(t *testing.T, b objectClient) (numbers, steps []int64) {
	t.Helper()
	p, _ := newPlace(b, "b", "runs/a")
	newest, err := p.newestTip(t.Context(), func(text string) { t.Error(text) })
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range newest.checkpoints() {
		steps = append(steps, k.Step)
	}
	for n, want := newest.number, newest.sum; ; {
		g, sum, err := p.readGeneration(t.Context(), n)
		if errors.Is(err, fs.ErrNotExist) {
			return numbers, steps
		}
		if err != nil || sum != want {
			t.Fatalf("generation %d: %v, sum %s, its child says %s", n, err, sum, want)
		}
		numbers = append(numbers, n)
		if g.Parent == nil {
			return numbers, steps
		}
		n, _ = parseGenerationName(g.Parent.Name)
		want = g.Parent.Sum
	}
}

// A newcomer fences the one before, whatever step either is at, and the other's objects stay as they are.
func TestNewcomerFences(t *testing.T) {
	b := newBucket()
	first := openS3(t, b, nil)
	put(t, first, checkpoint(100, 1))
	second := openS3(t, b, func(o *S3Options) { o.Owner = "the second" })
	put(t, second, checkpoint(7, 2)) // goes on from an earlier step
	before := b.keys("")
	_, err := first.Save(t.Context(), checkpoint(101, 3))
	if !errors.Is(err, ErrFenced) || !strings.Contains(err.Error(), "the second") {
		t.Errorf("save: error %v, want ErrFenced that names the second", err)
	}
	if err := first.Check(t.Context()); !errors.Is(err, ErrFenced) {
		t.Errorf("check: error %v, want ErrFenced", err)
	}
	if err := first.beat(t.Context(), false); !errors.Is(err, ErrFenced) {
		t.Errorf("sign of life: error %v, want ErrFenced", err)
	}
	equal(t, "objects", b.keys(""), before)
	put(t, second, checkpoint(8, 4))
	if err := first.Close(t.Context()); err != nil {
		t.Error(err)
	}
	newestIs(t, second, 8, 4)
}

// A writer that stood still between its upload and its manifest may find the number that it writes deleted long since.
// It is fenced all the same, and what it wrote counts for nothing and goes.
func TestReturningWriterIsFencedAtADeletedNumber(t *testing.T) {
	b := newBucket()
	var second *S3Store
	first := openS3(t, b, func(o *S3Options) {
		o.Point = func(name string) {
			if name != failpoint.CheckpointManifestBefore {
				return
			}
			second = openS3(t, b, func(o *S3Options) { o.Keep = 1 })
			put(t, second, checkpoint(2, 2), checkpoint(3, 3), checkpoint(4, 4))
		}
	})
	if _, err := first.Save(t.Context(), checkpoint(900, 9)); !errors.Is(err, ErrFenced) {
		t.Fatalf("error %v, want ErrFenced", err)
	}
	if !slices.Contains(b.keys(""), "runs/a/generations/000000000002.json") {
		t.Fatal("the first did not write the deleted number: the test shows nothing")
	}
	newestIs(t, second, 4, 4)
	put(t, second, checkpoint(5, 5))
	equal(t, "generations", b.keys("runs/a/generations/"),
		[]string{"runs/a/generations/000000000005.json", "runs/a/generations/000000000006.json"})
	if left := b.keys("runs/a/step-000000900"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	third := openS3(t, b, nil)
	newestIs(t, third, 5, 5)
}

// Of two writers that open and save at the same time one survives, and every save that was said to be durable is in the
// chain of the survivor.
func TestTwoWritersRace(t *testing.T) {
	for round := range 50 {
		raceTwo(t, newBucket(), round)
	}
}

func raceTwo(t *testing.T, b bucketOfTest, round int) {
	t.Helper()
	var writers [2]*S3Store
	var errs [2]error
	var saved [2][]int64
	var both sync.WaitGroup
	for i := range writers {
		both.Go(func() {
			writers[i], saved[i], errs[i] = raceOnce(t, b, int64(1+i*10))
		})
	}
	both.Wait()
	alive := 0
	for i, w := range writers {
		if errs[i] == nil {
			errs[i] = w.Check(t.Context())
		}
		if errs[i] == nil {
			alive++
		} else if !errors.Is(errs[i], ErrFenced) {
			t.Fatalf("round %d: %v", round, errs[i])
		}
	}
	if alive != 1 {
		t.Fatalf("round %d: %d survive: %v", round, alive, errs)
	}
	_, steps := chain(t, b)
	for _, step := range append(saved[0], saved[1]...) {
		if !slices.Contains(steps, step) {
			t.Fatalf("round %d: step %d was saved and is not among %v", round, step, steps)
		}
	}
}

func raceOnce(t *testing.T, b bucketOfTest, step int64) (s *S3Store, saved []int64, err error) {
	h := &s3Shelf{bucket: b, cache: t.TempDir()}
	if s, err = OpenS3Store(t.Context(), h.options(Options{})); err != nil {
		return nil, nil, err
	}
	for range 3 {
		if _, err = s.Save(t.Context(), checkpoint(step, 0)); err != nil {
			return s, saved, err
		}
		saved = append(saved, step)
		step++
	}
	return s, saved, nil
}

// A process that dies at any request, carried out or not, leaves the older checkpoint or the new one, and the next
// process clears away what it left.
func TestS3SaveBrokenOffAnywhere(t *testing.T) {
	for _, carried := range []bool{false, true} {
		for _, dies := range []bool{false, true} {
			t.Run(fmt.Sprintf("carried out %v, process dies %v", carried, dies), func(t *testing.T) {
				t.Parallel()
				n := 0
				for ; breakOffS3(t, n, carried, dies); n++ {
				}
				if n < 12 {
					t.Errorf("only %d requests were broken off", n)
				}
			})
		}
	}
}

func breakOffS3(t *testing.T, n int, carried, dies bool) bool {
	b := newBucket()
	s := openS3(t, b, func(o *S3Options) { o.Keep = 1 })
	put(t, s, checkpoint(1, 1))
	left, broken := n, false
	b.fault = func(string, string) (error, bool) {
		left--
		broken = broken || left < 0
		if left < 0 && dies || left == -1 {
			return errOutage, carried && left == -1
		}
		return nil, false
	}
	_, err := s.Save(t.Context(), checkpoint(2, 2))
	b.fault = nil
	if err != nil && !errors.Is(err, errOutage) {
		t.Fatalf("request %d: %v", n, err)
	}
	if !dies { // it goes on, not knowing whether its save arrived
		put(t, s, checkpoint(3, 3))
		newestIs(t, s, 3, 3)
		s.Close(t.Context())
	}
	next := openS3(t, b, func(o *S3Options) { o.Keep = 1 })
	c, name, newestErr := next.Newest(t.Context())
	if newestErr != nil {
		t.Fatalf("request %d: %v", n, newestErr)
	}
	if got := mark(t, c); dies && got != 2 && (got != 1 || err == nil) || !dies && got != 3 {
		t.Fatalf("request %d: save returned %v, newest is %s", n, err, name)
	}
	put(t, next, checkpoint(4, 4))
	chainEnd, _ := chainEndOf(t, b)
	want := []string{generationName(chainEnd - 1), generationName(chainEnd), leaderFile}
	for _, key := range b.keys("") {
		key = strings.TrimPrefix(key, "runs/a/")
		if !slices.Contains(want, key) && !strings.HasPrefix(key, stepName(4)) {
			t.Fatalf("request %d: %s was left behind", n, key)
		}
	}
	return broken
}

func chainEndOf(t *testing.T, b *heapBucket) (int64, error) {
	p, err := newPlace(b, "b", "runs/a")
	if err != nil {
		t.Fatal(err)
	}
	newest, err := p.newestTip(t.Context(), func(string) {})
	return newest.number, err
}

// A conditional write that is tried again after its answer was lost finds its own bytes: that is success.
func TestOwnBytesAreNoCollision(t *testing.T) {
	b := newBucket()
	s := openS3(t, b, nil)
	b.fault = func(verb, key string) (error, bool) {
		if verb == "put" && !strings.Contains(key, "/step-") {
			return objects.ErrExists, true
		}
		return nil, false
	}
	put(t, s, checkpoint(1, 1))
	if err := s.beat(t.Context(), false); err != nil {
		t.Error(err)
	}
	b.fault = nil
	put(t, s, checkpoint(2, 2))
	if err := s.beat(t.Context(), false); err != nil {
		t.Error(err)
	}
	numbers, _ := chain(t, b)
	equal(t, "generations", numbers, []int64{3, 2, 1})
}

func TestServerWithoutConditionsIsRefused(t *testing.T) {
	b := newBucket()
	b.noCondition = true
	h := &s3Shelf{bucket: b, cache: t.TempDir()}
	if _, err := OpenS3Store(t.Context(), h.options(Options{})); err == nil || !strings.Contains(err.Error(), "If-None-Match") {
		t.Errorf("error %v, want a refusal that names If-None-Match", err)
	}
	left, err := os.ReadDir(h.cache)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the cache folder: %v, %v", left, err)
	}
}

func TestBadOptions(t *testing.T) {
	good := (&s3Shelf{bucket: newBucket(), cache: t.TempDir()}).options(Options{})
	for want, edit := range map[string]func(*S3Options){
		"a client and a bucket": func(o *S3Options) { o.Bucket = "" },
		"a cache folder":        func(o *S3Options) { o.CacheDir = "" },
		"must not be negative":  func(o *S3Options) { o.Lease = -1 },
	} {
		o := good
		edit(&o)
		if _, err := OpenS3Store(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// The newest generation may be damaged: the one before is taken, with a warning, and its number is not used again.
func TestDamagedGeneration(t *testing.T) {
	b := newBucket()
	s := openS3(t, b, nil)
	put(t, s, checkpoint(1, 1), checkpoint(2, 2))
	b.change("runs/a/generations/000000000003.json", func(text []byte) []byte { text[len(text)/2] ^= 1; return text })
	var told warnings
	next := openS3(t, b, func(o *S3Options) { o.Warn = told.add })
	newestIs(t, next, 1, 1)
	if len(told) != 1 || !strings.Contains(told[0], "000000000003.json") {
		t.Errorf("told %q", told)
	}
	put(t, next, checkpoint(5, 5))
	if end, _ := chainEndOf(t, b); end != 5 {
		t.Errorf("the newest generation is %d, want 5", end)
	}
}

// With no whole generation at all nothing is claimed, or what the prefix holds would be taken for leftovers.
func TestOnlyDamagedGenerations(t *testing.T) {
	b := newBucket()
	put(t, openS3(t, b, nil), checkpoint(1, 1))
	for _, key := range b.keys("runs/a/generations/") {
		b.change(key, func([]byte) []byte { return []byte("{}") })
	}
	before := b.keys("")
	h := &s3Shelf{bucket: b, cache: t.TempDir()}
	_, err := OpenS3Store(t.Context(), h.options(Options{}))
	if !errors.Is(err, ErrTorn) || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "another prefix") {
		t.Errorf("error %v, want ErrTorn and a remedy", err)
	}
	equal(t, "objects", b.keys(""), before)
}

// An outage while checkpoints are looked for says nothing about them: no older one is taken.
func TestOutageIsNotDamage(t *testing.T) {
	b := newBucket()
	s := openS3(t, b, nil)
	put(t, s, checkpoint(1, 1), checkpoint(2, 2))
	b.fault = func(verb, key string) (error, bool) {
		if strings.HasSuffix(key, modelFile) {
			return errOutage, false
		}
		return nil, false
	}
	if _, _, err := s.Newest(t.Context()); !errors.Is(err, errOutage) || errors.Is(err, ErrTorn) {
		t.Errorf("error %v, want the outage", err)
	}
}

// What killed processes left in the cache folder goes; what living ones have there stays.
func TestCacheFolder(t *testing.T) {
	b, cache := newBucket(), t.TempDir()
	in := func(o *S3Options) { o.CacheDir = cache }
	dead := filepath.Join(cache, "writer-dead")
	if err := os.MkdirAll(filepath.Join(dead, "save-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	first := openS3(t, b, in)
	second := openS3(t, b, in)
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the dead process's folder: %v", err)
	}
	put(t, second, checkpoint(1, 1))
	for _, s := range []*S3Store{first, second} {
		if _, err := os.Stat(s.folder.dir); err != nil {
			t.Error(err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if left := folders(t, cache); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
