package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"mocostream/internal/safetensors"
	"mocostream/train/eval"
)

// linearScores is what eval linear found.
type linearScores struct {
	fast      bool
	encoder   string
	paper     eval.PaperOptions
	trained   *eval.LinearResult
	untrained *eval.LinearResult // nil: not asked for, as pixels
	pixels    *eval.LinearResult
}

func (s *linearScores) protocol() string {
	if s.fast {
		return "fast"
	}
	return "paper"
}

func (s *linearScores) json() map[string]any {
	r := s.trained
	m := map[string]any{
		"protocol": s.protocol(), "encoder": s.encoder, "classes": len(r.Classes), "train_images": r.Images, "test_images": r.Top1.Of,
		"top1": r.Top1.Value(), "top1.interval95": interval(r.Top1), "top5": r.Top5.Value(), "top5.interval95": interval(r.Top5),
		"training.top1": r.TrainTop1, "training.loss": r.TrainLoss, "lr": r.Rate, "weight_decay": r.Decay,
		"bad_images": r.BadTrain + r.BadTest, "warning": r.Warning,
	}
	if s.fast {
		m["held_out.top1"], m["held_out.images"] = r.HeldOut.Value(), r.HeldOut.Of
	} else {
		m["epochs"], m["best.top1"], m["best.epoch"] = s.paper.Epochs, r.BestTop1.Value(), r.BestEpoch
	}
	byClass := make(map[string]any, len(r.Classes))
	for i, name := range r.Classes {
		if share := r.PerClass[i]; share.Of > 0 {
			byClass[name] = map[string]any{"images": share.Of, "top1": share.Value(), "top1.interval95": interval(share)}
		}
	}
	m["by_class"] = byClass
	for name, baseline := range map[string]*eval.LinearResult{"untrained": s.untrained, "pixels": s.pixels} {
		if baseline != nil {
			m["baseline."+name+".top1"], m["baseline."+name+".top1.interval95"] = baseline.Top1.Value(), interval(baseline.Top1)
		}
	}
	return m
}

func interval(s eval.Share) [2]float64 {
	low, high := s.Interval()
	return [2]float64{low, high}
}

// shownClasses bounds the classes that are printed, the hardest ones.
const shownClasses = 20

func (s *linearScores) print(w io.Writer) {
	r := s.trained
	fmt.Fprintf(w, "linear classifier on frozen features, %d training images, %d test images, %d classes (chance %.1f %%)\n",
		r.Images, r.Top1.Of, len(r.Classes), 100/float64(len(r.Classes)))
	fmt.Fprintln(w, s.how())
	s.row(w, "trained encoder", r)
	if s.untrained != nil {
		s.row(w, "untrained encoder", s.untrained)
	}
	if s.pixels != nil {
		s.row(w, "raw pixels", s.pixels)
	}
	fmt.Fprintln(w, "in brackets: 95 % intervals (Wilson), for the choice of test images alone")
	s.printClasses(w)
	if bad := r.BadTrain + r.BadTest; bad > 0 {
		fmt.Fprintf(w, "%d images could not be decoded and were left out\n", bad)
	}
}

// how says in a line what was done.
func (s *linearScores) how() string {
	r := s.trained
	if s.fast {
		return fmt.Sprintf("fast protocol: features computed once; rate %g and weight decay %g chosen on %d training images held out (%.1f %% right)",
			r.Rate, r.Decay, r.HeldOut.Of, 100*r.HeldOut.Value())
	}
	return fmt.Sprintf("paper's protocol: %d epochs, batch %d, rate %g; after the last epoch (epoch %d was best, %.1f %%, which counts as chosen on the test images)",
		s.paper.Epochs, s.paper.Batch, r.Rate, r.BestEpoch, 100*r.BestTop1.Value())
}

func (s *linearScores) row(w io.Writer, name string, r *eval.LinearResult) {
	fmt.Fprintf(w, "%-18s top-1 %s   top-5 %s\n", name, percent(r.Top1), percent(r.Top5))
}

func percent(s eval.Share) string {
	low, high := s.Interval()
	return fmt.Sprintf("%5.1f %% [%.1f, %.1f]", 100*s.Value(), 100*low, 100*high)
}

// printClasses prints the classes that have test images, the hardest first.
func (s *linearScores) printClasses(w io.Writer) {
	r := s.trained
	var order []int
	for i, share := range r.PerClass {
		if share.Of > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(r.PerClass[a].Value(), r.PerClass[b].Value()) })
	title := "top-1 by class, the hardest first"
	if len(order) > shownClasses {
		title = fmt.Sprintf("top-1 of the %d hardest of %d classes", shownClasses, len(order))
		order = order[:shownClasses]
	}
	width := 0
	for _, i := range order {
		width = max(width, len(r.Classes[i]))
	}
	fmt.Fprintln(w, title)
	for _, i := range order {
		fmt.Fprintf(w, "  %s%s %s  of %d\n", r.Classes[i], strings.Repeat(" ", width-len(r.Classes[i])), percent(r.PerClass[i]), r.PerClass[i].Of)
	}
}

// saveClassifier writes the classifier as torchvision's models name their last layer.
func saveClassifier(path string, r *eval.LinearResult) error {
	classes, err := json.Marshal(r.Classes)
	if err != nil {
		return fmt.Errorf("save classifier: %w", err)
	}
	n := len(r.Classes)
	err = safetensors.WriteFile(path, []safetensors.Tensor{
		safetensors.FromFloat32s("fc.weight", []int{n, len(r.Weight) / n}, r.Weight),
		safetensors.FromFloat32s("fc.bias", []int{n}, r.Bias),
	}, map[string]string{"format": "pt", "classes": string(classes)})
	if err != nil {
		return fmt.Errorf("save classifier: %w", err)
	}
	return nil
}
