package eval_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"mocostream/augment"
	"mocostream/internal/safetensors"
	"mocostream/train"
	"mocostream/train/eval"
	"mocostream/train/knn"
)

// linear judges the untrained encoder of untrained on coloured images.
func linear(t testing.TB, train, test eval.Source) eval.Linear {
	t.Helper()
	b := goBackend(t)
	return eval.Linear{
		Backend: b, Encoder: embedder(t, b), Train: train, Test: test, Images: options, BatchNorm: eval.AsTrained, Seed: 1,
	}
}

// gentle is the paper's protocol for an encoder whose features are of another size, and in a hurry.
func gentle() eval.PaperOptions {
	o := eval.Paper()
	o.Epochs, o.Batch, o.Rate, o.Milestones = 4, 6, .3, []int{2, 3}
	return o
}

// quick is the fast protocol in a hurry.
func quick() eval.FastOptions {
	o := eval.Fast()
	o.Epochs, o.Steps, o.Batch = 5, 60, 8
	return o
}

var fourColours = []string{"blue", "green", "red", "white"}

func TestPaperIsMainLincls(t *testing.T) {
	o := eval.Paper()
	if o.Epochs != 100 || o.Batch != 256 || o.Rate != 30 || o.Momentum != .9 || o.WeightDecay != 0 || !slices.Equal(o.Milestones, []int{60, 80}) ||
		o.CropScale != [2]float64{.08, 1} || o.CropRatio != [2]float64{3. / 4, 4. / 3} || o.Flip != .5 {
		t.Errorf("%+v", o)
	}
}

// Both protocols tell colours apart, count every test image once, and give the same bits for the same seed whatever the
// number of workers, and others for another.
func TestLinearLearnsColours(t *testing.T) {
	known, asked := source(t, painted(t, 5, 1, fourColours...)), source(t, painted(t, 3, 2, "blue", "red", "white"))
	for name, judge := range map[string]func(eval.Linear) (*eval.LinearResult, error){
		"paper": func(l eval.Linear) (*eval.LinearResult, error) { return l.Paper(t.Context(), gentle()) },
		"fast":  func(l eval.Linear) (*eval.LinearResult, error) { return l.Fast(t.Context(), quick()) },
	} {
		l := linear(t, known, asked)
		var ends []string
		l.Progress = func(p eval.Progress) {
			if p.Done == p.Of {
				ends = append(ends, p.Phase)
			}
		}
		r, err := judge(l)
		must(t, err)
		if r.Top1 != (eval.Share{Right: 9, Of: 9}) || r.Top5 != r.Top1 || r.Images != 20 || !(r.TrainTop1 > .8) || r.Warning != "" {
			t.Errorf("%s: %+v", name, r)
		}
		if want := []eval.Share{{Right: 3, Of: 3}, {}, {Right: 3, Of: 3}, {Right: 3, Of: 3}}; !slices.Equal(r.PerClass, want) || !slices.Equal(r.Classes, fourColours) {
			t.Errorf("%s: %v of %v", name, r.PerClass, r.Classes)
		}
		if len(r.Weight) != 4*64 || len(r.Bias) != 4 {
			t.Errorf("%s: weight of %d, bias of %d", name, len(r.Weight), len(r.Bias))
		}
		if want := map[string]string{"paper": "test images, training", "fast": "test images, training images, sweep, training"}[name]; strings.Join(ends, ", ") != want {
			t.Errorf("%s: phases %v, want %s", name, ends, want)
		}
		checkOwnClassifier(t, name, l, r)
		l.Images.Workers = 1
		again, err := judge(l)
		must(t, err)
		if !slices.Equal(again.Weight, r.Weight) || again.TrainLoss != r.TrainLoss {
			t.Errorf("%s: the same seed gives another classifier", name)
		}
		l.Seed = 2
		again, err = judge(l)
		must(t, err)
		if slices.Equal(again.Weight, r.Weight) {
			t.Errorf("%s: another seed gives the same classifier", name)
		}
	}
}

// checkOwnClassifier asks the weights that a result holds about the training images, as the encoder gives them.
func checkOwnClassifier(t *testing.T, name string, l eval.Linear, r *eval.LinearResult) {
	t.Helper()
	f, err := eval.Embed(t.Context(), l.Train, l.Encoder, l.Images)
	must(t, err)
	right := 0
	for i, label := range f.Backbone.Labels {
		logits := append([]float32(nil), r.Bias...)
		for class := range logits {
			for d := range 64 {
				logits[class] += r.Weight[class*64+d] * f.Backbone.X[i*64+d]
			}
		}
		if logits[label] == slices.Max(logits) {
			right++
		}
	}
	if right < 19 {
		t.Errorf("%s: the classifier gets %d of its 20 training images right", name, right)
	}
}

// Made-up features: classes that a plane divides, in a space with a dimension a thousand times as large that says nothing,
// one that does not vary, and noise. Standardising copes.
func TestFitOnMadeUpFeatures(t *testing.T) {
	l := eval.Linear{Backend: goBackend(t), Train: eval.Source{Classes: []string{"a", "b", "c"}}, Seed: 3}
	r, err := l.Fit(t.Context(), madeUp(300, 1), madeUp(200, 2), quick())
	must(t, err)
	if r.Top1.Of != 200 || r.Top1.Value() < .97 || r.HeldOut.Of != 60 || r.HeldOut.Value() < .95 || r.Images != 300 {
		t.Errorf("%+v", r)
	}
	if !slices.Contains(quick().Rates, r.Rate) || !slices.Contains(quick().Decays, r.Decay) {
		t.Errorf("rate %v and decay %v are not of the sweep", r.Rate, r.Decay)
	}
	shuffled := madeUp(300, 1)
	rand.New(rand.NewPCG(1, 1)).Shuffle(300, func(i, j int) {
		shuffled.Labels[i], shuffled.Labels[j] = shuffled.Labels[j], shuffled.Labels[i]
	})
	r, err = l.Fit(t.Context(), shuffled, madeUp(200, 2), quick())
	must(t, err)
	if v := r.Top1.Value(); v > .6 {
		t.Errorf("labels by chance: %.2f of the test images right", v)
	}
}

func madeUp(n int, seed uint64) knn.Features {
	rng := rand.New(rand.NewPCG(seed, 9))
	f := knn.Features{Dim: 8}
	for range n {
		label := rng.Int32N(3)
		for d := range f.Dim {
			v := rng.NormFloat64() * .2
			switch {
			case d == int(label):
				v += 1
			case d == 6:
				v *= 1000
			case d == 7:
				v = 5
			}
			f.X = append(f.X, float32(v))
		}
		f.Labels = append(f.Labels, label)
	}
	return f
}

// Every epoch has each image once, in an order and in views of its own, the same for every number of workers.
func TestAugmentedEpochs(t *testing.T) {
	src := source(t, painted(t, 6, 1, "blue", "red"))
	recipe, err := augment.NewMoCo(augment.MoCoOptions{Size: options.Size, CropScale: [2]float64{.08, 1}, CropRatio: [2]float64{.75, 1.25}, FlipProbability: .5})
	must(t, err)
	epoch := func(seed uint64, epoch int64, workers int) (keys []string, views map[string]string) {
		o := options
		o.Workers = workers
		views = map[string]string{}
		bad, err := eval.Augmented(t.Context(), src, o, recipe, seed, epoch, func(b augment.EvalBatch) error {
			for i, key := range b.Keys {
				keys = append(keys, key)
				views[key] = string(b.Pixels[i*o.Size*o.Size*3:][:o.Size*o.Size*3])
			}
			return nil
		})
		must(t, err)
		if len(bad) > 0 || len(keys) != 12 || len(views) != 12 {
			t.Fatalf("epoch %d: %d images, %d of them different, %d bad", epoch, len(keys), len(views), len(bad))
		}
		return keys, views
	}
	keys, views := epoch(1, 0, 1)
	for name, other := range map[string]struct {
		seed  uint64
		epoch int64
	}{"epoch": {1, 1}, "late epoch": {1, 99}, "seed": {2, 0}} {
		otherKeys, otherViews := epoch(other.seed, other.epoch, 2)
		same := 0
		for key, view := range views {
			if otherViews[key] == view {
				same++
			}
		}
		if slices.Equal(keys, otherKeys) || same > 0 {
			t.Errorf("another %s: %d of 12 views are the same, the order: %v, then %v", name, same, keys, otherKeys)
		}
	}
	againKeys, again := epoch(1, 0, 3)
	if !slices.Equal(keys, againKeys) {
		t.Errorf("three workers give the order %v, one %v", againKeys, keys)
	}
	for key, view := range views {
		if again[key] != view {
			t.Errorf("three workers give another view of %s", key)
		}
	}
}

func TestLinearRefuses(t *testing.T) {
	bad := func(root, class string) string { // none of the class can be decoded
		files, err := filepath.Glob(filepath.Join(root, class, "*"))
		must(t, err)
		for _, f := range files {
			must(t, os.WriteFile(f, []byte("no image"), 0o600))
		}
		return root
	}
	colours := painted(t, 3, 1, "blue", "red")
	asked := painted(t, 2, 2, "blue", "red")
	copied := painted(t, 2, 3, "blue", "red")
	copyFile(t, filepath.Join(colours, "red", "001.png"), filepath.Join(copied, "red", "copy.png"))
	loose := painted(t, 2, 4, "blue", "red")
	copyFile(t, filepath.Join(asked, "red", "001.png"), filepath.Join(loose, "loose.png"))
	none := t.TempDir()
	copyFile(t, filepath.Join(asked, "red", "001.png"), filepath.Join(none, "one.png"))
	for name, c := range map[string]struct {
		train, test string
		want        string
	}{
		"no labels":           {none, asked, "no classes: put the images of each class into a sub-folder"},
		"one class":           {painted(t, 3, 1, "red"), painted(t, 2, 2, "red"), `the training images are of one class, "red"`},
		"unknown class":       {colours, painted(t, 2, 2, "blue", "green"), `test class "green" is not in the training set, which has [blue red]`},
		"same image":          {colours, copied, "1 test images are in the training set too, byte for byte (test red/copy.png is training set red/001.png)"},
		"no class":            {loose, asked, "training image loose.png has no class"},
		"test without class":  {colours, loose, "test image loose.png has no class"},
		"class of no image":   {bad(painted(t, 3, 1, "blue", "red"), "red"), asked, `none of the training images of class "red" can be decoded`},
		"training, all bad":   {bad(bad(painted(t, 2, 1, "blue", "red"), "red"), "blue"), asked, "training images: "},
		"test images all bad": {colours, bad(bad(painted(t, 2, 2, "blue", "red"), "red"), "blue"), "test images: "},
	} {
		l := linear(t, source(t, c.train), source(t, c.test))
		paper := gentle()
		paper.Epochs = 1
		_, errPaper := l.Paper(t.Context(), paper)
		_, errFast := l.Fast(t.Context(), quick())
		for protocol, err := range map[string]error{"paper": errPaper, "fast": errFast} {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: got %v, want %q", name, protocol, err, c.want)
			}
		}
	}
}

func TestPaperOptionsAreChecked(t *testing.T) {
	for want, change := range map[string]func(*eval.PaperOptions){
		"0 epochs":                    func(o *eval.PaperOptions) { o.Epochs = 0 },
		"batches of -1":               func(o *eval.PaperOptions) { o.Batch = -1 },
		"learning rate NaN":           func(o *eval.PaperOptions) { o.Rate = math.NaN() },
		"momentum 1 is not":           func(o *eval.PaperOptions) { o.Momentum = 1 },
		"weight decay -1":             func(o *eval.PaperOptions) { o.WeightDecay = -1 },
		"crop scale [0 1]":            func(o *eval.PaperOptions) { o.CropScale[0] = 0 },
		"probability of jitter 0, gr": func(o *eval.PaperOptions) { o.Flip = 2 },
	} {
		o := gentle()
		change(&o)
		if _, err := (eval.Linear{Images: options}).Paper(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// A rate that is too high is named: as an error once numbers overflow, as a warning where training only thrashes about.
func TestLinearDivergence(t *testing.T) {
	l := linear(t, source(t, painted(t, 4, 1, fourColours...)), source(t, painted(t, 2, 2, fourColours...)))
	o := gentle()
	o.Rate, o.Milestones = 1e38, nil
	if _, err := l.Paper(t.Context(), o); err == nil || !strings.Contains(err.Error(), "lower --lr") {
		t.Errorf("rate 1e38: %v", err)
	}
	o.Rate, o.Epochs = 1e5, 2
	r, err := l.Paper(t.Context(), o)
	must(t, err)
	if !strings.Contains(r.Warning, "did not settle") || !strings.Contains(r.Warning, "lower --lr") {
		t.Errorf("rate 1e5: training loss %v, warning %q", r.TrainLoss, r.Warning)
	}
	fast := quick()
	fast.Rates = []float64{1e-2, 1e38}
	if r, err := l.Fast(t.Context(), fast); err != nil || r.Rate != 1e-2 {
		t.Errorf("a sweep with a rate that diverges: %v, %v", r, err)
	}
	fast.Rates = []float64{1e38}
	if _, err := l.Fast(t.Context(), fast); err == nil || !strings.Contains(err.Error(), "every one diverged") {
		t.Errorf("a sweep of nothing else: %v", err)
	}
}

// An encoder whose features are not finite is named with the first image that it shows on.
func TestLinearOfADivergedEncoder(t *testing.T) {
	b := goBackend(t)
	l := linear(t, source(t, painted(t, 2, 1, "blue", "red")), source(t, painted(t, 2, 2, "blue", "red")))
	var weights []safetensors.Tensor
	for _, p := range embedderOptions.Encoder.Parameters() {
		x := p.Initial(1)
		if p.Name == "bn1.bias" {
			x[0] = float32(math.NaN())
		}
		weights = append(weights, safetensors.FromFloat32s("encoder_q."+p.Name, p.Shape, x))
	}
	e, err := train.NewEmbedderFrom(b, embedderOptions, &train.Checkpoint{Model: weights}, "q")
	must(t, err)
	defer e.Close()
	l.Encoder = e
	if _, err := l.Fast(t.Context(), quick()); err == nil || !strings.Contains(err.Error(), "features of test image blue/000.png are not finite; the encoder has diverged") {
		t.Errorf("got %v", err)
	}
}

// Interrupted in any phase, both protocols end with the context's error.
func TestLinearStops(t *testing.T) {
	known, asked := source(t, painted(t, 4, 1, "blue", "red")), source(t, painted(t, 2, 2, "blue", "red"))
	for _, phase := range []string{"BatchNorm statistics", "test images", "training images", "sweep", "training"} {
		l := linear(t, known, asked)
		l.BatchNorm = eval.Estimated
		ctx, cancel := context.WithCancel(t.Context())
		var once sync.Once
		l.Progress = func(p eval.Progress) {
			if p.Phase == phase {
				once.Do(cancel)
			}
		}
		_, err := l.Fast(ctx, quick())
		if phase == "training" && err == nil {
			_, err = l.Paper(ctx, gentle())
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("stopped in %q: %v", phase, err)
		}
		cancel()
	}
}
