package eval_test

import (
	"fmt"
	"image/color"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mocostream/train"
	"mocostream/train/eval"
	"mocostream/train/knn"
)

var neighbours = knn.Options{K: 3}

// KNN on images that anything can tell apart is right about every one, backbone, head and raw pixels alike.
func TestKNN(t *testing.T) {
	reference := source(t, painted(t, 6, 1, "blue", "green", "red"))
	query := source(t, painted(t, 4, 2, "blue", "green", "red"))
	for _, bn := range []eval.BatchNorm{eval.Estimated, eval.AsTrained} {
		e := untrained(t)
		r, err := eval.KNN(t.Context(), e, reference, query, options, bn, neighbours)
		must(t, err)
		for name, got := range map[string]knn.Result{"backbone": r.Backbone, "head": r.Head} {
			if got.Top1 != 1 || got.Top5 != 1 || got.Queries != 12 || got.Classes != 3 || got.K != 3 {
				t.Errorf("%s, %s: %+v", bn, name, got)
			}
		}
		checkFeatures(t, r.Reference, 18)
		checkFeatures(t, r.Query, 12)
		if changed := ran(t, e); changed != (bn == eval.Estimated) {
			t.Errorf("%s: the statistics were estimated: %v", bn, changed)
		}
	}
	p, err := eval.PixelsKNN(t.Context(), reference, query, options, neighbours)
	must(t, err)
	if p.Top1 != 1 || p.Queries != 12 || p.Classes != 3 {
		t.Errorf("pixels: %+v", p)
	}
}

// ran says whether the embedder's running statistics have left their start.
func ran(t *testing.T, e *train.Embedder) bool {
	t.Helper()
	running, err := e.Running()
	must(t, err)
	fresh, err := untrained(t).Running()
	must(t, err)
	for i := range running {
		if string(running[i].Data) != string(fresh[i].Data) {
			return true
		}
	}
	return false
}

func checkFeatures(t *testing.T, f *eval.Features, n int) {
	t.Helper()
	if f.Backbone.Rows() != n || f.Backbone.Dim != 64 || f.Head.Rows() != n || f.Head.Dim != 16 || len(f.Keys) != n || len(f.SHA256) != n {
		t.Errorf("%d rows of %d, %d rows of %d, %d keys, %d sums; want %d rows of 64 and 16",
			f.Backbone.Rows(), f.Backbone.Dim, f.Head.Rows(), f.Head.Dim, len(f.Keys), len(f.SHA256), n)
	}
	if len(f.Bad) != 0 {
		t.Errorf("bad images: %+v", f.Bad)
	}
	if !slices.Equal(f.Head.Labels, f.Backbone.Labels) || !slices.IsSorted(f.Keys) {
		t.Errorf("labels %v and %v of %v", f.Backbone.Labels, f.Head.Labels, f.Keys)
	}
}

// The query's label numbers are its own: what counts is the name of the class.
func TestKNNMapsClassesByName(t *testing.T) {
	reference := source(t, painted(t, 6, 1, "blue", "green", "red", "white"))
	query := source(t, painted(t, 4, 2, "green", "white")) // labels 0 and 1 here, 1 and 3 there
	r, err := eval.KNN(t.Context(), untrained(t), reference, query, options, eval.Estimated, neighbours)
	must(t, err)
	p, err := eval.PixelsKNN(t.Context(), reference, query, options, neighbours)
	must(t, err)
	want := []int32{1, 1, 1, 1, 3, 3, 3, 3}
	if !slices.Equal(r.Query.Backbone.Labels, want) || !slices.Equal(r.Query.Head.Labels, want) {
		t.Errorf("labels %v and %v, want %v", r.Query.Backbone.Labels, r.Query.Head.Labels, want)
	}
	for name, got := range map[string]knn.Result{"backbone": r.Backbone, "head": r.Head, "pixels": p} {
		if !slices.Equal(got.Predictions, want) || got.Top1 != 1 {
			t.Errorf("%s: predictions %v, top1 %v; want %v", name, got.Predictions, got.Top1, want)
		}
	}
}

func TestKNNRefusesAClassThatTheReferenceLacks(t *testing.T) {
	reference := source(t, painted(t, 4, 1, "blue", "green"))
	query := source(t, painted(t, 4, 2, "green", "red"))
	const want = `query class "red" is not in the reference, which has [blue green]`
	if _, err := eval.KNN(t.Context(), untrained(t), reference, query, options, eval.AsTrained, neighbours); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := eval.PixelsKNN(t.Context(), reference, query, options, neighbours); err == nil || err.Error() != want {
		t.Errorf("pixels: got %v, want %s", err, want)
	}
}

func TestKNNNeedsClasses(t *testing.T) {
	flat := t.TempDir()
	for i, c := range []color.NRGBA{colours["red"], colours["blue"]} {
		paint(t, filepath.Join(flat, fmt.Sprintf("%d.png", i)), c, rand.New(rand.NewPCG(1, 1)))
	}
	query := source(t, painted(t, 2, 2, "red"))
	_, err := eval.KNN(t.Context(), untrained(t), source(t, flat), query, options, eval.AsTrained, neighbours)
	if err == nil || !strings.Contains(err.Error(), "put the images of each class into a sub-folder of its own") {
		t.Errorf("got %v", err)
	}
}

// A query that is in the reference would find itself.
func TestKNNRefusesDuplicates(t *testing.T) {
	referenceRoot, queryRoot := painted(t, 4, 1, "blue", "red"), painted(t, 4, 2, "blue", "red")
	copyFile(t, filepath.Join(referenceRoot, "red", "002.png"), filepath.Join(queryRoot, "blue", "copy.png"))
	reference, query := source(t, referenceRoot), source(t, queryRoot)
	_, err := eval.KNN(t.Context(), untrained(t), reference, query, options, eval.AsTrained, neighbours)
	const want = "1 query images are in the reference too, byte for byte (query blue/copy.png is reference red/002.png); " +
		"take them out of one of the two"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, err := eval.KNN(t.Context(), untrained(t), reference, reference, options, eval.AsTrained, neighbours); err == nil ||
		!strings.HasPrefix(err.Error(), "8 query images are in the reference too") {
		t.Errorf("a set against itself: %v", err)
	}
}

// On drawn glyphs raw pixels know little, whatever the classes' names say.
func TestPixelsOfGlyphs(t *testing.T) {
	reference, query := source(t, glyphs(t, 4, 80, 1)), source(t, glyphs(t, 4, 40, 2))
	p, err := eval.PixelsKNN(t.Context(), reference, query, options, knn.Options{K: 5})
	must(t, err)
	if p.Queries != 40 || p.Classes != 4 || p.Top1 > .6 {
		t.Errorf("%+v, want 40 queries and little above 0.25", p)
	}
}

func TestNothingButBadImages(t *testing.T) {
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "blue"), 0o755))
	for i := range 3 {
		must(t, os.WriteFile(filepath.Join(root, "blue", fmt.Sprintf("%d.jpg", i)), []byte("no image"), 0o600))
	}
	bad, good := source(t, root), source(t, painted(t, 3, 1, "blue"))
	const want = "none of the source's images can be decoded (3 tried)"
	for side, err := range map[string]error{
		"reference images: ": knnError(t, bad, good), "query images: ": knnError(t, good, bad),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), side) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s...%s", err, side, want)
		}
	}
	if _, err := eval.PixelsKNN(t.Context(), bad, good, options, neighbours); err == nil {
		t.Error("pixels of no image were classified")
	}
}

func knnError(t *testing.T, reference, query eval.Source) error {
	t.Helper()
	_, err := eval.KNN(t.Context(), untrained(t), reference, query, options, eval.Estimated, neighbours)
	return err
}
