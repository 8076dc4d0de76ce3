package synth_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mocostream/internal/synth"
)

// glyphs are 60 little images of six classes.
var glyphs = synth.Glyphs{Options: synth.Options{Classes: 6, Images: 60, Size: 32, Seed: 7}}

func bursts() synth.Stream {
	return synth.Stream{Kind: synth.Correlated, Frames: 130, Burst: 8, Size: 24, Seed: 3}
}

func framesOf(t *testing.T, s synth.Stream, in synth.Images, from int) []synth.Frame {
	t.Helper()
	var all []synth.Frame
	err := synth.EachFrame(t.Context(), s, in, from, s.Frames, func(f synth.Frame) error {
		all = append(all, f)
		return nil
	})
	must(t, err)
	return all
}

func TestStreamIsBurstsOfNearDuplicates(t *testing.T) {
	all := framesOf(t, bursts(), glyphs, 0)
	if len(all) != 130 {
		t.Fatalf("%d frames, want 130", len(all))
	}
	seen := map[string]bool{}
	var within, across float64
	for i, f := range all {
		if want := fmt.Sprintf("%06d/%08d", i/8, i); f.Key != want || f.Burst != i/8 {
			t.Errorf("frame %d has key %s and burst %d, want %s and %d", i, f.Key, f.Burst, want, i/8)
		}
		if seen[string(f.JPEG)] {
			t.Errorf("frame %d repeats another to the byte", i)
		}
		seen[string(f.JPEG)] = true
		if i%8 == 1 && i+16 < len(all) {
			within += distance(t, f, all[i+1])
			across += distance(t, f, all[i+8])
			if f.Class != all[i+1].Class {
				t.Errorf("burst %d changes its class", f.Burst)
			}
		}
	}
	if within > across/3 {
		t.Errorf("frames of a burst differ by %.0f, of neighbouring bursts by %.0f: no near-duplicates", within, across)
	}
}

// distance is the mean difference of two frames' pixels, after a blur that hides small moves.
func distance(t *testing.T, a, b synth.Frame) (sum float64) {
	t.Helper()
	x, y := mustDecode(t, a.JPEG), mustDecode(t, b.JPEG)
	for _, rect := range []image.Rectangle{image.Rect(0, 0, 24, 12), image.Rect(0, 12, 24, 24), image.Rect(0, 0, 12, 24), image.Rect(12, 0, 24, 24)} {
		for c, v := range meanOf(x, rect) {
			sum += max(v-meanOf(y, rect)[c], meanOf(y, rect)[c]-v)
		}
	}
	return sum
}

func mustDecode(t *testing.T, data []byte) image.Image {
	t.Helper()
	img, _, err := image.Decode(strings.NewReader(string(data)))
	must(t, err)
	return img
}

func meanOf(img image.Image, rect image.Rectangle) (mean [3]float64) {
	for y := rect.Min.Y; y < rect.Max.Y; y++ {
		for x := rect.Min.X; x < rect.Max.X; x++ {
			r, g, b, _ := img.At(x, y).RGBA()
			for c, v := range []uint32{r, g, b} {
				mean[c] += float64(v>>8) / float64(rect.Dx()*rect.Dy())
			}
		}
	}
	return mean
}

// Where a stream is taken up, and how many processors draw, must not show in a frame.
func TestStreamGoesOnAnywhere(t *testing.T) {
	s := bursts()
	all := framesOf(t, s, glyphs, 0)
	for _, from := range []int{1, 37, 129, 130} {
		rest := framesOf(t, s, glyphs, from)
		if len(rest) != len(all)-from {
			t.Fatalf("%d frames from %d on, want %d", len(rest), from, len(all)-from)
		}
		for i, f := range rest {
			if f.Key != all[from+i].Key || string(f.JPEG) != string(all[from+i].JPEG) {
				t.Errorf("frame %d differs when the stream begins at %d", from+i, from)
			}
		}
	}
	s.Seed++
	if other := framesOf(t, s, glyphs, 0); string(other[5].JPEG) == string(all[5].JPEG) {
		t.Error("another seed draws the same frame")
	}
}

func TestShuffledStreamHasTheSameFrames(t *testing.T) {
	s := bursts()
	byKey := func(frames []synth.Frame) map[string]string {
		m := map[string]string{}
		for _, f := range frames {
			m[f.Key] = string(f.JPEG)
		}
		return m
	}
	ordered := framesOf(t, s, glyphs, 0)
	s.Shuffle = true
	shuffled := framesOf(t, s, glyphs, 0)
	if !maps.Equal(byKey(ordered), byKey(shuffled)) {
		t.Error("shuffled, other frames come")
	}
	together := 0
	for i := range shuffled[1:] {
		if shuffled[i].Burst == shuffled[i+1].Burst {
			together++
		}
	}
	if together > 25 {
		t.Errorf("%d of 129 neighbours are of one burst; 129/17 are to be expected", together)
	}
}

func TestTasksAreDisjoint(t *testing.T) {
	s := bursts()
	s.Kind, s.Tasks, s.Frames = synth.Tasks, 3, 240
	all := framesOf(t, s, glyphs, 0)
	for i, f := range all {
		if task := i / 80; f.Class/2 != task {
			t.Errorf("frame %d of task %d is of class %d", i, task, f.Class)
		}
	}
}

func TestDriftOfClasses(t *testing.T) {
	s := bursts()
	s.Kind, s.Drift, s.Onset, s.Burst, s.Frames = synth.Drift, synth.DriftClasses, .5, 2, 600
	late := make([]int, 3) // frames of the second half of the classes in each third
	for i, f := range framesOf(t, s, glyphs, 0) {
		if f.Class >= 3 {
			late[i/200]++
		}
	}
	if late[0] != 0 || late[2] < 90 || late[2] > 180 {
		t.Errorf("of each 200 frames %v are of the second half of the classes; want 0 before the drift and about 133 at the end", late)
	}
}

func TestDriftOfColourAndLight(t *testing.T) {
	for drift, want := range map[string][3]float64{synth.DriftColour: {1.3, .9, .45}, synth.DriftLight: {.4, .4, .4}} {
		s := bursts()
		s.Kind, s.Drift, s.Onset, s.Burst, s.Frames = synth.Drift, drift, .25, 1, 240
		var first, last [3]float64
		for i, f := range framesOf(t, s, glyphs, 0) {
			sums := &first
			if i >= 180 {
				sums = &last
			}
			if i < 60 || i >= 180 {
				for c, v := range meanOf(mustDecode(t, f.JPEG), image.Rect(0, 0, 24, 24)) {
					sums[c] += v
				}
			}
		}
		for c := range first { // the last quarter is 5/6 of the way on the average
			if got := last[c] / first[c]; got < want[c]-.15 || got > want[c]+.15 {
				t.Errorf("%s: channel %d is multiplied by %.2f at the end, want about %.2f", drift, c, got, want[c])
			}
		}
	}
}

func TestStreamOfAFolder(t *testing.T) {
	root := t.TempDir()
	mustWriteDir(t, root, 2)
	in, err := synth.OpenFolder(root)
	must(t, err)
	if in.Len() != small.Images || !slices.Equal(in.Classes(), synth.ClassNames(small.Classes)) {
		t.Fatalf("%d images of %v", in.Len(), in.Classes())
	}
	s := bursts()
	s.Frames, s.Burst = 4*small.Images, 4 // one pass
	classes := map[int]int{}
	for _, f := range framesOf(t, s, in, 0) {
		classes[f.Class]++
		if size := mustDecode(t, f.JPEG).Bounds().Dx(); size != s.Size {
			t.Fatalf("a frame is %d pixels wide, want %d", size, s.Size)
		}
	}
	if want := map[int]int{0: 20, 1: 20, 2: 20, 3: 16, 4: 16}; !maps.Equal(classes, want) {
		t.Errorf("frames of each class: %v, want %v", classes, want)
	}
	must(t, os.WriteFile(filepath.Join(root, "bar", "torn.jpg"), []byte("no image"), 0o644))
	in, err = synth.OpenFolder(root)
	must(t, err)
	s.Frames += 4
	err = synth.EachFrame(t.Context(), s, in, 0, s.Frames, func(synth.Frame) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "bar/torn.jpg") {
		t.Errorf("a torn image gives %v, want its name", err)
	}
}

func TestFolderWithoutClasses(t *testing.T) {
	root := t.TempDir()
	if _, err := synth.OpenFolder(root); err == nil || !strings.Contains(err.Error(), "holds no .jpg or .png") {
		t.Errorf("an empty folder: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(root, "a.jpg"), nil, 0o644))
	if _, err := synth.OpenFolder(root); err == nil || !strings.Contains(err.Error(), "a.jpg lies in no class's folder") {
		t.Errorf("a folder without classes: %v", err)
	}
}

func TestWriteStream(t *testing.T) {
	s := bursts()
	s.Frames, s.Burst, s.Size = 4100, 2050, 16
	want := framesOf(t, s, glyphs, 0)
	root := t.TempDir()
	must(t, synth.WriteStream(t.Context(), filepath.Join(root, "one.tar"), s, glyphs))
	must(t, synth.WriteStream(t.Context(), filepath.Join(root, "many"), s, glyphs))
	one := members(t, filepath.Join(root, "one.tar"))
	many := append(members(t, filepath.Join(root, "many", "stream-00000.tar")), members(t, filepath.Join(root, "many", "stream-00001.tar"))...)
	if !slices.Equal(one, many) || len(one) != 2*len(want) {
		t.Fatalf("%d members in one tar, %d in shards; want %d and the same", len(one), len(many), 2*len(want))
	}
	for i, f := range want {
		if got := one[2*i]; got != f.Key+".jpg "+string(f.JPEG) {
			t.Fatalf("member %d is not frame %s", 2*i, f.Key)
		}
		if got := one[2*i+1]; got != fmt.Sprintf("%s.cls %d", f.Key, f.Class) {
			t.Fatalf("member %d is %q, not the class of frame %s", 2*i+1, got, f.Key)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := synth.WriteStream(ctx, filepath.Join(root, "none.tar"), s, glyphs); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// members are name and content of a tar's files.
func members(t *testing.T, path string) (all []string) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		data, err := io.ReadAll(r)
		must(t, err)
		all = append(all, header.Name+" "+string(data))
	}
}

func TestStreamValidateNamesEveryFault(t *testing.T) {
	for _, test := range []struct {
		s    synth.Stream
		want string
	}{
		{synth.Stream{Kind: "x", Size: 8}, `stream is "x"; choose correlated, drift or tasks
frames is 0; choose 1 or more
burst is 0; choose 1 or more frames
size is 8 pixels; choose 16 to 4096`},
		{synth.Stream{Kind: synth.Tasks, Frames: 64, Burst: 32, Size: 32, Tasks: 13}, `tasks is 13; choose 2 to 6, the number of classes
64 frames are 2 bursts of 32, fewer than 13 tasks; choose more frames or shorter bursts`},
		{synth.Stream{Kind: synth.Drift, Frames: 64, Burst: 32, Size: 32, Drift: "shape", Onset: 1}, `drift is "shape"; choose classes, colour, light
onset is 1; choose 0 or more and less than 1`},
	} {
		err := test.s.Validate(6)
		if err == nil || err.Error() != test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
		if test.s.Frames > 0 {
			if err := synth.EachFrame(t.Context(), test.s, glyphs, 0, 1, func(synth.Frame) error { return nil }); err == nil {
				t.Errorf("%v is drawn", test.s)
			}
		}
	}
}
