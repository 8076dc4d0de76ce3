package eval_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mocostream/augment"
	"mocostream/ingest"
	"mocostream/ingest/dir"
	"mocostream/internal/synth"
	"mocostream/train"
	"mocostream/train/eval"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// source opens a folder of classes.
func source(t testing.TB, root string) eval.Source {
	t.Helper()
	src, err := dir.New(dir.Options{Root: root, ManifestDir: t.TempDir(), Labels: true})
	must(t, err)
	t.Cleanup(func() { must(t, src.Close()) })
	classes, err := src.Classes(t.Context())
	must(t, err)
	return eval.Source{Bounded: src, Classes: classes}
}

// glyphs draws a set.
func glyphs(t testing.TB, classes, images int, seed uint64) string {
	t.Helper()
	root := t.TempDir()
	must(t, synth.WriteDir(t.Context(), root, synth.Options{Classes: classes, Images: images, Size: 16, Seed: seed}, 1))
	return root
}

// colours are classes that anything can tell apart.
var colours = map[string]color.NRGBA{
	"blue": {20, 30, 220, 255}, "green": {10, 200, 40, 255}, "red": {230, 20, 10, 255}, "white": {240, 240, 240, 255},
}

// painted writes n noisy images of each of the named colours.
func painted(t testing.TB, n int, seed uint64, names ...string) string {
	t.Helper()
	root := t.TempDir()
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, name := range names {
		must(t, os.Mkdir(filepath.Join(root, name), 0o755))
		for i := range n {
			paint(t, filepath.Join(root, name, fmt.Sprintf("%03d.png", i)), colours[name], rng)
		}
	}
	return root
}

func paint(t testing.TB, path string, c color.NRGBA, rng *rand.Rand) {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, 16, 16))
	for i := range img.Pix {
		channel := []uint8{c.R, c.G, c.B, c.A}[i%4]
		if i%4 < 3 {
			channel ^= uint8(rng.Uint32() % 16)
		}
		img.Pix[i] = channel
	}
	f, err := os.Create(path)
	must(t, err)
	must(t, png.Encode(f, img))
	must(t, f.Close())
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, data, 0o600))
}

var options = eval.Options{Size: 12, Batch: 5, Workers: 2}

var embedderOptions = train.EmbedderOptions{
	Encoder: train.EncoderOptions{Arch: "resnet10", Width: 8, Stem: "cifar", Head: "linear", Dim: 16, Activation: "relu"},
	Size:    options.Size, Batch: 4, Mean: [3]float32{.5, .5, .5}, Std: [3]float32{.25, .25, .25},
}

// untrained is a small encoder of random weights.
func untrained(t testing.TB) *train.Embedder {
	t.Helper()
	return embedder(t, goBackend(t))
}

func embedder(t testing.TB, backend *train.Backend) *train.Embedder {
	t.Helper()
	e, err := train.NewEmbedder(backend, embedderOptions, 3)
	must(t, err)
	t.Cleanup(e.Close)
	return e
}

func goBackend(t testing.TB) *train.Backend {
	t.Helper()
	backend, err := train.OpenBackend("go")
	must(t, err)
	t.Cleanup(backend.Finalize)
	return backend
}

func TestPixelsAreTheImages(t *testing.T) {
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "a"), 0o755))
	img := image.NewGray(image.Rect(0, 0, 64, 64))
	for i := range img.Pix {
		img.Pix[i] = 51
	}
	f, err := os.Create(filepath.Join(root, "a", "grey.png"))
	must(t, err)
	must(t, png.Encode(f, img))
	must(t, f.Close())
	for size, want := range map[int]int{12: 12, 32: 32, 50: 32} {
		o := options
		o.Size = size
		pixels, err := eval.Pixels(t.Context(), source(t, root), o)
		must(t, err)
		if pixels.Dim != want*want*3 || pixels.Rows() != 1 || !slices.Equal(pixels.Labels, []int32{0}) {
			t.Fatalf("size %d: %d rows of %d, labels %v", size, pixels.Rows(), pixels.Dim, pixels.Labels)
		}
		for _, v := range pixels.X {
			if v != 51./255-.5 {
				t.Fatalf("size %d: a pixel is %v, want %v", size, v, 51./255-.5)
			}
		}
	}
}

// Max takes a shuffled part: every class, each image once, and always the same.
func TestMaxTakesAMixedPart(t *testing.T) {
	root := glyphs(t, 4, 80, 3)
	e := untrained(t)
	o := options
	o.Max = 32
	var first []string
	for _, workers := range []int{1, 3} {
		o.Workers = workers
		f, err := eval.Embed(t.Context(), source(t, root), e, o)
		must(t, err)
		if len(f.Keys) != 32 || f.Backbone.Rows() != 32 || len(f.Backbone.Labels) != 32 || len(f.SHA256) != 32 {
			t.Fatalf("%d keys, %d rows, %d labels; want 32", len(f.Keys), f.Backbone.Rows(), len(f.Backbone.Labels))
		}
		counts := make([]int, 4)
		for i, label := range f.Backbone.Labels {
			counts[label]++
			if want := synth.ClassNames(4)[label] + "/"; !strings.HasPrefix(f.Keys[i], want) {
				t.Errorf("%s has label %d", f.Keys[i], label)
			}
		}
		if slices.Min(counts) < 3 || slices.Max(counts) > 16 { // 8 each on average
			t.Errorf("images by class: %v", counts)
		}
		if first == nil {
			first = f.Keys
		} else if !slices.Equal(f.Keys, first) {
			t.Errorf("%d workers chose other images: %v, then %v", workers, first, f.Keys)
		}
	}
	if slices.IsSorted(first) {
		t.Error("the part is in the folder's order")
	}
	slices.Sort(first)
	if len(slices.Compact(first)) != 32 {
		t.Error("an image was taken twice")
	}
	o.Max = 1000 // more than there are
	f, err := eval.Embed(t.Context(), source(t, root), e, o)
	must(t, err)
	if len(f.Keys) != 80 {
		t.Errorf("%d images, want all 80", len(f.Keys))
	}
}

// An image's features are the same whether its pass is shuffled, short or whole.
func TestFeaturesBelongToTheirImages(t *testing.T) {
	root := painted(t, 5, 1, "blue", "red")
	e := untrained(t)
	whole, err := eval.Embed(t.Context(), source(t, root), e, options)
	must(t, err)
	o := options
	o.Max, o.Batch = 7, 3
	part, err := eval.Embed(t.Context(), source(t, root), e, o)
	must(t, err)
	for i, key := range part.Keys {
		j := slices.Index(whole.Keys, key)
		if j < 0 || part.SHA256[i] != whole.SHA256[j] || part.Backbone.Labels[i] != whole.Backbone.Labels[j] {
			t.Fatalf("%s: image %d of the part, %d of the whole", key, i, j)
		}
		for d := range 64 {
			a, b := part.Backbone.X[i*64+d], whole.Backbone.X[j*64+d]
			if diff := a - b; diff > 1e-4 || diff < -1e-4 {
				t.Errorf("%s: feature %d is %v in the part, %v in the whole", key, d, a, b)
			}
		}
	}
}

func TestBadImagesAreLeftOut(t *testing.T) {
	root := painted(t, 6, 1, "blue", "red")
	whole, err := os.ReadFile(filepath.Join(root, "red", "004.png"))
	must(t, err)
	for name, data := range map[string][]byte{"red/001.png": []byte("no image"), "blue/003.png": whole[:len(whole)/2], "red/zz.jpg": nil} {
		must(t, os.WriteFile(filepath.Join(root, name), data, 0o600))
	}
	bad := []string{"blue/003.png", "red/001.png", "red/zz.jpg"}
	f, err := eval.Embed(t.Context(), source(t, root), untrained(t), options)
	must(t, err)
	var got []string
	for _, d := range f.Bad {
		got = append(got, d.Key)
		if d.Reason == "" || d.Detail == "" || d.Image != nil {
			t.Errorf("dead letter %+v", d)
		}
	}
	if !slices.Equal(got, bad) {
		t.Errorf("left out %v, want %v", got, bad)
	}
	if len(f.Keys) != 10 || f.Backbone.Rows() != 10 || len(f.Head.Labels) != 10 {
		t.Errorf("%d keys, %d rows, %d labels; want 10", len(f.Keys), f.Backbone.Rows(), len(f.Head.Labels))
	}
	for i, key := range f.Keys {
		if slices.Contains(bad, key) || f.Backbone.Labels[i] != map[bool]int32{true: 1}[strings.HasPrefix(key, "red/")] {
			t.Errorf("%s is in, with label %d", key, f.Backbone.Labels[i])
		}
	}
	query := source(t, painted(t, 2, 2, "blue", "red"))
	if _, err := eval.KNN(t.Context(), untrained(t), source(t, root), query, options, eval.Estimated, neighbours); err != nil {
		t.Errorf("a reference with bad images: %v", err)
	}
}

// Of a part, exactly those bad images are reported that come before its end, however far the workers have looked.
func TestBadImagesOfAPart(t *testing.T) {
	root := painted(t, 12, 1, "blue", "red")
	for i := range 12 {
		must(t, os.WriteFile(filepath.Join(root, "red", fmt.Sprintf("bad%d.jpg", i)), []byte("no image"), 0o600))
	}
	order := map[string]int{} // the place of good and bad images in a whole shuffled pass
	o := options
	o.Max = 24
	f, err := eval.Embed(t.Context(), source(t, root), untrained(t), o)
	must(t, err)
	for i, key := range f.Keys {
		order[key] = i
	}
	e := untrained(t)
	for most := 1; most < 24; most += 4 {
		o.Max = most
		var want []string
		for round := range 4 {
			o.Workers = round + 1
			f, err := eval.Embed(t.Context(), source(t, root), e, o)
			must(t, err)
			var got []string
			for _, d := range f.Bad {
				got = append(got, d.Key)
				if place := int(d.Position) - len(got) + 1; place >= most {
					t.Errorf("%d images: %s stands behind %d good ones", most, d.Key, place)
				}
			}
			if round == 0 {
				want = got
			}
			if len(f.Keys) != most || order[f.Keys[most-1]] != most-1 || !slices.Equal(got, want) {
				t.Errorf("%d images: %d, and %v left out, %v before", most, len(f.Keys), got, want)
			}
		}
	}
}

// broken is a source that fails at one of its files.
type broken struct {
	ingest.Bounded
	at  int32
	err error
}

func (b broken) Read(ctx context.Context, partition int32, from int64) (ingest.Reader, error) {
	if partition == b.at {
		return nil, b.err
	}
	return b.Bounded.Read(ctx, partition, from)
}

// Errors and cancellation end every kind of pass, and leave no goroutine behind (TestMain).
func TestPassesEnd(t *testing.T) {
	root := painted(t, 10, 1, "blue", "red")
	e := untrained(t)
	lost := errors.New("disk on fire")
	src := source(t, root)
	src.Bounded = broken{Bounded: src.Bounded, at: 7, err: lost}
	full := errors.New("disk full")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		want error
		pass func() error
	}{
		"embed":    {lost, func() error { _, err := eval.Embed(t.Context(), src, e, options); return err }},
		"estimate": {lost, func() error { return eval.Estimate(t.Context(), src, e, options) }},
		"pixels":   {lost, func() error { _, err := eval.Pixels(t.Context(), src, options); return err }},
		"emit": {full, func() error {
			_, err := eval.Pass(t.Context(), source(t, root), options, true, func(augment.EvalBatch) error { return full })
			return err
		}},
		"cancelled embed":    {context.Canceled, func() error { _, err := eval.Embed(cancelled, source(t, root), e, options); return err }},
		"cancelled estimate": {context.Canceled, func() error { return eval.Estimate(cancelled, source(t, root), e, options) }},
	} {
		if err := c.pass(); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// A shuffled pass mixes the classes, so that the statistics of a batch are those of the set.
func TestShuffledPassMixesClasses(t *testing.T) {
	src := source(t, painted(t, 20, 1, "blue", "red"))
	for _, shuffled := range []bool{false, true} {
		var runs []int32
		_, err := eval.Pass(t.Context(), src, options, shuffled, func(b augment.EvalBatch) error {
			runs = append(runs, b.Labels...)
			return nil
		})
		must(t, err)
		n := len(runs)
		if blocks := len(slices.Compact(runs)); n != 40 || shuffled != (blocks > 4) {
			t.Errorf("shuffled %v: %d images, the class changes %d times", shuffled, n, blocks-1)
		}
	}
}
