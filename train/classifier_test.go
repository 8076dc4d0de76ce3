package train

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// classifierFixture is a training of linear classifiers by PyTorch (testdata/make_classifier_fixture.py).
type classifierFixture struct {
	Dim, Classes, Batch int
	Momentum            float64
	Features            []float32
	Labels              []int32
	Epochs              [][]int // the order of the rows
	Weight, Bias        []float32
	Classifiers         []struct {
		WeightDecay float64 `json:"weight_decay"`
		Steps       []struct {
			Rate, Loss, Top1 float64
			Weight, Bias     []float32
		}
		Logits []float32 // of all rows, in the end
	}
}

func classifierCases(t *testing.T) (f classifierFixture) {
	t.Helper()
	text, err := os.ReadFile("testdata/classifier.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Classifiers) < 2 || len(f.Classifiers[0].Steps) < 6 {
		t.Fatalf("the fixture has %d classifiers", len(f.Classifiers))
	}
	return f
}

// classifier makes those of f that are asked for, side by side.
func (f classifierFixture) classifier(t *testing.T, backend *Backend, which ...int) *Classifier {
	t.Helper()
	o := ClassifierOptions{Dim: f.Dim, Classes: f.Classes, Batch: f.Batch, Momentum: f.Momentum}
	for _, i := range which {
		o.WeightDecay = append(o.WeightDecay, f.Classifiers[i].WeightDecay)
	}
	c, err := newClassifier(backend, o, f.Weight, f.Bias)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// batches are the rows and labels of all steps.
func (f classifierFixture) batches(step func(rows []float32, labels []int32)) {
	for _, order := range f.Epochs {
		for part := range slices.Chunk(order, f.Batch) {
			var rows []float32
			var labels []int32
			for _, i := range part {
				rows = append(rows, f.Features[i*f.Dim:(i+1)*f.Dim]...)
				labels = append(labels, f.Labels[i])
			}
			step(rows, labels)
		}
	}
}

// closeTo compares by the largest number, as the golden cases are.
func closeTo(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	worst, largest := 0.0, 0.0
	for i := range want {
		worst = max(worst, math.Abs(float64(got[i])-float64(want[i])))
		largest = max(largest, math.Abs(float64(want[i])))
	}
	if !(worst <= tolerance*largest) {
		t.Errorf("%s is off by %.2g of %.2g", what, worst, largest)
	}
}

// Alone and side by side, classifiers are PyTorch's after every step, short batches included.
func TestClassifierIsTorchs(t *testing.T) { checkClassifier(t, goBackend(t)) }

func TestXLAClassifierIsTorchs(t *testing.T) { checkClassifier(t, xlaBackend(t, 1)) }

func checkClassifier(t *testing.T, backend *Backend) {
	t.Helper()
	f := classifierCases(t)
	for _, which := range [][]int{{0}, {0, 1, 2}} {
		c := f.classifier(t, backend, which...)
		n := 0
		f.batches(func(rows []float32, labels []int32) {
			var rates []float64
			for _, i := range which {
				rates = append(rates, f.Classifiers[i].Steps[n].Rate)
			}
			fit, err := c.Step(rows, labels, rates)
			if err != nil {
				t.Fatal(err)
			}
			for place, i := range which {
				want := f.Classifiers[i].Steps[n]
				weight, bias, err := c.Weights(place)
				if err != nil {
					t.Fatal(err)
				}
				closeTo(t, "weight", weight, want.Weight, 1e-5)
				closeTo(t, "bias", bias, want.Bias, 1e-5)
				if math.Abs(fit.Loss[place]-want.Loss) > 1e-5*want.Loss || math.Abs(fit.Top1[place]-want.Top1) > 1e-6 {
					t.Errorf("step %d of classifier %d: loss %v and top-1 %v, want %v and %v", n, i, fit.Loss[place], fit.Top1[place], want.Loss, want.Top1)
				}
			}
			n++
		})
		logits, err := c.Logits(f.Features)
		if err != nil {
			t.Fatal(err)
		}
		for place, i := range which {
			var own []float32
			for row := range f.Labels {
				own = append(own, logits[(row*len(which)+place)*f.Classes:][:f.Classes]...)
			}
			closeTo(t, "logits", own, f.Classifiers[i].Logits, 1e-5)
		}
	}
}

func TestClassifierBeginsSmall(t *testing.T) {
	o := ClassifierOptions{Dim: 200, Classes: 50, Batch: 4, WeightDecay: []float64{0}, Seed: 1}
	first := initialWeights(t, o)
	sum := 0.0
	for _, v := range first {
		sum += float64(v) * float64(v)
	}
	if deviation := math.Sqrt(sum / float64(len(first))); math.Abs(deviation-.01) > 3e-4 {
		t.Errorf("initial weights deviate by %v, want .01", deviation)
	}
	if !slices.Equal(first, initialWeights(t, o)) {
		t.Error("the same seed gives other weights")
	}
	o.Seed = 2
	if slices.Equal(first, initialWeights(t, o)) {
		t.Error("another seed gives the same weights")
	}
}

func initialWeights(t *testing.T, o ClassifierOptions) []float32 {
	t.Helper()
	c, err := NewClassifier(goBackend(t), o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	weight, bias, err := c.Weights(0)
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(bias, func(v float32) bool { return v != 0 }) {
		t.Errorf("initial bias %v", bias)
	}
	return weight
}

func TestClassifierRefuses(t *testing.T) {
	f := classifierCases(t)
	c := f.classifier(t, goBackend(t), 0)
	row := f.Features[:f.Dim]
	step := func(rows []float32, labels []int32, rates ...float64) func() error {
		return func() error { _, err := c.Step(rows, labels, rates); return err }
	}
	for want, do := range map[string]func() error{
		"2 learning rates for 1 classifiers":  step(row, []int32{0}, 1, 1),
		"label 5 of row 0 is not in 0 to 4":   step(row, []int32{5}, 1),
		"label -1 of row 0":                   step(row, []int32{-1}, 1),
		"no batch of 1 to 8 rows of 12":       step(row[1:], []int32{0}, 1),
		"0 numbers and 0 labels are no batch": step(nil, nil, 1),
		"9 labels":                            step(f.Features[:9*f.Dim], f.Labels[:9], 1),
		"no whole number of rows of 12":       func() error { _, err := c.Logits(row[1:]); return err },
		"1 classes; it takes two": func() error {
			_, err := NewClassifier(c.backend, ClassifierOptions{Dim: 3, Classes: 1, Batch: 2, WeightDecay: []float64{0}})
			return err
		},
		"0 weight decays": func() error {
			_, err := NewClassifier(c.backend, ClassifierOptions{Dim: 3, Classes: 2, Batch: 2})
			return err
		},
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
