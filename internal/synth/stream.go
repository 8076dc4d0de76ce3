package synth

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Kinds of stream.
const (
	Correlated = "correlated" // bursts of near-duplicates, one after another, of images in random order
	Drift      = "drift"      // the same, whose classes, colours or light change slowly
	Tasks      = "tasks"      // the same, first of some classes alone, then of the next ones
)

// What changes in a stream of kind Drift.
const (
	DriftClasses = "classes" // from the first half of the classes to the second
	DriftColour  = "colour"  // towards a warm light
	DriftLight   = "light"   // towards the dark
)

// Stream describes an ordered stream of frames. A burst is a camera that looks at one image for a while: each of its
// frames shows the image slightly moved, enlarged and lit. Frames are a function of the options and their number.
type Stream struct {
	Kind    string  `json:"kind"`
	Frames  int     `json:"frames"`
	Burst   int     `json:"burst"`           // frames of one image, in a row
	Tasks   int     `json:"tasks,omitempty"` // of kind Tasks: 2 to the number of classes; the classes are dealt out in their order
	Drift   string  `json:"drift,omitempty"` // of kind Drift: what changes
	Onset   float64 `json:"onset,omitempty"` // of kind Drift: the share of the stream, 0 to 1, before the change begins; it is complete at the end
	Shuffle bool    `json:"shuffle"`         // the same frames under the same keys, in random order
	Size    int     `json:"size"`            // side of a frame in pixels, MinSize to MaxSize
	Seed    uint64  `json:"seed"`
}

// Validate names every option that is out of range for a stream of so many classes.
func (s Stream) Validate(classes int) error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(slices.Contains([]string{Correlated, Drift, Tasks}, s.Kind),
		"stream is %q; choose %s, %s or %s", s.Kind, Correlated, Drift, Tasks)
	check(s.Frames >= 1, "frames is %d; choose 1 or more", s.Frames)
	check(s.Burst >= 1, "burst is %d; choose 1 or more frames", s.Burst)
	check(s.Size >= MinSize && s.Size <= MaxSize, "size is %d pixels; choose %d to %d", s.Size, MinSize, MaxSize)
	if s.Kind == Tasks {
		check(s.Tasks >= 2 && s.Tasks <= classes, "tasks is %d; choose 2 to %d, the number of classes", s.Tasks, classes)
		check(s.bursts() >= s.Tasks, "%d frames are %d bursts of %d, fewer than %d tasks; choose more frames or shorter bursts",
			s.Frames, s.bursts(), s.Burst, s.Tasks)
	}
	if s.Kind == Drift {
		drifts := []string{DriftClasses, DriftColour, DriftLight}
		check(slices.Contains(drifts, s.Drift), "drift is %q; choose %s", s.Drift, strings.Join(drifts, ", "))
		check(s.Onset >= 0 && s.Onset < 1, "onset is %g; choose 0 or more and less than 1", s.Onset)
		check(s.Drift != DriftClasses || classes >= 2, "a drift of classes needs 2 classes or more, not %d", classes)
	}
	return errors.Join(errs...)
}

// String says what the stream is, for messages.
func (s Stream) String() string {
	text := fmt.Sprintf("%d frames in bursts of %d, %s", s.Frames, s.Burst, s.Kind)
	switch s.Kind {
	case Tasks:
		text = fmt.Sprintf("%s, %d tasks", text, s.Tasks)
	case Drift:
		text = fmt.Sprintf("%s of %s from %g on", text, s.Drift, s.Onset)
	}
	if s.Shuffle {
		text += ", shuffled"
	}
	return fmt.Sprintf("%s, %d px, seed %d", text, s.Size, s.Seed)
}

func (s Stream) bursts() int { return (s.Frames + s.Burst - 1) / s.Burst }

// random returns a generator that depends on the seed, the use and the number alone.
func (s Stream) random(use, number uint64) *rand.Rand {
	return rand.New(rand.NewPCG(mix(s.Seed^mix(use)), mix(^number)))
}

// The uses of random numbers in a stream.
const (
	useOrder = iota + 1 // of the frames, when shuffled
	useFrame
	useImages
	useMixture
)

// plan says what each burst shows.
type plan struct {
	Stream
	images []int32 // of each burst
	order  []int32 // number of the frame at each place of the stream; nil: in order
}

// newPlan deals images out to bursts: those of a group of classes come in a random order, pass after pass.
func newPlan(s Stream, in Images) (*plan, error) {
	if err := s.Validate(len(in.Classes())); err != nil {
		return nil, fmt.Errorf("plan stream: %w", err)
	}
	groups := s.groups(in)
	for g, of := range groups {
		if len(of.images) == 0 {
			return nil, fmt.Errorf("plan stream: there is no image for part %d of %d; name a folder that has images of every class", g+1, len(groups))
		}
	}
	p := &plan{Stream: s, images: make([]int32, s.bursts())}
	mixture := s.random(useMixture, 0)
	for b := range p.images {
		p.images[b] = groups[s.group(b, len(groups), mixture)].next()
	}
	if s.Shuffle {
		p.order = make([]int32, s.Frames)
		for i, frame := range s.random(useOrder, 0).Perm(s.Frames) {
			p.order[i] = int32(frame)
		}
	}
	return p, nil
}

// group is the group that burst b shows an image of.
func (s Stream) group(b, groups int, mixture *rand.Rand) int {
	switch {
	case s.Kind == Tasks:
		return b * groups / s.bursts()
	case groups == 2 && mixture.Float64() < s.change(b):
		return 1
	}
	return 0
}

// change is how far the drift is at burst b: 0 until its onset, then rising to 1.
func (s Stream) change(b int) float64 {
	if s.Kind != Drift {
		return 0
	}
	at := (float64(b) + .5) / float64(s.bursts())
	return max(at-s.Onset, 0) / (1 - s.Onset)
}

// gains are what red, green and blue are multiplied by in burst b.
func (s Stream) gains(b int) [3]float64 {
	u := s.change(b)
	switch s.Drift {
	case DriftColour:
		return [3]float64{1 + .4*u, 1 - .1*u, 1 - .6*u}
	case DriftLight:
		return [3]float64{1 - .65*u, 1 - .65*u, 1 - .65*u}
	}
	return [3]float64{1, 1, 1}
}

// group of images that are shown in a random order, pass after pass.
type group struct {
	images []int32
	at     int
	rng    *rand.Rand
}

func (g *group) next() int32 {
	if g.at == 0 {
		g.rng.Shuffle(len(g.images), func(i, j int) { g.images[i], g.images[j] = g.images[j], g.images[i] })
	}
	image := g.images[g.at]
	g.at = (g.at + 1) % len(g.images)
	return image
}

// groups splits the images by what part of the stream they may be shown in.
func (s Stream) groups(in Images) []*group {
	n := 1
	switch {
	case s.Kind == Tasks:
		n = s.Tasks
	case s.Kind == Drift && s.Drift == DriftClasses:
		n = 2
	}
	groups := make([]*group, n)
	for i := range groups {
		groups[i] = &group{rng: s.random(useImages, uint64(i))}
	}
	for i := range in.Len() {
		g := groups[in.Class(i)*n/len(in.Classes())]
		g.images = append(g.images, int32(i))
	}
	return groups
}
